"""Good files are restored, bad ones are named; nothing else is left behind."""

import os

import av
import numpy as np
import pytest
from PIL import Image

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference.batch import Output, restore_files
from tf_deepdeblur.inference.inputs import plan_jobs
from tf_deepdeblur.io import sixteen_bit
from tf_deepdeblur.io.photo import read_photo
from tf_deepdeblur.io.video import VideoReader

RNG = np.random.default_rng(1)


def negative(image, progress=None):
    """Stands for a Deblurrer."""
    if progress:
        progress(0.5)
    return np.iinfo(image.dtype).max - image


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    return tmp_path / "in"


@pytest.fixture
def restore(tmp_path, folder):
    """Restores tmp_path/in into tmp_path/out; returns the failures."""

    def run(deblur=negative, **output):
        return restore_files(deblur, plan_jobs([folder], tmp_path / "out", recursive=True).jobs, Output(**output))

    return run


def noise(height=20, width=30):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def written(tmp_path):
    return sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_a_bad_file_does_not_stop_the_others_and_is_named(folder, restore, tmp_path):
    Image.fromarray(noise()).save(folder / "a.png")
    (folder / "b.png").write_text("hello")
    (folder / "c.mp4").write_text("hello")
    (folder / "d.png").symlink_to(folder / "d.png")
    os.mkfifo(folder / "e.png")
    Image.fromarray(noise()).save(folder / "sub" / "ä ö.png")
    failures = restore()
    assert [line.split(": ")[0] for line in failures] == [
        str(folder / name) for name in ("b.png", "c.mp4", "d.png", "e.png")
    ]
    assert all("\n" not in line for line in failures)
    assert written(tmp_path) == ["a.png", "sub/ä ö.png"]
    expected = 255 - read_photo(folder / "a.png").image
    np.testing.assert_array_equal(read_photo(tmp_path / "out" / "a.png").image, expected)


def test_errors_of_the_network_are_named_with_the_file(folder, restore, tmp_path):
    def failing(image, progress=None):
        raise InputError("memory does not suffice")

    Image.fromarray(noise()).save(folder / "a.png")
    assert restore(failing) == [f"{folder / 'a.png'}: memory does not suffice"]
    assert written(tmp_path) == []


def test_a_file_that_cannot_be_written_is_named(folder, restore, tmp_path):
    Image.fromarray(noise()).save(folder / "a.png")
    (tmp_path / "out" / "a.png" / "in the way").mkdir(parents=True)
    (line,) = restore()
    assert line.startswith(f"{folder / 'a.png'}: {tmp_path / 'out' / 'a.png'} cannot be written (")


def test_an_interruption_leaves_no_half_file(folder, restore, tmp_path):
    def interrupted(image, progress=None):
        if image.shape[0] == 21:
            raise KeyboardInterrupt
        return image

    Image.fromarray(noise(20)).save(folder / "a.png")
    Image.fromarray(noise(21)).save(folder / "b.png")
    with pytest.raises(KeyboardInterrupt):
        restore(interrupted)
    assert written(tmp_path) == ["a.png"]


def test_16_bits_reach_the_network_and_alpha_does_not(folder, restore, tmp_path):
    deep = RNG.integers(0, 65536, (9, 7, 4), dtype=np.uint16)
    sixteen_bit.write_png(folder / "deep.png", deep)
    assert restore() == []
    photo = read_photo(tmp_path / "out" / "deep.png")
    np.testing.assert_array_equal(photo.image, 65535 - deep[:, :, :3])
    np.testing.assert_array_equal(photo.alpha, deep[:, :, 3])


def test_metadata_is_kept_or_stripped(folder, restore, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.fromarray(noise()).save(folder / "a.jpg", exif=exif)
    for keep in (True, False):
        assert restore(keep_metadata=keep) == []
        assert (b"Maker" in (tmp_path / "out" / "a.jpg").read_bytes()) == keep


def test_jpeg_quality_is_obeyed(folder, restore, tmp_path):
    Image.fromarray(noise(64, 64)).save(folder / "a.jpg")
    sizes = [restore(quality=quality) or (tmp_path / "out" / "a.jpg").stat().st_size for quality in (20, 95)]
    assert sizes[0] < sizes[1] / 2


def test_comparisons_show_before_and_after(folder, restore, tmp_path):
    image = np.full((20, 30, 3), 40, np.uint8)
    Image.fromarray(image).save(folder / "sub" / "a.png")
    Image.fromarray(image[:, :, 0]).save(folder / "grey.png")
    assert restore(comparisons=tmp_path / "compare") == []
    joined = read_photo(tmp_path / "compare" / "sub" / "a.png.jpg").image
    assert joined.shape == (20, 64, 3)
    np.testing.assert_allclose(joined[5, [5, 60]], [[40] * 3, [215] * 3], atol=3)
    assert read_photo(tmp_path / "compare" / "grey.png.jpg").is_grey


def test_a_video_is_restored_frame_by_frame(folder, restore, tmp_path):
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height = 64, 48
        for level in range(40, 90, 10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert restore(comparisons=tmp_path / "compare") == []
    with VideoReader(tmp_path / "out" / "clip.mp4") as reader:
        levels = [frame.image.mean() for frame in reader]
    np.testing.assert_allclose(levels, [215, 205, 195, 185, 175], atol=3)
    middle = read_photo(tmp_path / "compare" / "clip.mp4.jpg").image
    np.testing.assert_allclose(middle[10, [10, 120]].mean(axis=1), [60, 195], atol=4)
