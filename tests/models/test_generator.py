import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.layers import ResBlock, ScaleNetwork, UpConv
from tf_deepdeblur.models.saving import save_generator
from tf_deepdeblur.pyramid import gaussian_pyramid, pad_for_pyramid, smallest_side


def pyramid(height=16, width=24, levels=3, seed=0):
    images = np.random.default_rng(seed).random((2, height, width, 3)).astype(np.float32) - 0.5
    return gaussian_pyramid(images, levels)


@pytest.mark.parametrize(("num_scales", "parameters"), [(1, 3_903_299), (2, 7_812_310), (3, 11_721_321)])
def test_the_papers_parameter_counts(num_scales, parameters):
    assert Generator(num_scales).count_params() == parameters


def test_40_convolutions_per_scale():
    scale = Generator(1, filters=1).scales[0]
    convolutions = [layer for layer in scale._flatten_layers() if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 40
    assert {tuple(layer.kernel_size) for layer in convolutions} == {(5, 5)}
    assert scale.radius == 80


@pytest.mark.parametrize(("num_scales", "space_to_depth"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("size", [(8, 8), (12, 20)])
def test_every_level_keeps_its_size(num_scales, space_to_depth, size):
    blurry = pyramid(*size, levels=num_scales)
    restored = Generator(num_scales, 1, 4, space_to_depth=space_to_depth)(blurry)
    assert [tuple(level.shape) for level in restored] == [tuple(level.shape) for level in blurry]


def test_the_coarser_result_feeds_the_finer_one():
    generator, blurry = Generator(2, 1, 4, 3), pyramid(levels=2)
    before = np.array(generator(blurry)[0])
    assert not np.allclose(before, generator([blurry[0], blurry[1] + 0.1])[0])
    coarse = generator(blurry)[1]
    np.testing.assert_array_equal(coarse, generator([blurry[0] + 0.1, blurry[1]])[1])


def test_blocks_of_pixels_are_restored_as_pixels_of_more_channels():
    """By hand for kernels of 1x1: each block of 2x2 pixels is one row of 12 values."""
    generator = Generator(1, 1, 5, 1, space_to_depth=2)
    head, bias, *inner, tail, tail_bias = generator.get_weights()
    images = np.random.default_rng(0).random((1, 4, 6, 3), np.float32) - 0.5
    blocks = images.reshape(1, 2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(1, 2, 3, 12)
    features = blocks @ head[0, 0] + bias
    features += np.maximum(features @ inner[0][0, 0] + inner[1], 0) @ inner[2][0, 0] + inner[3]
    expected = (features @ tail[0, 0] + tail_bias).reshape(1, 2, 3, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5)
    np.testing.assert_allclose(generator(images), expected.reshape(1, 4, 6, 3), atol=1e-6)


def test_an_output_pixel_sees_just_the_radius():
    generator = Generator(1, 2, 4, 3)
    images = np.zeros((1, 40, 40, 3), np.float32)
    changed = images.copy()
    changed[0, 20, 20] = 1.0
    difference = np.abs(np.array(generator([changed])[0]) - np.array(generator([images])[0])).sum(axis=(0, 1, 3))
    reach = np.flatnonzero(difference)
    assert (reach.min(), reach.max()) == (20 - generator.scales[0].radius, 20 + generator.scales[0].radius)


@pytest.mark.parametrize(("global_residual", "space_to_depth"), [(False, 1), (True, 1), (False, 2), (True, 2)])
def test_a_tile_equals_its_part_of_the_whole_image(global_residual, space_to_depth):
    """Sides inside the image lose the radius; the others end where the image ends, with its zero padding."""
    generator = Generator(1, 2, 4, 3, global_residual, space_to_depth)
    generator.set_weights([np.random.default_rng(0).normal(0, 0.2, weight.shape) for weight in generator.get_weights()])
    images = np.random.default_rng(0).random((1, 40, 50, 3), np.float32) - 0.5
    whole, radius = np.array(generator.restore_scale(0, images)), generator.scales[0].radius
    tiles = [(0, 40, 0, 50), (6, 40, 0, 30), (0, 34, 8, 50), (6, 36, 8, 44)]
    tiles += [(5, 40, 0, 30), (0, 33, 8, 50), (5, 35, 8, 43)] if space_to_depth == 1 else []
    for top, bottom, left, right in tiles:
        cut = tuple(map(int, (top > 0, bottom < 40, left > 0, right < 50)))
        tile = generator.restore_scale(0, images[:, top:bottom, left:right], cut=cut)
        top, bottom, left, right = (
            side + sign * radius * inside
            for side, sign, inside in zip((top, bottom, left, right), (1, -1, 1, -1), cut, strict=True)
        )
        np.testing.assert_allclose(tile, whole[:, top:bottom, left:right], atol=1e-6)


def test_a_global_residual_starts_as_the_identity():
    blurry = pyramid()
    for level, restored in zip(blurry, Generator(3, 1, 4, global_residual=True)(blurry), strict=True):
        np.testing.assert_array_equal(level, restored)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_results_are_float32_under_every_policy(dtype):
    generator = Generator(2, 1, 4, dtype=dtype)
    assert {keras.backend.standardize_dtype(level.dtype) for level in generator(pyramid(levels=2))} == {"float32"}
    assert {scale.tail.compute_dtype for scale in generator.scales} == {"float32"}
    assert generator.scales[0].blocks[0].conv1.compute_dtype == dtype.removeprefix("mixed_")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_scales": 4}, "`num_scales` must be 1, 2 or 3, got 4"),
        ({"num_res_blocks": 0}, "`num_res_blocks` .* got 0"),
        ({"filters": 2.5}, "`filters` .* got 2.5"),
        ({"kernel_size": 4}, "`kernel_size` must be odd, got 4"),
        ({"space_to_depth": 4}, "`space_to_depth` must be 1 or 2, got 4"),
        ({"space_to_depth": True}, "`space_to_depth` must be 1 or 2, got True"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Generator(**arguments)


def test_a_wrong_pyramid_is_refused():
    generator = Generator(2, 1, 4)
    with pytest.raises(ValueError, match="2 scales"):
        generator(pyramid(levels=3))
    fine = pyramid(levels=1)[0]
    with pytest.raises(ValueError, match="half the size"):
        generator([fine, fine])
    with pytest.raises(ValueError, match=r"with space_to_depth=2 every side must be even, got .*\(5, 8\)"):
        Generator(2, 1, 4, space_to_depth=2)(pyramid(10, 16, levels=2))


@pytest.fixture(scope="module", params=[(1, 1), (2, 1), (3, 1), (1, 2), (3, 2)])
def predicting(request):
    """One for all sizes: ``predict`` is traced once or twice."""
    num_scales, space_to_depth = request.param
    return Generator(num_scales, 1, 4, 3, space_to_depth=space_to_depth)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (16, 24), (17, 23)])
def test_images_of_any_size_are_padded_restored_and_cropped(predicting, size):
    """The same values as by hand: repeat the last row and column, build the pyramid, restore, take the finest level."""
    generator, num_scales = predicting, predicting.num_scales
    images = np.random.default_rng(0).random((2, *size, 3), np.float32) - 0.5
    multiple = generator.space_to_depth * 2 ** (num_scales - 1)
    missing = [max(-side % multiple, smallest_side(num_scales) - side) for side in size]
    padded = np.pad(images, [(0, 0), (0, missing[0]), (0, missing[1]), (0, 0)], mode="edge")
    expected = np.array(generator(gaussian_pyramid(padded, num_scales))[0])[:, : size[0], : size[1]]
    np.testing.assert_array_equal(generator(images), expected)
    np.testing.assert_array_equal(generator.predict(images, verbose=0), expected)


def test_predict_on_a_pyramid_gives_a_pyramid():
    generator, blurry = Generator(2, 1, 4, 3), [np.array(level) for level in pyramid(levels=2)]
    for level, expected in zip(generator.predict(blurry, verbose=0), generator(blurry), strict=True):
        np.testing.assert_array_equal(level, expected)


@pytest.mark.parametrize("images", [np.zeros((1, 8, 8, 3), np.uint8), np.zeros((8, 8, 3)), np.zeros((1, 8, 8, 1))])
def test_other_images_are_refused(images):
    for blurry in (images, [images]):
        with pytest.raises(ValueError, match=r"expected float images \[N, H, W, 3\] in \[-0.5, 0.5\], got"):
            Generator(1, 1, 4)(blurry)


@pytest.mark.parametrize(("size", "is_padded"), [((16, 20), False), ((16, 18), True), ((4, 20), True)])
def test_known_sides_are_padded_only_where_they_must(size, is_padded):
    images = np.zeros((1, *size, 3), np.float32)
    assert (pad_for_pyramid(images, 3) is not images) == is_padded
    graph = tf.function(Generator(3, 1, 2, 3)).get_concrete_function(tf.TensorSpec(images.shape, tf.float32)).graph
    assert not {"GatherV2", "MirrorPad"} & {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize("trainable", [True, False])
def test_given_weights_replace_the_generators(trainable):
    generator, other = Generator(2, 1, 4, 3), Generator(2, 1, 4, 3)
    generator.trainable = trainable
    images = np.random.default_rng(0).random((1, 9, 10, 3), np.float32) - 0.5
    np.testing.assert_array_equal(generator.with_weights(other.get_weights())(images), other(images))
    assert not np.allclose(generator(images), other(images))


def test_a_generator_in_a_functional_model_is_saved_and_loaded(tmp_path):
    images = keras.Input((None, None, 3))
    model = keras.Model(
        images, keras.layers.Rescaling(255, 127.5)(Generator(2, 1, 4, 3, dtype="mixed_bfloat16")(images))
    )
    assert (model.output.shape, model.output.dtype) == ((None, None, None, 3), "float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    pixels = np.random.default_rng(0).random((2, 9, 10, 3), np.float32) - 0.5
    np.testing.assert_array_equal(loaded.predict(pixels, verbose=0), model.predict(pixels, verbose=0))


def test_a_generator_on_a_symbolic_pyramid():
    levels = [keras.Input((None, None, 3)), keras.Input((None, None, 3))]
    model = keras.Model(levels, Generator(2, 1, 4, 3)(levels))
    blurry = [np.array(level) for level in pyramid(levels=2)]
    assert [tuple(level.shape) for level in model(blurry)] == [tuple(level.shape) for level in blurry]


def test_blocks_in_a_functional_model_are_saved_and_loaded(tmp_path):
    images = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(6, 3, padding="same")(images)
    features = ScaleNetwork(1, 4, 3, starts_at_zero=True, space_to_depth=2, dtype="mixed_bfloat16")(
        ResBlock(6, 3)(features)
    )
    model = keras.Model(images, UpConv(3)(features))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    pixels = rng.random((1, 6, 8, 3), np.float32)
    assert loaded(pixels).shape == (1, 12, 16, 3)
    np.testing.assert_array_equal(loaded(pixels), model(pixels))
    assert [layer.get_config() for layer in loaded.layers] == [layer.get_config() for layer in model.layers]
    assert np.all(ScaleNetwork.from_config(loaded.layers[3].get_config())(pixels) == 0)


@pytest.mark.parametrize(
    ("block", "arguments", "message"),
    [
        (ResBlock, (0, 3), "`filters` .* got 0"),
        (ResBlock, (4, 2), "`kernel_size` must be odd, got 2"),
        (ScaleNetwork, (True, 4, 3), "`num_res_blocks` .* got True"),
        (UpConv, (5.0,), "`kernel_size` .* got 5.0"),
    ],
)
def test_bad_arguments_of_blocks_are_named(block, arguments, message):
    with pytest.raises(ValueError, match=message):
        block(*arguments)


def test_a_res_block_says_how_many_channels_it_needs():
    with pytest.raises(ValueError, match="a ResBlock of 4 filters needs as many channels, got 3"):
        ResBlock(4, 3)(np.zeros((1, 8, 8, 3), np.float32))


JAX_CODE = """
import sys, numpy as np
from tf_deepdeblur.models.saving import load_generator
from tf_deepdeblur.pyramid import gaussian_pyramid
import keras; assert keras.backend.backend() == "jax"
folder = sys.argv[1]
generator = load_generator(folder + "/g.keras")
blurry = np.load(folder + "/blurry.npy")
restored = generator(gaussian_pyramid(blurry, 2))
images = keras.Input((None, None, 3))
model = keras.Model(images, generator(images))
assert model.output.shape == (None, None, None, 3)
odd = model.predict(blurry[:, :31, :37], verbose=0)
assert "tensorflow" not in sys.modules
np.savez(folder + "/jax.npz", *[np.array(level) for level in restored], odd)
"""


@pytest.mark.slow
def test_jax_gives_the_same_output(tmp_path):
    """The networks are portable Keras: the same file, another backend."""
    pytest.importorskip("jax")
    generator = Generator(2, 1, 4, space_to_depth=2)
    images = np.random.default_rng(0).random((1, 32, 40, 3)).astype(np.float32) - 0.5
    save_generator(generator, tmp_path / "g.keras")
    np.save(tmp_path / "blurry.npy", images)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", JAX_CODE, str(tmp_path)], check=True, env=environment)
    expected = [*generator(gaussian_pyramid(images, 2)), generator(images[:, :31, :37])]
    with np.load(tmp_path / "jax.npz") as stored:
        for ours, theirs in zip(expected, stored.values(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
