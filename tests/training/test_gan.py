import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.training.gans import WEIGHT, Charbonnier, Hinge, adam, batch, eager, make
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.pixels import to_float, to_uint8
from tf_deepdeblur.losses import adversarial_loss, content_loss, discriminator_loss
from tf_deepdeblur.metrics import PSNR, SSIM
from tf_deepdeblur.pyramid import gaussian_pyramid
from tf_deepdeblur.training.gan import DeblurGAN


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
    assert float(losses["loss"]) == pytest.approx(float(generator_loss), rel=1e-5)
    assert float(losses["discriminator_loss"]) == pytest.approx(float(loss), rel=1e-5)
    for network in (model.generator, model.discriminator):
        for start, gradient, value in zip(network.start, network.gradients, network.get_weights(), strict=True):
            clear = np.abs(gradient) > 1e-5  # elsewhere rounding decides the sign
            np.testing.assert_allclose((value - start)[clear], adam_first_step(gradient)[clear], atol=2e-6)
            assert clear.mean() > 0.5


def test_without_a_discriminator_there_is_only_the_content_loss():
    model = make(adversarial=False)
    assert set(model.train_step(batch())) == {"loss", "content_loss"}
    assert model.discriminator_optimizer is None


@pytest.mark.slow
def test_training_lowers_the_loss():
    model, pairs = make(adversarial=False), tf.data.Dataset.from_tensors(batch()).repeat()
    history = model.fit(pairs, steps_per_epoch=20, epochs=6, shuffle=False, verbose=0).history["content_loss"]
    assert history[-1] < 0.6 * history[0]


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_the_norm_of_a_clipped_gradient_is_the_limit(dtype):
    """Plain gradient descent with a rate of 1 shows the gradient; the loss scale of float16 must not be clipped."""
    changes = []
    for limit in (0.0, 0.01, 1e6):
        model = make(dtype=dtype)
        model.compile(keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0), clip_norm=limit)
        before = [network.get_weights() for network in (model.generator, model.discriminator)]
        model.train_step(batch())
        after = [network.get_weights() for network in (model.generator, model.discriminator)]
        changes.append(
            [
                np.concatenate([(a - b).ravel() for a, b in zip(*pair, strict=True)])
                for pair in zip(after, before, strict=True)
            ]
        )
    for whole, clipped, untouched in zip(*changes, strict=True):
        assert np.linalg.norm(whole) > 0.02
        assert np.linalg.norm(clipped) == pytest.approx(0.01, rel=1e-3)
        np.testing.assert_allclose(clipped, whole * 0.01 / np.linalg.norm(whole), atol=2e-5)
        np.testing.assert_array_equal(untouched, whole)


