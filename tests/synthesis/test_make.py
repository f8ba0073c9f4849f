import csv
import errno
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.synthesis.videos import damage, moving_photo, rotate, write_video
from tf_deepdeblur.data.pairs import check_pairs, find_pairs
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import locked
from tf_deepdeblur.io.images import read_image, write_image
from tf_deepdeblur.io.png import write_png
from tf_deepdeblur.shards import WorkShard
from tf_deepdeblur.synthesis import manifest
from tf_deepdeblur.synthesis import pair as module
from tf_deepdeblur.synthesis.make import make_blur
from tf_deepdeblur.synthesis.response import linearise
from tf_deepdeblur.synthesis.sequences import Settings, plan

SEVEN = {"min_frames": 7, "max_frames": 7}


def make(inputs, output_dir, test_sequences=(), **values):
    """Makes a data set; returns (warnings, failures) and checks that nothing unfinished is left."""
    settings = Settings(**{**SEVEN, **values})
    sequences, unusable = plan(inputs, output_dir, settings, test_sequences=test_sequences)
    assert unusable == []
    result = make_blur(sequences, output_dir, settings)
    assert not (output_dir / ".unfinished").exists()
    return result


def images(folder, kind):
    return np.array([read_image(path) for path in sorted(folder.glob(f"*/*/{kind}/*.png"))])


def rows(folder):
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sine_frames(count, speed, gamma):
    """A sine of 64 pixels per period in linear light that moves ``speed`` pixels per frame, as a camera records it."""
    x = np.arange(96)[None, :, None] + np.zeros((32, 1, 3))
    signals = (0.5 + 0.4 * np.sin(2 * np.pi * (x - speed * i) / 64) for i in range(count))
    return [np.floor(signal ** (1 / gamma) * 255 + 0.5).astype(np.uint8) for signal in signals]


@pytest.mark.parametrize(("kind", "gamma"), [("blur_gamma", 2.2), ("blur", 1.0)])
def test_a_moving_texture_has_the_blur_that_theory_says(tmp_path, kind, gamma):
    """The mean of M sines, 2.5 px apart, is a sine again: its amplitude shrinks by sin(M a) / (M sin a)."""
    video = write_video(tmp_path / "a.mp4", sine_frames(35, 2.5, gamma))
    make([video], tmp_path / "out")
    half_step = np.pi * 2.5 / 64
    factor = np.sin(7 * half_step) / (7 * np.sin(half_step))
    x = np.arange(96)[None, :, None] + np.zeros((32, 1, 3))
    for number, blurry in enumerate(images(tmp_path / "out", kind)):
        middle = 7 * number + 3
        signal = 0.5 + 0.4 * factor * np.sin(2 * np.pi * (x - 2.5 * middle) / 64)
        assert np.abs(blurry - signal ** (1 / gamma) * 255).max() < 0.5 + 0.3  # rounding of the blur and of the frames


def test_pairs_are_the_exact_mean_of_the_frames_and_the_middle_one(tmp_path):
    frames = moving_photo(30)
    make([write_video(tmp_path / "a.mp4", frames)], tmp_path / "out", overlap=2)
    made = {kind: images(tmp_path / "out", kind) for kind in ("blur_gamma", "blur", "sharp")}
    starts = [int(row["first_frame"]) for row in rows(tmp_path / "out")]
    assert starts == [0, 5, 10, 15, 20]
    for i, start in enumerate(starts):
        np.testing.assert_array_equal(made["sharp"][i], frames[start + 3])
        for kind, gamma in (("blur_gamma", 2.2), ("blur", 1.0)):
            exact = np.mean([linearise(frame, gamma) for frame in frames[start : start + 7]], axis=0) ** (1 / gamma)
            np.testing.assert_array_equal(made[kind][i], np.floor(exact * 255 + 0.5))


def test_the_manifest_says_what_each_pair_is(tmp_path):
    make([write_video(tmp_path / "my clip.mp4", moving_photo(16))], tmp_path / "out")
    first, second = rows(tmp_path / "out")
    assert (first["sequence"], first["file"], first["source"]) == ("my-clip_07_00", "000001.png", "my clip.mp4")
    assert (second["first_frame"], second["frames"], second["fps"]) == ("7", "7", "240")
    assert float(second["exposure_s"]) == pytest.approx(7 / 240, rel=1e-5)
    assert float(second["motion_px"]) == pytest.approx(1.0, abs=0.1)
    sharp, blurry = (images(tmp_path / "out", kind)[0].astype(float) for kind in ("sharp", "blur_gamma"))
    psnr = 10 * np.log10(255**2 / np.mean((sharp - blurry) ** 2))
    assert float(first["psnr_blur_gamma"]) == pytest.approx(psnr, abs=0.006)
    assert read_image(tmp_path / "out" / "contact_sheet.png").shape[1] > 1000


