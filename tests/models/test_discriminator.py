import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_deepdeblur.models.discriminator import MIN_PATCH_SIZE, Discriminator, output_side


@pytest.fixture(scope="module")
def discriminator():
    return Discriminator()


def test_table_1_has_this_many_weights(discriminator):
    assert discriminator.count_params() == 10_699_616


def test_table_1_layer_by_layer(discriminator):
    """Weight dimensions of Table 1, out x in x height x width there, height x width x in x out here."""
    table = [(32, 3, 5, 5), (64, 32, 5, 5), (64, 64, 5, 5), (128, 64, 5, 5), (128, 128, 5, 5), (256, 128, 5, 5),
             (256, 256, 5, 5), (512, 256, 5, 5), (512, 512, 4, 4), (1, 512, 1, 1)]  # fmt: skip
    ours = [(o, i, h, w) for h, w, i, o in (weight.shape for weight in discriminator.weights)]
    assert ours == table
    assert [conv.strides[0] for conv in discriminator.convs] == [2, 1, 2, 1, 4, 1, 4, 1, 4]
    assert not any(conv.use_bias for conv in discriminator.convs)


def test_a_256_patch_gives_one_logit():
    assert output_side(256) == 1
    assert (output_side(MIN_PATCH_SIZE), output_side(MIN_PATCH_SIZE - 1)) == (1, 0)


def test_output_side_is_the_networks(discriminator):
    for side in (MIN_PATCH_SIZE, 256, 512):
        features = tf.zeros([1, side, side, 3])
        for conv, padding in zip(discriminator.convs, [2] * 8 + [0], strict=True):
            features = conv(tf.pad(features, [[0, 0], [padding] * 2, [padding] * 2, [0, 0]]))
        assert features.shape[1] == output_side(side)


def test_the_logits_of_a_larger_image_are_averaged(discriminator):
    tile = tf.random.stateless_uniform([1, 256, 256, 3], [0, 1]) - 0.5
    assert discriminator(tile).shape == (1, 1)
    assert discriminator(tf.tile(tile, [1, 2, 2, 1])).shape == (1, 1)


def test_a_small_patch_is_refused_with_the_remedy(discriminator):
    for images in (np.zeros((1, 128, 128, 3), np.float32), keras.Input((128, 128, 3))):
        with pytest.raises(ValueError, match=r"of at least .* pixels.* use a larger `patch_size`"):
            discriminator(images)


def test_pixels_that_are_not_floats_are_refused(discriminator):
    with pytest.raises(ValueError, match=r"expected float images .* got uint8 \[1, 256, 256, 3\]"):
        discriminator(np.zeros((1, 256, 256, 3), np.uint8))


def test_part_of_a_functional_model(discriminator, tmp_path):
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.ops.sigmoid(discriminator(images)))
    model.save(tmp_path / "model.keras")
    pixels = np.random.default_rng(0).random((2, 256, 256, 3), np.float32) - 0.5
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(pixels, verbose=0), model(pixels))
    assert model.output.shape == (None, 1)


def test_logits_are_float32_under_a_mixed_policy():
    logits = Discriminator(dtype="mixed_bfloat16")(np.zeros((1, 256, 256, 3), np.float32))
    assert logits.dtype == tf.float32
