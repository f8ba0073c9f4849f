"""The package's programs and its loader as contenders: video, blur making, training samples, start-up.

Each function prepares the files that it needs in ``folder`` and returns what is timed.
"""

import itertools
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import photographs

from tf_deepdeblur import runtime

_ROOT = Path(__file__).parents[1]
_THIN = {"num_scales": 2, "num_res_blocks": 4, "filters": 16, "kernel_size": 3, "global_residual": True}


def prepare_video(folder, size, frames):
    """Times ``restore_files`` on a video of so many frames, (height, width) pixels each, with a thin network."""
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.inference.deblurrer import Deblurrer
    from tf_deepdeblur.inference.files import plan_jobs
    from tf_deepdeblur.inference.restore import Output, restore_files
    from tf_deepdeblur.models.generator import Generator
    from tf_deepdeblur.models.saving import save_generator

    folder = _emptied(folder, "video")
    source = photographs.write_video(folder / "clip.mp4", frames, *size)
    save_generator(Generator(**_THIN), folder / "thin.keras")
    deblur = Deblurrer.load(folder / "thin.keras")

    def restore():
        plan = plan_jobs([source], folder / "restored")
        if failures := plan.failures + restore_files(deblur, plan.jobs, Output()):
            raise RuntimeError(failures[0])

    return restore


def prepare_make_blur(folder, kind, amount):
    """Times ``deepdeblur make_blur``: ``amount`` pairs from 1-megapixel photographs, or a 720p video's frames."""
    folder, rounds = _emptied(folder, f"make_blur_{kind}"), itertools.count()
    if kind == "photographs":
        takes = 4
        for number in range(amount // takes):
            photographs.write_photograph(folder / "input" / f"{number}.png", 1024, 1024, number)
        flags = ["--from_photos", f"--takes={takes}", str(folder / "input")]
    else:
        flags = [str(photographs.write_video(folder / "input" / "clip.mp4", amount, 720, 1280))]
    return lambda: _run("make_blur", f"--output_dir={folder / str(next(rounds))}", *flags)


def prepare_loader(folder, dataset, data_dir, samples, patch_size, batch_size):
    """Times the loader delivering so many samples; without ``data_dir``, of photographs in 720p."""
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.data.datasets import open_dataset
    from tf_deepdeblur.data.packed import PackedStore, pack
    from tf_deepdeblur.data.pairs import PairFolder
    from tf_deepdeblur.data.pipeline import Shard, TrainingSamples

    folder = _emptied(folder, f"loader_{dataset}")
    kind, pairs_dir = (dataset, data_dir) if data_dir else ("pairs", photographs.make_pairs(folder))
    source, _ = open_dataset(kind, pairs_dir, smallest=patch_size)
    if dataset == "store" and not data_dir:
        pack(source, None, folder / "store")
        source = PackedStore(folder / "store")
    elif dataset != "store":
        source = PairFolder(source.pairs, source.sizes, cache_bytes=0)  # real data sets do not fit into memory
    batches = iter(TrainingSamples(source, patch_size, 0, 1).batches(0, 10**9, Shard(batch_size)))

    def load():
        for _ in range(samples // batch_size):
            next(batches)

    return load


def prepare_authors_loader(folder, samples):
    """Times the authors' way to make so many samples, with a process for every core (see ``pipeline_vs_peer``)."""
    import pipeline_vs_peer

    folder = photographs.make_pairs(_emptied(folder, "loader_authors"))
    blurry = sorted((folder / "blur").iterdir())
    names = [
        (str(path), str(folder / "sharp" / path.name)) for path in itertools.islice(itertools.cycle(blurry), samples)
    ]
    pool = ProcessPoolExecutor(runtime.num_cores())
    return lambda: [None for _ in pool.map(pipeline_vs_peer.peer_sample, *zip(*names, strict=True), chunksize=4)]


def prepare_command(command, exit_code):
    """Times a command line that does no work."""
    return lambda: _run(*command.split(), exit_code=exit_code)


def prepare_photograph(folder):
    """Times ``deepdeblur deblur`` of one photograph of 256x256, with the network that comes with the package."""
    folder = _emptied(folder, "photograph")
    path = photographs.write_photograph(folder / "photograph.png", 256, 256)
    return lambda: _run("deblur", f"--output_dir={folder / 'restored'}", str(path))


def _run(*arguments, exit_code=0):
    command = [sys.executable, "-m", "tf_deepdeblur", *arguments]
    finished = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    if finished.returncode != exit_code:
        raise RuntimeError(f"deepdeblur {arguments[0]}: exit code {finished.returncode}: {finished.stderr[-150:]}")


def _emptied(folder, name):
    folder = Path(folder) / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "input").mkdir(parents=True)
    return folder
