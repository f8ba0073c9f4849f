"""Small videos for tests, written with PyAV."""

import struct
from fractions import Fraction

import av
import numpy as np
import skimage.data

ROTATED_CLOCKWISE = (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
_UPRIGHT = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def moving_photo(count, height=48, width=64, step=1):
    """Frames of a camera that pans ``step`` pixels to the right per frame."""
    photo = skimage.data.astronaut()[100:]
    return [np.ascontiguousarray(photo[:height, step * i : step * i + width]) for i in range(count)]


def write_video(path, frames, rate=240, times=None, **options):
    """Lossless RGB in H.264; ``times`` are milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=rate, options={"qp": "0", "bf": "0", **options})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb24"
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def rotate(path):
    """Writes beside the pictures of an MP4 that they are to be shown turned by 90 degrees, as phones do."""
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack(">9i", *_UPRIGHT), data.index(b"tkhd"))
    data[place : place + 36] = struct.pack(">9i", *ROTATED_CLOCKWISE)
    path.write_bytes(data)
    return path


def damage(path, packet):
    """Overwrites some bytes in the middle of a packet."""
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    position, size = packets[packet]
    data = bytearray(path.read_bytes())
    start, length = position + size // 3, min(60, size // 2)
    data[start : start + length] = np.random.default_rng(1).bytes(length)
    path.write_bytes(data)
    return path
