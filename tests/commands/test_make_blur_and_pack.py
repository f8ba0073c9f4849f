"""The commands make_blur and pack as their users meet them: exit codes and what is printed."""

import pytest

from tests.synthesis.videos import moving_photo, write_sound, write_video
from tf_deepdeblur.io.images import write_image
from tf_deepdeblur.training import train
from tf_deepdeblur.training.setup import open_sources


@pytest.mark.slow
def test_videos_become_a_data_set_that_trains_packed_or_not(run_here, tmp_path, tiny_config):
    """One input is no video: the others are made, it is named, and the exit code says so."""
    videos = [write_video(tmp_path / f"{name}.mp4", moving_photo(21)) for name in "ab"]
    made = run_here("make_blur", "--output_dir", tmp_path / "data", *videos, write_sound(tmp_path / "s.wav"))
    assert made.returncode == 1, made.stderr
    assert f"failed: {tmp_path / 's.wav'}: " in made.stderr
    assert "Traceback" not in made.stderr
    assert f"2 sequences are in {tmp_path / 'data'}" in made.stdout

    folder = {"dataset": "gopro", "data_dir": str(tmp_path / "data")}
    result = train(tiny_config(data=folder))
    assert result["step"] == 4
    assert {"psnr", "blurry_psnr"} <= set(result)

    packed = run_here("pack", "--data_dir", tmp_path / "data", "--output", tmp_path / "a.store")
    assert packed.returncode == 0, packed.stderr
    store = {"dataset": "store", "data_dir": str(tmp_path / "a.store")}
    assert train(tiny_config(tmp_path / "other", data=store)) == result
    assert len(open_sources(tiny_config(data=store)).validation) > 0

    data = bytearray((tmp_path / "a.store").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a.store").write_bytes(data)
    verified = run_here("pack", "--verify", "--output", tmp_path / "a.store")
    assert verified.returncode == 1
    assert verified.stderr.splitlines()[-1].startswith("damaged: test/")


def test_when_nothing_was_made_nothing_else_is_said(run_here, tmp_path):
    write_image(tmp_path / "photo.png", moving_photo(1)[0])
    result = run_here("make_blur", "--output_dir", tmp_path / "data", tmp_path / "photo.png", tmp_path / "gone.mp4")
    assert result.returncode == 1
    assert result.stdout == "nothing was made\n"
    lines = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 2
    assert "photo.png: is one image" in lines[0]
    assert "--from_photos" in lines[0]
    assert "gone.mp4: no such file or folder; give" in lines[1]


def test_contradictions_are_usage_errors(run_here):
    result = run_here("make_blur", "--output_dir=nowhere", "--stride=3", "--overlap=2", "a.mp4")
    assert result.returncode == 2
    assert result.stderr == "deepdeblur make_blur: --stride and --overlap say the same thing: give one of them\n"
