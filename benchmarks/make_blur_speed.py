"""How fast tools/make_blur.py makes a data set, from 720p video and from photographs, and how much memory it takes.

    python benchmarks/make_blur_speed.py [--frames 300 3000] [--num_frames 7 13] [--photos 8] [--checkout FOLDER]

Writes a 240 fps video of a camera that pans over a photograph, then makes its blur, once for every number of frames and
every M; then makes pairs from photographs of 1 megapixel, four from each, as they are and with what a phone adds.
Prints a JSON line per run. 3,000 frames take several minutes on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import photographs

_SIDE, _TAKES, _NUM_FRAMES = 1024, 4, 9  # of the photographs
_ROOT = Path(__file__).parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, nargs="*", default=[300, 3000])
    parser.add_argument("--num_frames", type=int, nargs="+", default=[7, 13], help="every M to try")
    parser.add_argument("--photos", type=int, default=8, help="how many; 0 leaves them out")
    parser.add_argument("--checkout", type=Path, default=_ROOT, help="the version to measure, for example an old one")
    options = parser.parse_args()
    tool = options.checkout / "tools" / "make_blur.py"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in options.frames:
            video = photographs.write_video(folder / f"{count}.mp4", count, 720, 1280)
            for num_frames in options.num_frames:
                row = _run(tool, folder / f"{count}_{num_frames}", num_frames, count / num_frames, str(video))
                _print({"from": "video", "frames": count, "frames_per_second": count / row["seconds"], **row})
        if options.photos:
            (folder / "photos").mkdir()
            for number in range(options.photos):
                photographs.write_photograph(folder / "photos" / f"{number}.png", _SIDE, _SIDE, number)
            pairs = options.photos * _TAKES
            for phone in (False, True):
                inputs = "--from_photos", f"--takes={_TAKES}", f"--phone={phone}", str(folder / "photos")
                row = _run(tool, folder / f"pairs_{phone}", _NUM_FRAMES, pairs, *inputs)
                _print({"from": "photographs", "phone": phone, **row})


def _print(row):
    numbers = {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
    print(json.dumps({"what": "make_blur", "cores": len(os.sched_getaffinity(0)), **numbers}), flush=True)


def _run(tool, output_dir, num_frames, pairs, *inputs):
    """How long so many pairs take, the tool's start included."""
    command = [sys.executable, tool, f"--output_dir={output_dir}"]
    command += [f"--min_frames={num_frames}", f"--max_frames={num_frames}", *inputs]
    start = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": tool.parents[1]})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{tool} failed: {status}")
    seconds, cpu_seconds = time.monotonic() - start, usage.ru_utime + usage.ru_stime
    return {
        "M": num_frames,
        "pairs_per_second": pairs / seconds,
        "cpu_seconds_per_pair": cpu_seconds / pairs,
        "seconds": seconds,
        "peak_gib": usage.ru_maxrss / 2**20,
    }


if __name__ == "__main__":
    main()
