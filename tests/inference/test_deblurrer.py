"""Tiled equals untiled, whatever the size; memory, precision and missing models are dealt with and said."""

import numpy as np
import pytest
import tensorflow as tf
from absl import logging

from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference import precision
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.inference.tiled_generator import TiledGenerator
from tf_deepdeblur.io.pixels import to_float, to_integers
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import save_generator, with_dtype
from tf_deepdeblur.pyramid import gaussian_pyramid, smallest_side

RNG = np.random.default_rng(5)
SIZES = RNG.integers((1, 1, 16), (170, 170, 40), (24, 3)) * (1, 1, 2)


def random_generator(num_scales, global_residual=False, num_res_blocks=2, space_to_depth=1):
    """A generator with weights, the same each time, that keep its outputs in the range of images: clips hide errors."""
    generator = Generator(num_scales, num_res_blocks, 4, 5, global_residual, space_to_depth)
    rng = np.random.default_rng(num_scales)
    generator.set_weights([rng.normal(0, 0.05, weight.shape) for weight in generator.get_weights()])
    return generator


@pytest.fixture(scope="module", params=[(1, 1), (2, 1), (3, 1), (1, 2), (3, 2)])
def generator(request):
    num_scales, space_to_depth = request.param
    return random_generator(num_scales, num_scales == 2, 2 // space_to_depth, space_to_depth)


@pytest.fixture(scope="module")
def restore(generator):
    """The tiled generator, whose ``tile`` each test sets: it is traced once."""
    return TiledGenerator(generator)


@pytest.fixture(scope="module")
def small():
    return random_generator(2)


@pytest.fixture
def warnings(monkeypatch):
    """The warnings that were logged, as text."""
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    return said


def random_image(height, width, dtype=np.uint8):
    return np.random.default_rng([height, width]).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, True)


def whole(generator, image):
    """The restored image by the definition: pad, pyramid, network, crop."""
    scales = generator.num_scales
    multiple, smallest = generator.space_to_depth * 2 ** (scales - 1), smallest_side(scales)
    missing = [max(-side % multiple, smallest - side) for side in image.shape[:2]]
    padded = np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="edge")
    restored = generator(gaussian_pyramid(to_float(padded[None]), scales))[0]
    return to_integers(restored, image.dtype)[0, : image.shape[0], : image.shape[1]].numpy()


@pytest.mark.slow
def test_tiled_equals_untiled_at_24_random_sizes(generator, restore):
    """uint16 shows differences of 1.5e-5 of the range; the sums of a convolution may be rounded in another order."""
    for height, width, restore.tile in SIZES.tolist():
        image = random_image(height, width, np.uint16)
        different = np.abs(restore(image).astype(int) - whole(generator, image))
        assert different.max() <= 2, (height, width, restore.tile)


@pytest.mark.slow
def test_tiled_8_bit_pixels_are_the_untiled_ones(generator, restore):
    """A difference of 1e-6 can only show in 8 bits where a value lies on a rounding edge."""
    for height, width, restore.tile in SIZES.tolist()[:6]:
        image = random_image(height, width)
        assert (restore(image) != whole(generator, image)).mean() < 1e-3, (height, width, restore.tile)


def test_restored_values_use_the_range(generator):
    """The tests above compare something: few values are clipped."""
    restored = whole(generator, random_image(64, 64))
    assert np.isin(restored, (0, 255)).mean() < 0.2
    assert restored.std() > 5


def test_a_pixel_sees_the_radius_and_no_more():
    """The halo is neither too small nor wasted: one pixel changes exactly what lies within the radius."""
    generator = random_generator(1)
    black, dot = np.zeros((2, 65, 65, 3), np.uint16)
    dot[32, 32] = 65535
    deblur = Deblurrer(generator)
    changed = (deblur(black) != deblur(dot)).any(axis=(1, 2)).nonzero()[0]
    radius = generator.scales[0].radius
    assert 32 - radius <= changed.min() < 32 - radius + 4


