"""A video that is read and written again keeps its clock, sound, colours and size; bad files are named."""

import os
import resource
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io import video
from tf_deepdeblur.io.atomic import atomic_write
from tf_deepdeblur.io.video import VideoReader, VideoWriter

SIZE = (48, 64)
STEADY = [number * 512 for number in range(12)]
UNSTEADY = [0, 512, 1024, 3000, 3100, 5000, 9000, 9512]
BASE = Fraction(1, 12800)


def picture(number, size=SIZE, white=255):
    """Colours that differ in all corners, and from frame to frame."""
    y, x = np.mgrid[0 : 1 : size[0] * 1j, 0 : 1 : size[1] * 1j]
    return np.dstack([x, y, np.full(size, number % 12 / 12)]) * white


def make_video(path, times=STEADY, sound=True, codec="libx264", pix_fmt="yuv420p", size=SIZE, rotation=0, **colours):
    base = BASE if path.suffix != ".avi" else BASE * 512
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "10", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.time_base = stream.time_base = base
        for name, value in colours.items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        if sound is True:
            sound = "libopus" if path.suffix == ".webm" else "aac"
        track = container.add_stream(sound, rate=48000) if sound else None
        for number, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, size).astype(np.uint8), "rgb24")
            frame = frame.reformat(
                format=pix_fmt, dst_colorspace=colours.get("colorspace"), dst_color_range=colours.get("color_range")
            )
            frame.pts, frame.time_base = round(pts * BASE / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            container.mux(_tone(track, times[-1] * float(BASE)))
            container.mux(track.encode())


def _tone(track, seconds):
    samples = (np.sin(np.arange(int(48000 * seconds)) * 0.05) * 10_000).astype(np.int16)[None]
    packets = []
    for start in range(0, samples.shape[1], 960):
        frame = av.AudioFrame.from_ndarray(samples[:, start : start + 960], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        packets += track.encode(frame)
    return packets


def copy(source, target, **options):
    """Reads and writes a video; returns its frames."""
    frames = []
    with VideoReader(source) as reader, atomic_write(target) as part, VideoWriter(part, reader, **options) as writer:
        for frame in reader:
            frames.append(frame)
            writer.write(*frame)
    return frames


def packets(path, kind):
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def seconds_heard(path):
    with av.open(str(path)) as container:
        return [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.size]


def seconds_shown(path):
    with VideoReader(path) as reader:
        return [float(frame.pts * reader.time_base) for frame in reader]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "ts"])
def test_frames_clock_and_sound_are_kept(tmp_path, suffix):
    source, target = tmp_path / f"source.{suffix}", tmp_path / f"target.{suffix}"
    make_video(source, **({"codec": "mpeg4"} if suffix == "avi" else {}))
    copy(source, target)
    assert packets(source, "audio") == packets(target, "audio")
    np.testing.assert_allclose(np.diff(seconds_heard(target)), np.diff(seconds_heard(source)), atol=2e-3)
    before, after = seconds_shown(source), seconds_shown(target)
    np.testing.assert_allclose(np.diff(after), np.diff(before), atol=2e-3)
    assert len(after) == len(STEADY)
    with VideoReader(source) as one, VideoReader(target) as other:
        assert float(other.frame_rate) == pytest.approx(float(one.frame_rate), rel=0.01)
        for old, new in zip(one, other, strict=True):
            assert np.abs(old.image.astype(int) - new.image).mean() < 3


@pytest.mark.parametrize("codec", ["aac", "ac3", "flac", "mp3", "pcm_s16le"])
def test_sound_in_avi_keeps_its_times(tmp_path, codec):
    make_video(tmp_path / "source.avi", codec="mpeg4", sound=codec)
    copy(tmp_path / "source.avi", tmp_path / "target.avi")
    assert packets(tmp_path / "source.avi", "audio") == packets(tmp_path / "target.avi", "audio")
    heard = seconds_heard(tmp_path / "source.avi")
    assert heard[-1] > 0.3
    np.testing.assert_allclose(seconds_heard(tmp_path / "target.avi"), heard, atol=2e-3)


def test_avi_without_sound(tmp_path):
    make_video(tmp_path / "source.avi", codec="mpeg4", sound=False)
    assert len(copy(tmp_path / "source.avi", tmp_path / "target.avi")) == len(STEADY)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_frame_rate_is_kept(tmp_path, suffix):
    source, target = tmp_path / f"source.{suffix}", tmp_path / f"target.{suffix}"
    make_video(source, UNSTEADY, sound=False)
    copy(source, target)
    np.testing.assert_allclose(seconds_shown(target), seconds_shown(source), atol=1e-3)


