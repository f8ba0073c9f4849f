import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.pixels import to_float
from tf_deepdeblur.losses import adversarial_loss, content_loss, discriminator_loss
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.pyramid import gaussian_pyramid
from tf_deepdeblur.training.gan import DeblurGAN

WEIGHT = 0.05


def small_discriminator():
    """Table 1's takes patches from 193 pixels; the train step only needs images in, logits out."""
    convolution = keras.layers.Conv2D(4, 3, strides=2, activation="leaky_relu")
    return keras.Sequential(
        [keras.Input((None, None, 3)), convolution, keras.layers.Conv2D(1, 3), keras.layers.GlobalAveragePooling2D()]
    )


def make(adversarial=True, average=False, dtype="float32", **arguments):
    keras.utils.set_random_seed(0)
    model = DeblurGAN(
        Generator(2, 1, 4, 3, dtype=dtype),
        small_discriminator() if adversarial else None,
        average=Generator(2, 1, 4, 3, dtype=dtype) if average else None,
        adversarial_weight=WEIGHT,
        **arguments,
    )
    model.compile(1e-3, loss_scaling=dtype == "mixed_float16")
    return model


def batch(size=2, side=16):
    rng = np.random.default_rng(0)
    return tuple(tf.constant(rng.random((size, side, side, 3)), tf.float32) - 0.5 for _ in range(2))


def adam_first_step(gradient, rate=1e-3):
    """Adam's first update by hand, in the efficient form of Kingma and Ba's section 2, with their beta 2 of 0.999."""
    root = np.sqrt(1 - 0.999)
    return -rate * root * gradient / (root * np.abs(gradient) + 1e-8)


def test_one_step_follows_the_gradients_of_eq_6_and_eq_5():
    model, (blurry, sharp) = make(), batch()
    with tf.GradientTape(persistent=True) as tape:
        restored = model.generator(gaussian_pyramid(blurry, 2))
        logits = model.discriminator(restored[0])
        generator_loss = content_loss(restored, gaussian_pyramid(sharp, 2)) + WEIGHT * adversarial_loss(logits)
        loss = discriminator_loss(model.discriminator(sharp), logits)
    for network, objective in ((model.generator, generator_loss), (model.discriminator, loss)):
        network.start = network.get_weights()
        network.gradients = [g.numpy() for g in tape.gradient(objective, network.trainable_variables)]
    losses = model.train_step((blurry, sharp))
    assert float(losses["generator_loss"]) == pytest.approx(float(generator_loss), rel=1e-5)
    assert float(losses["discriminator_loss"]) == pytest.approx(float(loss), rel=1e-5)
    for network in (model.generator, model.discriminator):
        for start, gradient, value in zip(network.start, network.gradients, network.get_weights(), strict=True):
            clear = np.abs(gradient) > 1e-5  # elsewhere rounding decides the sign
            np.testing.assert_allclose((value - start)[clear], adam_first_step(gradient)[clear], atol=2e-6)
            assert clear.mean() > 0.5


def test_without_a_discriminator_there_is_only_the_content_loss():
    model = make(adversarial=False)
    assert set(model.train_step(batch())) == {"content_loss"}
    assert model.discriminator_optimizer is None


def test_training_lowers_the_loss():
    model, pair = make(adversarial=False), batch()
    step = tf.function(model.train_step)
    losses = [float(step(pair)["content_loss"]) for _ in range(60)]
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_a_mixed_step_is_close_to_the_exact_one(dtype):
    exact, mixed = make(), make(dtype=dtype)
    pair = batch()
    ours, theirs = mixed.train_step(pair), exact.train_step(pair)
    for name in theirs:
        assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=0.02)
    change = np.concatenate([w.ravel() for w in mixed.generator.get_weights()])
    start = np.concatenate([w.ravel() for w in make().generator.get_weights()])
    assert np.abs(change - start).max() == pytest.approx(1e-3, rel=0.05)


def test_both_optimisers_scale_the_loss_under_float16():
    model = make(dtype="mixed_float16")
    for optimizer in (model.generator_optimizer, model.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        assert optimizer.built


def test_the_average_follows_the_weights():
    model = make(average=True, ema_decay=0.9)
    start = model.generator.get_weights()
    model.train_step(batch())
    model.update_average()
    for mean, before, after in zip(model.average.get_weights(), start, model.generator.get_weights(), strict=True):
        np.testing.assert_allclose(mean, 0.9 * before + 0.1 * after, atol=1e-6)
    assert model.deployed_generator is model.average


@pytest.mark.parametrize("size", [(16, 16), (17, 22)])
def test_test_step_scores_what_the_deblurrer_ships(size):
    model = make(average=True, ema_decay=0.5)
    model.train_step(batch())
    model.update_average()
    rng = np.random.default_rng(1)
    blurry, sharp = rng.integers(0, 256, (2, *size, 3), np.uint8)
    scores = model.test_step(tuple(to_float(image[None]) for image in (blurry, sharp)))
    shipped = Deblurrer(model.deployed_generator)(blurry)
    similarity = structural_similarity(
        sharp, shipped, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1
    )
    assert float(scores["psnr"]) == pytest.approx(peak_signal_noise_ratio(sharp, shipped), abs=1e-3)
    assert float(scores["ssim"]) == pytest.approx(similarity, abs=1e-4)


def test_only_generators_are_taken():
    with pytest.raises(TypeError, match="generator must be a Generator, got 1"):
        DeblurGAN(1)


def test_test_step_changes_nothing():
    model = make()
    before = [model.generator.get_weights(), model.discriminator.get_weights()]
    model.test_step(batch())
    for old, network in zip(before, (model.generator, model.discriminator), strict=True):
        assert all(map(np.array_equal, old, network.get_weights()))
