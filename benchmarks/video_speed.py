"""How fast a video is restored, against its slowest stage alone: decoder, network or encoder.

    python benchmarks/video_speed.py clip.mp4 [--frames 120] [--height 720] [--filters 16] [--num_res_blocks 4]

Prints a JSON line per stage, then one per network with all stages together, decoded and encoded in threads: frames per
second, milliseconds of processor time per frame, and the share of the slowest stage's speed. "nothing" is a network
that returns its input; "waits" takes as long as the encoder but no processor time, as a network on a GPU does. Where
all stages share the same cores, none of them can be faster than "bound", which the processor time allows.
"""

import argparse
import itertools
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tf_deepdeblur import runtime
from tf_deepdeblur.inference.files import Job
from tf_deepdeblur.inference.restore import Output, restore_files
from tf_deepdeblur.io.video import VideoReader, VideoWriter


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--height", type=int, help="scale the frames to this height")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--num_res_blocks", type=int, default=4)
    parser.add_argument("--kernel_size", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    network = open_network(options)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(options.video, clip, options.frames, options.height)
        with VideoReader(clip) as reader:
            frames = list(reader)
        network(frames[0].image)  # traced
        size = "{}x{}".format(*frames[0].image.shape[1::-1])
        stages = {
            "decoder": measured(lambda: decode(clip), frames),
            "encoder": measured(lambda: encode(clip, frames, Path(folder) / "encoded.mp4"), frames),
            "network": measured(lambda: [network(frame.image) for frame in frames], frames),
        }
        for name, (seconds, processor) in stages.items():
            tell(stage=name, size=size, fps=1 / seconds, processor_ms=1000 * processor)
        pause = stages["encoder"][0]
        for name, deblur, network_cost in (
            ("nothing", lambda image, progress: image, (0.0, 0.0)),
            ("waits", lambda image, progress: time.sleep(pause) or image, (pause, 0.0)),
            (f"{options.filters} filters", network, stages["network"]),
        ):
            seconds, processor = measured(lambda deblur=deblur: restore(deblur, clip, Path(folder)), frames)
            costs = [stages["decoder"], stages["encoder"], network_cost]
            slowest = max(cost[0] for cost in costs)
            bound = max(slowest, sum(cost[1] for cost in costs) / runtime.num_cores())
            tell(
                network=name,
                size=size,
                frames=len(frames),
                fps=1 / seconds,
                processor_ms=1000 * processor,
                of_slowest=slowest / seconds,
                of_bound=bound / seconds,
                one_after_the_other_fps=1 / sum(cost[0] for cost in costs),
            )


def open_network(options):
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.inference.deblurrer import Deblurrer
    from tf_deepdeblur.inference.precision import dtype_policy
    from tf_deepdeblur.models.generator import Generator
    from tf_deepdeblur.models.saving import with_dtype

    policy = dtype_policy(options.precision, options.filters, options.kernel_size)
    generator = Generator(3, options.num_res_blocks, options.filters, options.kernel_size, global_residual=True)
    return Deblurrer(with_dtype(generator, policy))


def write_clip(source, target, count, height):
    """The first frames of a video, over again where it is shorter, scaled to ``height``."""
    with VideoReader(source) as reader, VideoWriter(target, reader) as writer:
        frames = [frame.image for frame in itertools.islice(reader, min(count, 120))]
        if height:
            width = round(frames[0].shape[1] * height / frames[0].shape[0] / 16) * 16
            frames = [np.asarray(Image.fromarray(frame).resize((width, height))) for frame in frames]
        step = round(1 / (reader.frame_rate * reader.time_base))
        for number in range(count):
            writer.write(frames[number % len(frames)], number * step)


def decode(clip):
    with VideoReader(clip) as reader:
        for _ in reader:
            pass


def encode(clip, frames, target):
    with VideoReader(clip) as reader, VideoWriter(target, reader) as writer:
        for frame in frames:
            writer.write(*frame)


def restore(deblur, clip, folder):
    failures = restore_files(deblur, [Job(clip, folder / "restored" / clip.name, Path(clip.name))], Output())
    if failures:
        raise SystemExit(failures[0])


def measured(function, frames):
    """Seconds per frame, and seconds of processor time per frame."""
    start, before = time.perf_counter(), processor_time()
    function()
    return (time.perf_counter() - start) / len(frames), (processor_time() - before) / len(frames)


def processor_time():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def tell(**row):
    print(
        json.dumps({name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}),
        flush=True,
    )


if __name__ == "__main__":
    main()