def test_both_optimisers_scale_the_loss_under_float16():
    model = make(dtype="mixed_float16")
    for optimizer in (model.generator_optimizer, model.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        assert optimizer.built


def test_the_average_follows_the_weights():
    model = make(ema_decay=0.9)
    for _ in range(2):
        average, trained = model.generator.get_weights(), model.trained_generator.get_weights()
        model.train_step(batch())
        moved = [0.9 * old + 0.1 * new for old, new in zip(average, model.trained_generator.get_weights(), strict=True)]
        for expected, value in zip(moved, model.generator.get_weights(), strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-7)
        assert not all(map(np.array_equal, trained, model.trained_generator.get_weights()))


def test_without_an_average_there_is_one_generator():
    model = make()
    assert model.trained_generator is model.generator


def trained(**arguments):
    model = make(metrics=[PSNR(), SSIM()], **arguments)
    for _ in range(2):
        model.train_step(batch())
    return model


@pytest.mark.slow
@eager
@pytest.mark.parametrize(("size", "ema_decay"), [((16, 16), 0.0), ((17, 22), 0.5)])
def test_evaluate_and_predict_give_what_the_deblurrer_ships(size, ema_decay):
    model = trained(ema_decay=ema_decay)
    blurry, sharp = np.random.default_rng(1).integers(0, 256, (2, *size, 3), np.uint8)
    images = [to_float(image[None]) for image in (blurry, sharp)]
    scores = model.evaluate(*images, return_dict=True, verbose=0)
    shipped = Deblurrer(model.generator)(blurry)
    similarity = structural_similarity(
        sharp, shipped, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1
    )
    assert scores["psnr"] == pytest.approx(peak_signal_noise_ratio(sharp, shipped), abs=1e-3)
    assert scores["ssim_gaussian"] == pytest.approx(similarity, abs=1e-4)
    np.testing.assert_array_equal(to_uint8(model.predict(images[0], verbose=0))[0], shipped)


@pytest.mark.slow
def test_validation_evaluate_and_the_saved_file_agree_with_averages(tmp_path):
    model, pair = make(ema_decay=0.9, metrics=[PSNR()]), batch(4)
    history = model.fit(*pair, batch_size=2, epochs=3, validation_data=pair, verbose=0).history
    scores = model.evaluate(*pair, batch_size=2, return_dict=True, verbose=0)
    model.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras")
    model.generator.save(tmp_path / "generator.keras")
    generator = keras.models.load_model(tmp_path / "generator.keras")
    psnr = PSNR()
    psnr.update_state(pair[1], generator(pair[0]))
    assert scores == loaded.evaluate(*pair, batch_size=2, return_dict=True, verbose=0)
    assert {f"val_{name}": values for name, values in scores.items()} == {
        name: values[-1] for name, values in history.items() if name.startswith("val_")
    }
    assert scores["psnr"] == pytest.approx(float(psnr.result()), abs=1e-4)
    psnr.reset_state()
    psnr.update_state(pair[1], model.trained_generator(pair[0]))
    assert scores["psnr"] != pytest.approx(float(psnr.result()), abs=1e-3)


@pytest.mark.slow
@eager
@pytest.mark.parametrize(
    ("adversarial", "ema_decay", "dtype"),
    [(True, 0.9, "mixed_float16"), (False, 0.0, "mixed_bfloat16")],
)
def test_a_saved_model_goes_on_as_if_it_had_not_been_saved(tmp_path, adversarial, ema_decay, dtype):
    arguments = {"content_loss": "mae", "adversarial_loss": "minimax", "steps_per_execution": 2}
    model = trained(adversarial=adversarial, ema_decay=ema_decay, dtype=dtype, **arguments)
    model.save(tmp_path / "gan.keras")
    again = keras.models.load_model(tmp_path / "gan.keras")
    assert again.get_config() == model.get_config()
    assert again.get_compile_config() == model.get_compile_config()
    pair = batch(4)
    np.testing.assert_array_equal(model.predict(pair[0], verbose=0), again.predict(pair[0], verbose=0))
    logs = [each.fit(*pair, batch_size=2, shuffle=False, verbose=0).history for each in (model, again)]
    assert logs[0] == logs[1]
    for expected, value in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(expected, value)
    for expected, value in zip(optimizer_variables(model), optimizer_variables(again), strict=True):
        np.testing.assert_array_equal(expected, value)


def optimizer_variables(model):
    optimizers = filter(None, (model.generator_optimizer, model.discriminator_optimizer))
    return [variable for optimizer in optimizers for variable in optimizer.variables]


@pytest.mark.slow
@eager
def test_the_average_is_predicted_with_though_the_model_was_loaded_without_compiling(tmp_path):
    model = trained(ema_decay=0.9)
    model.save(tmp_path / "gan.keras")
    again = keras.models.load_model(tmp_path / "gan.keras", compile=False)
    blurry = batch()[0]
    np.testing.assert_array_equal(again.predict(blurry, verbose=0), model.predict(blurry, verbose=0))


@pytest.mark.slow
@eager
def test_history_is_the_mean_over_the_epoch():
    model, (blurry, sharp) = make(), batch(6)
    step = make()
    rows = [step.compute_losses(step.generator, blurry[i : i + 2], sharp[i : i + 2])[0] for i in (0, 2, 4)]
    scores = model.evaluate(blurry, sharp, batch_size=2, return_dict=True, verbose=0)
    assert scores == {name: pytest.approx(np.mean([row[name] for row in rows]), rel=1e-5) for name in rows[0]}


@pytest.mark.slow
def test_several_steps_per_execution_change_nothing():
    one, two = (make(ema_decay=0.9, steps_per_execution=count) for count in (1, 2))
    for model in (one, two):
        model.fit(*batch(8), batch_size=2, shuffle=False, verbose=0)
    for expected, value in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-6)


