import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_deepdeblur.losses import (
    AdversarialLoss,
    ContentLoss,
    DiscriminatorLoss,
    adversarial_loss,
    content_loss,
    discriminator_loss,
    total_loss,
)


def constant(value, side):
    return tf.fill([2, side, side, 3], value)


def test_content_loss_is_eq_4_by_hand():
    restored = [constant(0.3, 8), constant(0.5, 4), constant(-0.1, 2)]
    sharp = [constant(0.1, 8), constant(0.1, 4), constant(0.0, 2)]
    # 1/(2*3) * (0.2^2 + 0.4^2 + 0.1^2)
    assert float(content_loss(restored, sharp)) == pytest.approx((0.04 + 0.16 + 0.01) / 6, rel=1e-5)
    assert float(content_loss(restored, sharp, "mae")) == pytest.approx((0.2 + 0.4 + 0.1) / 6, rel=1e-5)


def test_log_mse_by_hand_weighs_each_image_alone():
    sharp = [tf.zeros([2, 8, 8, 3])]
    restored = [tf.stack([tf.fill([8, 8, 3], 0.01), tf.fill([8, 8, 3], 0.1)])]
    # 1/(2*1) * the mean of log(1 + 0.1) and log(1 + 10)
    expected = (math.log(1.1) + math.log(11)) / 4
    assert float(content_loss(restored, sharp, "log_mse")) == pytest.approx(expected, rel=1e-5)


def test_content_loss_is_normalised_per_scale():
    """c w h of Eq. 4: one wrong pixel weighs 16 times as much on a scale of a quarter of the side."""
    fine, coarse = np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 2, 2, 3), np.float32)
    wrong_fine, wrong_coarse = fine.copy(), coarse.copy()
    wrong_fine[0, 0, 0], wrong_coarse[0, 0, 0] = 1.0, 1.0
    at_fine = float(content_loss([wrong_fine, coarse], [fine, coarse]))
    at_coarse = float(content_loss([fine, wrong_coarse], [fine, coarse]))
    assert at_coarse == pytest.approx(16 * at_fine)


def test_adversarial_losses_are_eq_5_by_hand():
    sharp, restored = tf.constant([[2.0]]), tf.constant([[-1.0]])
    d_sharp, d_restored = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))
    expected = -(math.log(d_sharp) + math.log(1 - d_restored))
    assert float(discriminator_loss(sharp, restored)) == pytest.approx(expected, rel=1e-6)
    assert float(adversarial_loss(restored, "minimax")) == pytest.approx(math.log(1 - d_restored), rel=1e-6)
    assert float(adversarial_loss(restored, "non_saturating")) == pytest.approx(-math.log(d_restored), rel=1e-6)


@pytest.mark.parametrize("kind", ["minimax", "non_saturating"])
def test_both_kinds_push_the_logit_up(kind):
    logit = tf.Variable([[0.3]])
    with tf.GradientTape() as tape:
        loss = adversarial_loss(logit, kind)
    assert tape.gradient(loss, logit).numpy().item() < 0


def test_huge_logits_stay_finite():
    for value in (-1e4, 1e4):
        logits = tf.constant([[value]])
        losses = [discriminator_loss(logits, -logits), adversarial_loss(logits), adversarial_loss(logits, "minimax")]
        assert all(math.isfinite(float(loss)) for loss in losses)


def test_total_loss_is_eq_6():
    assert total_loss(2.0, 3.0, 1e-4) == pytest.approx(2.0003)


def test_unknown_kinds_and_unequal_pyramids_are_refused():
    with pytest.raises(ValueError, match="mse"):
        content_loss([constant(0.0, 2)], [constant(0.0, 2)], "huber")
    with pytest.raises(ValueError, match="minimax"):
        adversarial_loss(tf.zeros([1, 1]), "wasserstein")
    with pytest.raises(ValueError, match=r"shorter|longer"):
        content_loss([constant(0.0, 2)], [constant(0.0, 2), constant(0.0, 1)])


@pytest.mark.parametrize("kind", ["mse", "mae", "log_mse"])
def test_the_keras_content_loss_is_the_function(kind):
    restored, sharp = [constant(0.3, 8), constant(0.5, 4)], [constant(0.1, 8), constant(0.0, 4)]
    assert float(ContentLoss(kind)(sharp, restored)) == float(content_loss(restored, sharp, kind))


@pytest.mark.parametrize("kind", ["non_saturating", "minimax"])
def test_the_keras_losses_of_logits_are_the_functions(kind):
    sharp, restored = tf.constant([[2.0], [0.1]]), tf.constant([[-1.0], [3.0]])
    assert float(AdversarialLoss(kind)(sharp, restored)) == float(adversarial_loss(restored, kind))
    assert float(DiscriminatorLoss()(sharp, restored)) == float(discriminator_loss(sharp, restored))


@pytest.mark.parametrize("loss", [ContentLoss("mae"), AdversarialLoss("minimax"), DiscriminatorLoss("other_name")])
def test_a_keras_loss_survives_serialization(loss):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_unknown_kinds_of_the_keras_losses_name_the_argument():
    with pytest.raises(ValueError, match="`content_loss` must be one of mse, mae, log_mse, got 'huber'"):
        ContentLoss("huber")
    with pytest.raises(ValueError, match="`adversarial_loss` must be one of non_saturating, minimax, got 'hinge'"):
        AdversarialLoss("hinge")
