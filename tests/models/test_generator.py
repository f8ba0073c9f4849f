import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.models.discriminator import Discriminator
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import load_generator, save_generator
from tf_deepdeblur.pyramid import gaussian_pyramid


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


@pytest.mark.parametrize("num_scales", [1, 2, 3])
@pytest.mark.parametrize("size", [(8, 8), (12, 20)])
def test_every_level_keeps_its_size(num_scales, size):
    blurry = pyramid(*size, levels=num_scales)
    restored = Generator(num_scales, 1, 4)(blurry)
    assert [tuple(level.shape) for level in restored] == [tuple(level.shape) for level in blurry]


def test_the_coarser_result_feeds_the_finer_one():
    generator, blurry = Generator(2, 1, 4, 3), pyramid(levels=2)
    before = np.array(generator(blurry)[0])
    assert not np.allclose(before, generator([blurry[0], blurry[1] + 0.1])[0])
    coarse = generator(blurry)[1]
    np.testing.assert_array_equal(coarse, generator([blurry[0] + 0.1, blurry[1]])[1])


def test_an_output_pixel_sees_just_the_radius():
    generator = Generator(1, 2, 4, 3)
    images = np.zeros((1, 40, 40, 3), np.float32)
    changed = images.copy()
    changed[0, 20, 20] = 1.0
    difference = np.abs(np.array(generator([changed])[0]) - np.array(generator([images])[0])).sum(axis=(0, 1, 3))
    reach = np.flatnonzero(difference)
    assert (reach.min(), reach.max()) == (20 - generator.scales[0].radius, 20 + generator.scales[0].radius)


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
        ({"num_scales": 4}, "num_scales must be 1, 2 or 3, got 4"),
        ({"num_res_blocks": 0}, "num_res_blocks .* got 0"),
        ({"filters": 2.5}, "filters .* got 2.5"),
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
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


@pytest.mark.parametrize("network", [Generator(2, 1, 4, 3, True), Discriminator()], ids=["generator", "discriminator"])
def test_keras_files_load_without_custom_objects(network, tmp_path):
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras", safe_mode=True)
    assert loaded.get_config() == network.get_config()
    for ours, theirs in zip(network.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_save_and_load_keep_the_function_and_choose_the_precision(tmp_path):
    generator, blurry = Generator(2, 1, 4, 3, dtype="mixed_bfloat16"), pyramid(levels=2)
    save_generator(generator, tmp_path / "g.keras")
    exact = load_generator(tmp_path / "g.keras")
    assert exact.dtype_policy.name == "float32"
    low = load_generator(tmp_path / "g.keras", dtype="mixed_bfloat16")
    np.testing.assert_array_equal(low(blurry)[0], generator(blurry)[0])
    np.testing.assert_allclose(exact(blurry)[0], low(blurry)[0], atol=0.05)
    assert [path.name for path in tmp_path.iterdir()] == ["g.keras"]


@pytest.mark.parametrize("content", [None, b"", b"text", "half", "other model"], ids=str)
def test_what_is_no_generator_is_refused_by_name(content, tmp_path):
    path = tmp_path / "g.keras"
    if content == "half":
        save_generator(Generator(1, 1, 4), path)
        content = path.read_bytes()[:2000]
    if content == "other model":
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"g\.keras"):
        load_generator(path)


JAX_CODE = """
import sys, numpy as np
from tf_deepdeblur.models.saving import load_generator
from tf_deepdeblur.pyramid import gaussian_pyramid
import keras; assert keras.backend.backend() == "jax"
folder = sys.argv[1]
generator = load_generator(folder + "/g.keras")
restored = generator(gaussian_pyramid(np.load(folder + "/blurry.npy"), 3))
assert "tensorflow" not in sys.modules
np.savez(folder + "/jax.npz", *[np.array(level) for level in restored])
"""


def test_jax_gives_the_same_output(tmp_path):
    """The networks are portable Keras: the same file, another backend."""
    pytest.importorskip("jax")
    generator = Generator(3, 2, 8)
    images = np.random.default_rng(0).random((1, 32, 40, 3)).astype(np.float32) - 0.5
    save_generator(generator, tmp_path / "g.keras")
    np.save(tmp_path / "blurry.npy", images)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", JAX_CODE, str(tmp_path)], check=True, env=environment)
    with np.load(tmp_path / "jax.npz") as stored:
        for ours, theirs in zip(generator(gaussian_pyramid(images, 3)), stored.values(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