@pytest.mark.slow
def test_ones_own_losses_are_trained_with_and_saved(tmp_path):
    model = make(content_loss=Charbonnier(), discriminator_loss=Hinge())
    blurry, sharp = batch()
    restored = model.generator(blurry)
    expected = np.mean(np.sqrt((sharp - restored) ** 2 + 1e-6))
    assert float(model.train_step((blurry, sharp))["content_loss"]) == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "gan.keras")
    again = keras.models.load_model(tmp_path / "gan.keras")
    assert (type(again.content_loss), type(again.discriminator_loss)) == (Charbonnier, Hinge)


@pytest.fixture(scope="module")
def refusing():
    """A model for calls that are refused."""
    return make()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("adam", "mse"), {}, "`discriminator_optimizer` must be a Keras optimizer, got 'mse'"),
        ((0.001, "adam"), {}, "`generator_optimizer` must be a Keras optimizer, got 0.001"),
        (("adam",), {}, "this DeblurGAN has a discriminator, but `discriminator_optimizer` is None"),
        (("adam", "adam"), {"content_loss": "huber"}, "`content_loss` must be one of mse, mae, log_mse, got 'huber'"),
        (("adam", "adam"), {"adversarial_loss": "hinge"}, "`adversarial_loss` must be one of .* got 'hinge'"),
        (("adam", "adam"), {"content_loss": abs}, "`content_loss` must be a keras.losses.Loss or its name"),
        ((keras.optimizers.Adam(use_ema=True), "adam"), {}, "`generator_optimizer` has `use_ema=True`.*`ema_decay`"),
    ],
)
def test_what_compile_cannot_use_is_named(refusing, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        refusing.compile(*arguments, **options)


def test_one_optimizer_for_both_networks_is_refused(refusing):
    optimizer = adam()
    with pytest.raises(ValueError, match="must be two optimizers"):
        refusing.compile(optimizer, optimizer)


def test_an_optimizer_for_no_discriminator_is_refused():
    with pytest.raises(ValueError, match="no discriminator, but `discriminator_optimizer` is 'mse'"):
        make(adversarial=False).compile("adam", "mse")


def test_names_of_optimizers_do():
    model = make()
    model.compile("adam", "sgd")
    assert isinstance(model.discriminator_optimizer, keras.optimizers.SGD)


def test_images_without_partners_are_refused():
    model = make()
    with pytest.raises(ValueError, match=r"needs pairs: a data set of \(blurry, sharp\)"):
        model.fit(batch()[0], verbose=0)
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit(*batch(), sample_weight=np.ones(2), verbose=0)


@pytest.mark.parametrize("ema_decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(ema_decay):
    with pytest.raises(ValueError, match="`ema_decay` must be"):
        make(ema_decay=ema_decay)


def test_only_generators_are_taken():
    with pytest.raises(TypeError, match="`generator` must be a Generator, got 1"):
        DeblurGAN(1)


def test_test_step_changes_nothing():
    model = make()
    before = [model.generator.get_weights(), model.discriminator.get_weights()]
    model.test_step(batch())
    for old, network in zip(before, (model.generator, model.discriminator), strict=True):
        assert all(map(np.array_equal, old, network.get_weights()))