def test_half_the_resolution_needs_a_quarter_of_the_memory():
    networks = [random_generator(1, num_res_blocks=blocks, space_to_depth=side) for blocks, side in ((2, 1), (1, 2))]
    sides = [TiledGenerator(network).tile_side(0, 10**5, 10**5) for network in networks]
    assert sides[1] / sides[0] == pytest.approx(2, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1), (5, 7), (1, 400), (400, 1)])
def test_every_size_is_restored(generator, restore, size):
    image, restore.tile = random_image(*size), 32
    restored = restore(image)
    assert restored.dtype == np.uint8
    np.testing.assert_allclose(restored.astype(int), whole(generator, image), atol=1)


def test_16_bits_in_give_16_bits_out():
    """A network that adds nothing returns all 65536 levels untouched."""
    identity = Generator(2, 1, 2, global_residual=True)
    levels = np.arange(2**16, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(Deblurrer(identity)(levels), levels)


def test_progress_rises_to_1(small):
    shares = []
    Deblurrer(small, 32)(random_image(70, 50), shares.append)
    assert shares == sorted(shares)
    assert len(shares) == 2 + 3 * 2
    assert shares[-1] == pytest.approx(1)


def test_weights_are_those_at_the_time_of_the_call():
    generator = random_generator(1)
    deblur, image = Deblurrer(generator), random_image(20, 20)
    before = deblur(image)
    generator.set_weights([0 * weight for weight in generator.get_weights()])
    assert (deblur(image) != before).any()
    assert (deblur(image) == 128).all()


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused(small, image):
    with pytest.raises(ValueError, match=r"expected a uint8 or uint16 image \[H, W, 3\]"):
        Deblurrer(small)(image)


@pytest.mark.parametrize("tile", [-1, 31, "big", 64.0])
def test_other_tiles_are_refused(small, tile):
    with pytest.raises(InputError, match="`tile` must be auto, 0"):
        Deblurrer(small, tile)


# Memory.


class ExhaustedAbove:
    """Stands for the function of a scale: out of memory for windows that are wider than ``limit`` pixels."""

    def __init__(self, function, limit):
        self._function = function
        self._limit = limit
        self.seen = []

    def __call__(self, window, *others):
        self.seen.append(max(window.shape[1:3]))
        if self.seen[-1] > self._limit:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return self._function(window, *others)


def exhausted(generator, tile, limit):
    restore = TiledGenerator(generator, tile)
    restore._whole = {dtype: ExhaustedAbove(function, limit) for dtype, function in restore._whole.items()}
    restore._scales = [ExhaustedAbove(function, limit) for function in restore._scales]
    return restore


@pytest.mark.parametrize("tile", [0, 128, "auto"])
def test_tiles_are_halved_until_memory_suffices(small, warnings, tile):
    restore, image = exhausted(small, tile, limit=80), random_image(128, 128)
    np.testing.assert_allclose(restore(image).astype(int), whole(small, image), atol=1)
    assert warnings
    assert "Out of memory with tiles of" in warnings[0]


def test_a_halved_tile_is_kept_for_the_next_image(small, warnings):
    restore = exhausted(small, 128, limit=100)
    restore(random_image(128, 128))
    told = len(warnings)
    restore(random_image(128, 128))
    assert len(warnings) == told


def test_no_memory_at_all_is_an_error_and_ends(small, warnings):
    with pytest.raises(InputError, match="not enough memory even for tiles of"):
        exhausted(small, 128, limit=10)(random_image(128, 128))


def test_auto_follows_the_free_memory(small, monkeypatch):
    monkeypatch.setattr(runtime, "free_memory", lambda: 2 * 10 * 4 * 4 * 10_000)
    restore = exhausted(small, "auto", limit=100)
    restore(random_image(300, 200))
    windows = restore._scales[0].seen
    assert len(windows) > 1
    assert 60 < max(windows) <= 100


def test_one_trace_serves_all_sizes(small):
    restore = TiledGenerator(small, 32)
    for height, width in ((10, 10), (20, 31), (70, 50), (33, 90)):
        restore(random_image(height, width))
    functions = [restore._whole["uint8"], *restore._scales]
    assert [function.experimental_get_tracing_count() for function in functions] == [1, 1, 1]


# Precision.


@pytest.mark.slow
@pytest.mark.parametrize("num_scales", [1, 3])
def test_bfloat16_is_near_float32(num_scales):
    generator = random_generator(num_scales)
    image = random_image(70, 90)
    restored = [Deblurrer(copy, 32)(image).astype(int) for copy in (generator, with_dtype(generator, "mixed_bfloat16"))]
    assert np.abs(restored[0] - restored[1]).max() <= 3


def test_float16_that_overflows_is_restored_in_float32(warnings):
    """By one copy of the network, which has the weights that the network has at the time."""
    generator = random_generator(1)
    generator.scales[0].head.kernel.assign(generator.scales[0].head.kernel * 1e7)
    generator.scales[0].tail.kernel.assign(generator.scales[0].tail.kernel * 1e-7)
    low, image = with_dtype(generator, "mixed_float16"), random_image(20, 20)
    deblur = Deblurrer(low)
    np.testing.assert_array_equal(deblur(image), Deblurrer(generator)(image))
    copy = deblur._in_float32
    for network in (generator, low):
        network.scales[0].tail.bias.assign([0.1, 0, 0])
    np.testing.assert_array_equal(deblur(image), Deblurrer(generator)(image))
    assert deblur._in_float32 is copy
    assert len(warnings) == 2
    assert all("not finite in mixed_float16; the image is restored again in float32" in said for said in warnings)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_damaged_weights_are_an_error(warnings, policy):
    generator = Generator(1, 1, 2, dtype=policy)
    generator.scales[0].tail.bias.assign([np.nan, 0, 0])
    with pytest.raises(InputError, match="not finite even in float32: the weights are damaged"):
        Deblurrer(generator)(random_image(9, 9))


@pytest.mark.parametrize("speedup, policy", [(0.6, "float32"), (1.1, "float32"), (1.9, "mixed_bfloat16")])
def test_auto_takes_bfloat16_only_where_it_is_measured_to_be_faster(monkeypatch, speedup, policy):
    seconds = {tf.float32: speedup, tf.bfloat16: 1.0}
    monkeypatch.setattr(precision, "choose_precision", lambda requested: "mixed_bfloat16")
    monkeypatch.setattr(precision, "alternating_seconds", lambda works, trials: seconds)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert precision.dtype_policy("auto", 64, 5) == policy
    assert precision.dtype_policy("bfloat16", 64, 5) == "mixed_bfloat16"


# Models.


@pytest.fixture(scope="module")
def keras_file(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "generator.keras"
    save_generator(small, path)
    return path


@pytest.mark.slow
def test_a_file_and_its_run_folder_are_loaded(small, keras_file):
    image = random_image(40, 30)
    for model in (keras_file, str(keras_file), keras_file.parent):
        restored = Deblurrer.load(model, precision="float32")(image)
        np.testing.assert_array_equal(restored, Deblurrer(small)(image))


def test_shipped_weights_are_loaded_by_name(keras_file, monkeypatch, tmp_path):
    monkeypatch.setattr("tf_deepdeblur.models.saving.WEIGHTS_FOLDER", tmp_path)
    (tmp_path / "gopro.keras").write_bytes(keras_file.read_bytes())
    assert Deblurrer.load("gopro", precision="float32")(random_image(8, 8)).shape == (8, 8, 3)
    with pytest.raises(
        InputError,
        match=rf"^go: no such file or folder, nor weights in {tmp_path} \(there are: gopro\); give a trained model$",
    ):
        Deblurrer.load("go")