def test_a_made_data_set_is_gopro_large_to_the_loader(tmp_path):
    for name in "abc":
        write_video(tmp_path / f"{name}.mp4", moving_photo(15))
    warnings, failures = make([tmp_path / f"{name}.mp4" for name in "abc"], tmp_path / "out", test_sequences=["b"])
    assert (warnings, failures) == ([], [])
    for key in ("blur_gamma", "blur"):
        train, validation = (find_pairs("gopro", tmp_path / "out", split, key) for split in ("train", "validation"))
        assert (len(train), len(validation)) == (4, 2)
        assert check_pairs(train + validation).tolist() == [[48, 64]] * 6
        assert {pair.blurry.parents[1].name for pair in validation} == {"b_07_00"}


def test_range_crop_and_downscale(tmp_path):
    frames = moving_photo(30, height=40, width=60)
    video = write_video(tmp_path / "a.mp4", frames)
    make([video], tmp_path / "out", first_frame=4, last_frame=20, crop=(8, 4, 40, 34), downscale=4)
    sharp = images(tmp_path / "out", "sharp")
    assert [row["first_frame"] for row in rows(tmp_path / "out")] == ["4", "11"]
    mean = frames[7][4:36, 8:48].reshape(8, 4, 10, 4, 3).mean(axis=(1, 3))
    assert np.abs(sharp[0] - mean).max() <= 0.5 + 1e-6


def test_the_response_curve_of_a_table(tmp_path):
    video = write_video(tmp_path / "a.mp4", moving_photo(9))
    table = "".join(f"{level},{(level / 255) ** 1.5}\n" for level in range(256))
    (tmp_path / "curve.csv").write_text(table)
    make([video], tmp_path / "table", camera_response=str(tmp_path / "curve.csv"))
    make([video], tmp_path / "gamma", gamma=1.5)
    ours, theirs = (images(tmp_path / name, "blur_gamma").astype(int) for name in ("table", "gamma"))
    assert np.abs(ours - theirs).max() <= 1
    assert (ours == theirs).mean() > 0.99


def test_scene_cuts_and_uneven_times_are_left_out(tmp_path):
    other = [255 - image for image in moving_photo(14)]
    cut = write_video(tmp_path / "cut.mp4", moving_photo(10) + other[:11])
    times = [4 * i + (40 if i >= 10 else 0) for i in range(21)]
    uneven = write_video(tmp_path / "uneven.mp4", moving_photo(21), times=times)
    warnings, failures = make([cut, uneven], tmp_path / "out")
    assert failures == []
    assert [f"{cut}: 1 windows left out: scene cut", f"{uneven}: 1 windows left out: uneven frame times"] == warnings
    assert [row["first_frame"] for row in rows(tmp_path / "out")] == ["0", "14"] * 2


def test_odd_footage(tmp_path):
    """Rotated, odd sizes, a damaged packet, a folder of frames: made; three frames: a failure that says so."""
    write_video(tmp_path / "good.mp4", moving_photo(7))
    rotate(write_video(tmp_path / "rotated.mp4", moving_photo(7, 33, 51)))
    damage(write_video(tmp_path / "damaged.mp4", moving_photo(20), g="8"), packet=4)
    write_video(tmp_path / "short.mp4", moving_photo(3))
    (tmp_path / "frames").mkdir()
    for i, image in enumerate(moving_photo(7)):
        write_image(tmp_path / "frames" / f"{i}.png", image)
    warnings, failures = make([tmp_path], tmp_path / "out")
    assert len(warnings) == 1
    assert f"{tmp_path / 'damaged.mp4'}: damaged or cut off" in warnings[0]
    assert failures == [
        f"{tmp_path / 'short.mp4'}: no window of M = 7 frames (it has fewer frames); "
        "use a smaller `max_frames` or other footage"
    ]
    made = {row["sequence"]: row for row in rows(tmp_path / "out")}
    assert set(made) == {"good_07_00", "rotated_07_00", "damaged_07_00", "frames_07_00"}
    assert (made["damaged_07_00"]["first_frame"], made["frames_07_00"]["fps"]) == ("8", "")
    (rotated,) = (tmp_path / "out").glob("*/rotated_07_00/sharp/*.png")
    np.testing.assert_array_equal(read_image(rotated), np.rot90(moving_photo(4, 33, 51)[3], -1))


def test_frames_of_different_sizes_fail_and_are_named(tmp_path):
    for i, image in enumerate([*moving_photo(4), *moving_photo(4, 20, 20)]):
        write_image(tmp_path / f"{i}.png", image)
    _, failures = make([tmp_path], tmp_path / "out")
    assert failures == [f"{tmp_path}: frame 4 has another size; give frames of one size"]


