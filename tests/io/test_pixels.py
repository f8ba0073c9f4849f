import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.images import image_size, read_image, side_by_side, to_eight_bits, write_image
from tf_deepdeblur.io.pixels import to_float, to_uint8


def test_every_level_survives_the_round_trip():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_uint8(to_float(levels)), levels)


@pytest.mark.parametrize(
    ("value", "level"), [(-0.7, 0), (0.7, 255), (0.0, 128), (-0.5 + 2.51 / 255, 3), (-0.5 + 2.49 / 255, 2)]
)
def test_values_are_clipped_then_rounded_half_up(value, level):
    assert int(to_uint8(tf.constant(value))) == level


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_graphs_and_eager_code_give_the_very_same_floats(dtype):
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    graph = tf.function(to_float, input_signature=[tf.TensorSpec([None], dtype)])
    np.testing.assert_array_equal(graph(levels), to_float(levels))


def test_range_is_zero_centred():
    assert to_float(np.array([0, 255], np.uint8)).numpy().tolist() == [-0.5, 0.5]


def test_files_round_trip(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    write_image(tmp_path / "a.png", image)
    assert np.array_equal(read_image(tmp_path / "a.png"), image)
    assert image_size(tmp_path / "a.png") == (5, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey[:, :, None], 3, axis=2))


def test_16_bits_are_rounded_to_8(tmp_path):
    deep = np.array([[0, 128, 129, 257, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 0, 1, 1, 255]


def test_to_eight_bits_is_the_nearest_level():
    levels = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(to_eight_bits(levels), np.round(levels / 257).astype(np.uint8))
    shallow = np.arange(256, dtype=np.uint8)
    assert to_eight_bits(shallow) is shallow


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=r"pipe\.png: is a pipe or a device, not a file"):
            read(tmp_path / "pipe.png")


@pytest.mark.parametrize("content", [b"", b"not an image", "truncated"], ids=["empty", "text", "truncated"])
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    if content == "truncated":
        write_image(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
        content = path.read_bytes()[:5000]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.png"):
        read_image(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png: no such file"):
        read_image(tmp_path / "gone.png")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(TypeError):
        write_image(path, np.zeros((2, 2, 5), np.float32))
    assert read_image(path).shape == (2, 2, 3)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_side_by_side_keeps_every_picture():
    pictures = [np.full((3, 2, 3), level, np.uint8) for level in (10, 20, 30)]
    joined = side_by_side(pictures)
    assert joined.shape == (3, 2 * 3 + 4 * 2, 3)
    assert [joined[0, column, 0] for column in (0, 6, 12)] == [10, 20, 30]
