"""Measures one part of the system on this machine; prints one JSON line per measurement.

    python benchmarks/run.py --what inference --model runs/gopro --size 720x1280
    python benchmarks/run.py --what train --filters 16 --num_res_blocks 4 --batch_size 2
    python benchmarks/run.py --what pipeline --dataset reds --data_dir ~/REDS

inference: seconds per image from file to file in float32 and bfloat16 (on a GPU float16 too), the share that is not the
network, and how far the precisions are apart; of --model, or of an untrained network of the flags' architecture.
train: seconds per step of the generator's forward and backward pass alone, of the train step without and with the
discriminator, and the peak memory. pipeline: patches per second of the input pipeline alone.
"""

import json
import platform
import sys
from dataclasses import asdict

from absl import flags

from tf_deepdeblur import cli, runtime
from tf_deepdeblur.config import TrainConfig

_WHAT = flags.DEFINE_enum("what", "train", ["inference", "train", "pipeline"], "What to measure.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Timed repetitions; the median counts.", lower_bound=1)
_MODEL = flags.DEFINE_string("model", None, "For inference: a run folder or a .keras file.")
_SIZE = flags.DEFINE_string("size", "720x1280", "For inference: height x width of the image.")


def main(argv):
    cli.reject_arguments(argv)
    config = cli.build(TrainConfig)
    runtime.import_tensorflow_quietly()
    measure = {"inference": measure_inference, "train": measure_train, "pipeline": measure_pipeline}[_WHAT.value]
    for row in measure(config):
        print(json.dumps({"what": _WHAT.value, "machine": platform.processor() or platform.machine(), **row}))
    return 0


def measure_inference(config):
    import inference
    import tensorflow as tf
    from photographs import photograph

    precisions = ["float32", "bfloat16", *(["float16"] if tf.config.list_physical_devices("GPU") else [])]
    return inference.measure(open_generator(config), photograph(*cli.parse_size(_SIZE)), precisions, _REPEATS.value)


def open_generator(config):
    from tf_deepdeblur.errors import InputError
    from tf_deepdeblur.models.generator import Generator
    from tf_deepdeblur.models.saving import find_model, load_generator

    if _MODEL.value is None:
        return Generator(**asdict(config.model))
    path = find_model(_MODEL.value)
    if path.suffix != ".keras":
        raise InputError(f"{path}: is an export, whose precision is fixed; give a run folder or a .keras file")
    return load_generator(path)


def measure_train(config):
    import training

    return training.measure(config, _REPEATS.value)


def measure_pipeline(config):
    import pipeline

    from tf_deepdeblur.training.setup import open_data

    data, source = config.data, open_data(config).training
    for row in pipeline.measure(source, data.patch_size, config.optimizer.batch_size, data.crops_per_image):
        yield {**row, "dataset": data.dataset}


if __name__ == "__main__":
    cli.define(TrainConfig, __name__)
    flags.FLAGS.set_default("dataset", "demo")  # needs no folder
    cli.run(sys.modules[__name__], sys.argv)