def test_photos_are_shaken(tmp_path):
    photo = moving_photo(1, 120, 160)[0]
    write_image(tmp_path / "p.png", photo)
    write_image(tmp_path / "tiny.png", photo[:9, :9])
    warnings, failures = make([tmp_path / "p.png", tmp_path / "tiny.png"], tmp_path / "out", from_photos=True, takes=3)
    assert warnings == []
    assert len(failures) == 1
    assert failures[0].startswith(f"{tmp_path / 'tiny.png'}: 9x9 (height x width) is too small: the motion takes ")
    assert failures[0].endswith(" pixels away from each side; use a larger one or a smaller `shake` or `max_frames`")
    psnr = [float(row["psnr_blur_gamma"]) for row in rows(tmp_path / "out")]
    assert len(psnr) == 3
    assert 12 < min(psnr) <= max(psnr) < 45


def test_again_keeps_what_is_there_and_refuses_other_settings(tmp_path):
    video = write_video(tmp_path / "a.mp4", moving_photo(15))
    make([video], tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*/*.png")}
    make([video], tmp_path / "out")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*/*.png")}
    _, failures = make([video], tmp_path / "out", gamma=1.8)
    assert "was made otherwise (gamma was 2.2, is now 1.8)" in failures[0]
    write_video(video, moving_photo(18))
    _, failures = make([video], tmp_path / "out")
    assert "was made otherwise (size_bytes was" in failures[0]


def test_a_full_disk_is_told_and_leaves_nothing_half_done(tmp_path, monkeypatch):
    videos = [write_video(tmp_path / f"{name}.mp4", moving_photo(21)) for name in "ab"]
    make(videos, tmp_path / "whole")
    left = iter(range(5))

    def write(path, image):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_png(path, image)

    monkeypatch.setattr(module, "write_png", write)
    with pytest.raises(InputError, match=r"out: cannot be written \(No space left on device\).*make room"):
        make(videos, tmp_path / "out")
    assert not list((tmp_path / "out").glob("t*/*"))
    monkeypatch.undo()
    make(videos, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_another_error_wants_another_folder(tmp_path):
    video = write_video(tmp_path / "a.mp4", moving_photo(7))
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match=r"out: cannot be written \(.*\); choose another folder$"):
        make([video], tmp_path / "out")


def test_one_program_at_a_time_writes_to_a_folder(tmp_path):
    video = write_video(tmp_path / "a.mp4", moving_photo(7))
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(InputError, match=r"out: another program is writing to it"):
        make([video], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert make([video], tmp_path / "out") == ([], [])


def test_shards_make_what_one_machine_makes(tmp_path):
    """Two at once, in another order than their numbers; the last one to end leaves the whole summary."""
    videos = [write_video(tmp_path / f"{name}.mp4", moving_photo(15 + i)) for i, name in enumerate("abcde")]
    make(videos, tmp_path / "one")
    settings = Settings(**SEVEN)

    def make_shard(index):
        sequences, _ = plan(videos, tmp_path / "all", settings)
        return make_blur(sequences, tmp_path / "all", settings, WorkShard(index, 3))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(make_shard, [2, 0, 1])) == [([], [])] * 3
    assert contents(tmp_path / "all") == contents(tmp_path / "one")
    assert not (tmp_path / "all" / ".unfinished").exists()


def test_one_machine_at_a_time_makes_a_sequence(tmp_path):
    video = write_video(tmp_path / "a.mp4", moving_photo(7))
    part = tmp_path / "out" / ".unfinished" / "a_07_00"
    part.mkdir(parents=True)
    settings = Settings(**SEVEN)
    sequences, _ = plan([video], tmp_path / "out", settings)
    with locked(part):
        _, failures = make_blur(sequences, tmp_path / "out", settings, WorkShard(0, 2))
    assert len(failures) == 1
    assert "a_07_00: another program is writing to it" in failures[0]
    assert make_blur(sequences, tmp_path / "out", settings, WorkShard(0, 2)) == ([], [])
    with locked(tmp_path / "out", shared=True), pytest.raises(InputError, match=r"out: another program is writing"):
        make([video], tmp_path / "out")


def test_a_summary_is_written_again_if_a_sequence_is_completed_meanwhile(tmp_path, monkeypatch):
    videos = [write_video(tmp_path / f"{name}.mp4", moving_photo(7)) for name in "ab"]
    make(videos, tmp_path / "out")
    before = contents(tmp_path / "out")
    (late,) = (tmp_path / "out").glob("*/b_07_00")
    late.rename(tmp_path / "late")

    def write(path, image):
        if (tmp_path / "late").exists():
            (tmp_path / "late").rename(late)
        write_png(path, image)

    monkeypatch.setattr(manifest, "write_png", write)
    manifest.write_summary(tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_warnings_are_told_again_when_a_sequence_is_found_made(tmp_path):
    """Of the damage, too, although reading ends before the video does."""
    spoiled = damage(write_video(tmp_path / "spoiled.mp4", moving_photo(60), g="10"), packet=13)
    slow = write_video(tmp_path / "slow.mp4", moving_photo(40), rate=30)
    good = write_video(tmp_path / "good.mp4", moving_photo(40))
    first = make([spoiled, slow, good], tmp_path / "out", last_frame=35)
    slow_line, spoiled_line = first[0]
    assert slow_line.startswith(f"{slow}: 30 frames per second are too few")
    assert spoiled_line.startswith(f"{spoiled}: damaged or cut off: ")
    before = contents(tmp_path / "out")
    assert make([spoiled, slow, good], tmp_path / "out", last_frame=35) == first
    assert contents(tmp_path / "out") == before
    kept = {path.parent.name for path in (tmp_path / "out").glob("*/*/warnings.txt")}
    assert kept == {"spoiled_07_00", "slow_07_00"}


def test_no_window_straddles_a_frame_that_is_missing(tmp_path):
    (tmp_path / "frames").mkdir()
    for i, image in enumerate(moving_photo(30)):
        if i != 10:
            write_image(tmp_path / "frames" / f"{i:03d}.png", image)
    warnings, failures = make([tmp_path / "frames"], tmp_path / "out")
    assert warnings == [f"{tmp_path / 'frames'}: 1 numbers are missing, such as before 011.png"]
    assert failures == []
    assert [row["first_frame"] for row in rows(tmp_path / "out")] == ["0", "10", "17"]


@pytest.mark.parametrize("image", [moving_photo(1)[0], np.zeros((48, 64, 3), np.uint8)], ids=["static", "black"])
def test_footage_that_stands_still_is_told(tmp_path, image):
    video = write_video(tmp_path / "a.mp4", [image] * 14)
    warnings, _ = make([video], tmp_path / "out")
    assert any("2 of 2 windows show no motion" in line for line in warnings)
    np.testing.assert_array_equal(images(tmp_path / "out", "blur_gamma"), images(tmp_path / "out", "sharp"))


@pytest.mark.parametrize(("values", "total"), [({}, 32), ({"last_frame": 10}, 20), ({"last_frame": 40}, 32)])
def test_progress_counts_the_frames_that_are_read(tmp_path, capsys, values, total):
    videos = [write_video(tmp_path / f"{name}.mp4", moving_photo(16)) for name in "ab"]
    make(videos, tmp_path / "out", **values)
    assert f"| {total}/{total} [" in capsys.readouterr().err.splitlines()[-1]


def test_a_data_set_made_when_the_response_was_called_crf_goes_on(tmp_path):
    make([write_video(tmp_path / "a.mp4", moving_photo(7))], tmp_path / "out", camera_response="linear")
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "out").glob("*/*/settings.json"))
    assert record["crf"] == "linear"
    assert "camera_response" not in record


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from tf_deepdeblur.synthesis.make import make_blur
from tf_deepdeblur.synthesis.sequences import Settings, plan