def test_duration_is_kept(tmp_path):
    make_video(tmp_path / "source.mp4")
    copy(tmp_path / "source.mp4", tmp_path / "target.mp4")
    with av.open(str(tmp_path / "source.mp4")) as one, av.open(str(tmp_path / "target.mp4")) as other:
        assert other.duration == pytest.approx(one.duration, abs=50_000)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_is_applied(tmp_path, rotation):
    make_video(tmp_path / "upright.mp4", sound=False)
    make_video(tmp_path / "turned.mp4", sound=False, rotation=rotation)
    copy(tmp_path / "turned.mp4", tmp_path / "target.mp4")
    with VideoReader(tmp_path / "upright.mp4") as one, VideoReader(tmp_path / "target.mp4") as other:
        expected, image = np.rot90(next(iter(one)).image, rotation // 90), next(iter(other)).image
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("a, b", [(1, 0), (-1, 0), (0, 1), (0, -1)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_every_quarter_turn_and_mirror_is_applied(a, b, mirrored):
    """A display matrix shows the pixel (x, y) at (a x + c y, b x + d y), moved into view."""
    c, d = (b, -a) if mirrored else (-b, a)
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    shown = video._shown(image, [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
    places = {(x, y): (a * x + c * y, b * x + d * y) for x in range(3) for y in range(2)}
    left, top = (min(place[axis] for place in places.values()) for axis in (0, 1))
    for (x, y), (column, row) in places.items():
        np.testing.assert_array_equal(shown[row - top, column - left], image[y, x])


def test_a_mirrored_video_is_restored_as_it_is_shown(tmp_path):
    make_video(tmp_path / "plain.mp4", sound=False)
    content = bytearray((tmp_path / "plain.mp4").read_bytes())
    place = content.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), content.index(b"tkhd"))
    content[place : place + 4] = struct.pack(">i", -1 << 16)
    (tmp_path / "mirrored.mp4").write_bytes(content)
    with VideoReader(tmp_path / "plain.mp4") as one, VideoReader(tmp_path / "mirrored.mp4") as other:
        np.testing.assert_array_equal(next(iter(other)).image, next(iter(one)).image[:, ::-1])


@pytest.mark.parametrize("colorspace, color_range", [(1, 1), (1, 2), (5, 2), (6, 1), (2, 0)])
def test_colours_are_kept(tmp_path, colorspace, color_range):
    source, target = tmp_path / "source.mp4", tmp_path / "target.mp4"
    make_video(source, sound=False, colorspace=colorspace, color_range=color_range)
    copy(source, target)
    with av.open(str(source)) as one, av.open(str(target)) as other:
        (old, new) = (container.streams.video[0].codec_context for container in (one, other))
        assert (new.colorspace, new.color_range) == (old.colorspace, old.color_range)
        old, new = (next(container.decode(video=0)).reformat(format="yuv420p") for container in (one, other))
        difference = old.to_ndarray().astype(int) - new.to_ndarray()
        assert abs(difference.mean()) < 0.7
        assert np.abs(difference).mean() < 2


def test_colours_are_the_right_ones(tmp_path):
    make_video(tmp_path / "source.mp4", sound=False, colorspace=1, color_range=2)
    with VideoReader(tmp_path / "source.mp4") as reader:
        assert np.abs(next(iter(reader)).image - picture(0)).mean() < 3


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_more_than_8_bits_are_kept(tmp_path, codec):
    source, target = tmp_path / "source.mp4", tmp_path / "target.mp4"
    make_video(source, sound=False, codec=codec, pix_fmt="yuv420p10le")
    frames = copy(source, target)
    assert frames[0].image.dtype == np.uint16
    with av.open(str(target)) as container:
        context = container.streams.video[0].codec_context
        assert context.pix_fmt == "yuv420p10le"
        assert context.name == {"libx264": "h264", "libx265": "hevc"}[codec]
    with VideoReader(target) as reader:
        assert np.abs(next(iter(reader)).image.astype(int) - frames[0].image).mean() < 600


def test_fewer_than_8_bits_become_8(tmp_path):
    make_video(tmp_path / "a.avi", sound=False, codec="rawvideo", pix_fmt="rgb555le")
    with VideoReader(str(tmp_path / "a.avi")) as reader:
        frames = [frame.image for frame in reader]
        assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
        with VideoWriter(str(tmp_path / "b.mp4"), reader) as writer:
            writer.write(frames[0], 0)
        with pytest.raises(InputError, match=r"c\.gif: no video has the suffix '\.gif'; use \.mp4, "):
            VideoWriter(str(tmp_path / "c.gif"), reader)


def test_odd_sizes_and_webm(tmp_path):
    source, target = tmp_path / "source.webm", tmp_path / "target.webm"
    make_video(source, codec="libvpx-vp9", pix_fmt="yuv444p", size=(47, 63))
    copy(source, target)
    with VideoReader(target) as reader:
        assert next(iter(reader)).image.shape == (47, 63, 3)
    assert packets(source, "audio") == packets(target, "audio")


def test_metadata_is_kept_or_stripped(tmp_path):
    source = tmp_path / "source.mp4"
    make_video(tmp_path / "plain.mp4")
    with av.open(str(tmp_path / "plain.mp4")) as plain, av.open(str(source), "w") as container:
        copies = {stream.index: container.add_stream_from_template(stream) for stream in plain.streams}
        container.metadata["title"] = "holiday"
        for packet in plain.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                container.mux(packet)
    for keep in (True, False):
        copy(source, tmp_path / "target.mp4", keep_metadata=keep)
        with av.open(str(tmp_path / "target.mp4")) as container:
            assert ("title" in container.metadata) == keep


def test_all_frames_have_the_size_of_the_first_one(tmp_path):
    """A stream of packets can change its size where it likes."""
    with av.open(str(tmp_path / "both.ts"), "w") as container:
        stream = None
        for part, size in enumerate([(48, 64), (96, 128)]):
            make_video(tmp_path / "part.ts", STEADY[:6], sound=False, size=size)
            with av.open(str(tmp_path / "part.ts")) as source:
                stream = stream or container.add_stream_from_template(source.streams.video[0])
                for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
                    packet.stream, packet.time_base = stream, Fraction(1, 90000)
                    packet.pts = packet.dts = (6 * part + number) * 3600
                    container.mux(packet)
    frames = copy(tmp_path / "both.ts", tmp_path / "copy.ts")
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 12
    for before, after in zip(frames[:6], frames[6:], strict=True):
        assert np.abs(before.image.astype(int) - after.image).mean() < 6


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    for name, count in (("short", 60), ("long", 300)):
        make_video(tmp_path / f"{name}.mp4", [512 * i for i in range(count)], sound=False, size=(120, 160))

    def largest(name):
        with VideoReader(tmp_path / f"{name}.mp4") as reader, VideoWriter(tmp_path / "out.mp4", reader) as writer:
            for frame in reader:
                writer.write(*frame)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    largest("short")
    before = largest("short")
    frame_kilobytes = 120 * 160 * 3 / 1024
    assert largest("long") - before < 60 * frame_kilobytes  # of 240 more frames


def test_an_interrupted_write_leaves_nothing(tmp_path):
    make_video(tmp_path / "source.mp4")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        target = tmp_path / "target.mp4"
        with (
            VideoReader(tmp_path / "source.mp4") as reader,
            atomic_write(target) as part,
            VideoWriter(part, reader) as writer,
        ):
            writer.write(*next(iter(reader)))
            raise KeyboardInterrupt
    assert sorted(tmp_path.iterdir()) == before


def refusal(path):
    with pytest.raises(InputError) as raised, VideoReader(path) as reader:
        list(reader)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{path}: ")
    return str(raised.value).removeprefix(f"{path}: ")


def test_files_that_are_no_videos_are_named(tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    assert refusal(tmp_path / "empty.mp4").startswith("is empty; copy it again")
    assert refusal(tmp_path / "folder.mp4") == "is a folder, not a file"
    os.mkfifo(tmp_path / "pipe.mp4")
    assert refusal(tmp_path / "pipe.mp4") == "is a pipe or a device, not a file"
    assert refusal(tmp_path / "absent.mp4") == "no such file"
    assert refusal(tmp_path / "text.mp4").startswith("cannot be read as a video (")


def test_truncated_videos_are_named(tmp_path):
    for suffix in ("mp4", "mkv"):
        path = tmp_path / f"whole.{suffix}"
        make_video(path, sound=False)
        path.write_bytes(path.read_bytes()[:200])
        assert refusal(path)


def test_sound_without_pictures_is_named(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=48000)
        container.mux(_tone(track, 0.2))
        container.mux(track.encode())
    assert refusal(path) == "has no moving pictures; give a video"


def test_playlists_do_not_lead_to_other_files(tmp_path):
    make_video(tmp_path / "secret.ts", sound=False)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mkv").write_text("ffconcat version 1.0\nfile secret.ts\n")
    for name in ("list.mp4", "concat.mkv"):
        assert refusal(tmp_path / name).startswith("cannot be read as a video (")


def test_names_that_look_like_addresses(tmp_path):
    path = tmp_path / "10:30 ü.mp4"
    make_video(path, sound=False)
    assert len(copy(path, tmp_path / "http:x.mp4")) == len(STEADY)
