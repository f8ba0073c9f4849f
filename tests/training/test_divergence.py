import math

import pytest
import tensorflow as tf

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.losses import content_loss
from tf_deepdeblur.training.divergence import DivergenceGuard

LAST = "the last good checkpoint is step-7"


def guard(*values, factor=1000.0, name="content_loss"):
    result = DivergenceGuard(factor)
    for value in values:
        result.remember({name: value})
    return result


def test_a_loss_is_compared_with_the_median_not_the_mean_or_the_last():
    """The first of a paper-sized network is around 90: a mean would hide everything below 18,000 after five records."""
    watched = guard(90.0, 0.02, 0.01, 0.03, 0.02)
    watched.check(8, {"content_loss": 19.9}, LAST)
    with pytest.raises(
        InputError, match=r"content_loss is 20\.1 at step 8, and its median was 0\.02.*step-7.*`clip_norm"
    ):
        watched.check(8, {"content_loss": 20.1}, LAST)


def test_old_records_are_forgotten():
    """A loss that fell by a factor of ten thousand is watched at its present height."""
    with pytest.raises(InputError, match="diverged"):
        guard(*[1.0] * 100, *[1e-4] * 51).check(8, {"content_loss": 0.2}, LAST)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_ends_the_run_whatever_the_factor(value):
    with pytest.raises(
        InputError, match="discriminator_loss is not finite at step 8; the last good checkpoint is step-7"
    ):
        guard(1.0, factor=0.0).check(8, {"content_loss": 1.0, "discriminator_loss": value}, LAST)


def test_a_factor_of_zero_accepts_all_that_is_finite():
    guard(1e-3, factor=0.0).check(8, {"content_loss": 1e30}, LAST)


def test_losses_near_zero_may_rise():
    """A discriminator that was never wrong, and black images."""
    guard(0.0, name="discriminator_loss").check(8, {"discriminator_loss": 600.0}, LAST)
    guard(0.0).check(8, {"content_loss": 9e-4}, LAST)
    with pytest.raises(InputError, match="adversarial_loss is 700"):
        guard(0.0, name="adversarial_loss").check(8, {"adversarial_loss": 700.0}, LAST)


def test_the_logarithm_of_log_mse_does_not_hide_a_diverging_error():
    """The error is what is a thousand times its median: the loss itself can hardly become fifty."""

    def loss(error):
        return float(content_loss([tf.fill([1, 4, 4, 3], error**0.5)], [tf.zeros([1, 4, 4, 3])], "log_mse"))

    watched = DivergenceGuard(1000.0, "log_mse")
    watched.remember({"content_loss": loss(2e-3)})
    watched.check(8, {"content_loss": loss(1.9)}, LAST)
    with pytest.raises(InputError, match=r"content_loss is 3\.83 at step 8, and its median was 0\.549"):
        watched.check(8, {"content_loss": loss(2.1)}, LAST)
