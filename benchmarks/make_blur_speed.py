"""How fast tools/make_blur.py makes a data set from 720p video, and how much memory it takes.

    python benchmarks/make_blur_speed.py [--frames 300 3000] [--num_frames 7 13]

Writes a 240 fps video of a camera that pans over a photograph, then makes its blur, once for every number of frames and
every M. Prints a JSON line per run. 3,000 frames take several minutes on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import skimage.data
from PIL import Image

_WIDTH, _HEIGHT = 1280, 720
_TOOL = Path(__file__).parents[1] / "tools" / "make_blur.py"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[300, 3000])
    parser.add_argument("--num_frames", type=int, nargs="+", default=[7, 13], help="every M to try")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for count in options.frames:
            video = _write_video(Path(folder) / f"{count}.mp4", count)
            for num_frames in options.num_frames:
                seconds, peak = _run(video, Path(folder) / f"{count}_{num_frames}", num_frames)
                row = {"what": "make_blur", "frames": count, "M": num_frames, "cores": len(os.sched_getaffinity(0))}
                row |= {
                    "frames_per_second": round(count / seconds, 1),
                    "pairs_per_second": round(count / num_frames / seconds, 2),
                }
                print(json.dumps({**row, "seconds": round(seconds, 1), "peak_gib": round(peak, 2)}), flush=True)


def _write_video(path, count):
    photo = Image.fromarray(skimage.data.astronaut()).resize((_WIDTH + 512, _HEIGHT + 512), Image.Resampling.BICUBIC)
    photo = np.asarray(photo)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=240, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        for i in range(count):
            left, top = (round(255 + 255 * np.sin(i * speed)) for speed in (0.004, 0.003))
            part = np.ascontiguousarray(photo[top : top + _HEIGHT, left : left + _WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(part, format="rgb24")))
        container.mux(stream.encode())
    return path


def _run(video, output_dir, num_frames):
    """(seconds, peak memory in GiB) of the tool, its start included."""
    numbers = f"--min_frames={num_frames}", f"--max_frames={num_frames}"
    start = time.monotonic()
    tool = subprocess.Popen(
        [sys.executable, _TOOL, "--output_dir", output_dir, *numbers, video], stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(tool.pid, 0)
    if status:
        raise SystemExit(f"{_TOOL} failed: {status}")
    return time.monotonic() - start, usage.ru_maxrss / 2**20


if __name__ == "__main__":
    main()
