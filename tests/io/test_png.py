import numpy as np
import pytest
from PIL import Image

from tf_deepdeblur.io.png import END_OF_PNG, write_png


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (37, 53), (400, 5)])
def test_pillow_reads_the_same_pixels(tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    write_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as read:
        assert (read.mode, read.format) == ("RGB", "PNG")
        np.testing.assert_array_equal(read, image)
    with Image.open(tmp_path / "a.png") as read:
        read.verify()  # the chunks' checksums
    assert (tmp_path / "a.png").read_bytes().endswith(END_OF_PNG)


def test_a_cut_out_of_an_image_can_be_written(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)[5:30, 7:-2]
    write_png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(Image.open(tmp_path / "a.png"), image)


def test_smooth_images_become_small(tmp_path):
    image = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 256, 3))
    write_png(tmp_path / "a.png", image)
    assert (tmp_path / "a.png").stat().st_size < image.size / 50