inputs, out, kills = sys.argv[1:3], Path(sys.argv[3]), int(sys.argv[4])
settings = Settings(min_frames=7, max_frames=7)
for attempt in range(kills + 1):
    child = os.fork()
    if not child:
        make_blur(plan(inputs, out, settings)[0], out, settings)
        os._exit(0)
    files = len(list(out.rglob("*.png")))
    while attempt < kills and len(list(out.rglob("*.png"))) < files + 7:
        time.sleep(0.002)
    if attempt < kills:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(len(list(out.rglob("*.png"))), status)
"""


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path):
    videos = [write_video(tmp_path / f"{name}.mp4", moving_photo(70, 120, 180)) for name in "ab"]
    make(videos, tmp_path / "whole")
    command = [sys.executable, "-c", KILLED, *map(str, videos), str(tmp_path / "out"), "2"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    codes = [line.split()[1] for line in run.stdout.splitlines()]
    assert codes == ["-9", "-9", "0"], run.stdout
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_what_a_sudden_end_left_is_mended(tmp_path):
    """A power failure can leave a file's name without its content, a killed program its temporary file."""
    video = write_video(tmp_path / "a.mp4", moving_photo(15))
    make([video], tmp_path / "out")
    done = next((tmp_path / "out").glob("*/a_07_00"))
    part = tmp_path / "out" / ".unfinished" / "a_07_00"
    part.parent.mkdir()
    before = contents(done)
    done.rename(part)
    (part / "blur" / "000001.png").write_bytes(b"\0" * 999)
    (part / "blur" / ".0123456789abcdef.part.png").write_bytes(b"")
    make([video], tmp_path / "out")
    assert contents(done) == before
    assert json.loads((done / "settings.json").read_text())["source"] == "a.mp4"
