"""Trains the multi-scale network; the same --run_dir resumes an interrupted run.

    deepdeblur train --flagfile configs/demo.cfg
    deepdeblur train --flagfile configs/gopro.cfg --data_dir ~/GOPRO_Large --run_dir runs/gopro
    deepdeblur train --flagfile configs/finetune.cfg --initial_weights shake --data_dir my_pairs --run_dir runs/mine

With --initial_weights, leave out the flags of the network (--num_scales to --space_to_depth).
Writes into --run_dir: config.cfg, checkpoints/, metrics.jsonl, tensorboard/, samples/, generator.keras.
"""

import os
from collections.abc import Sequence

from absl import flags

from tf_deepdeblur import cli, runtime
from tf_deepdeblur.config import ARCHITECTURE, TrainConfig
from tf_deepdeblur.errors import InputError

cli.define(TrainConfig, __name__)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    cli.reject_arguments(argv)
    if flags.FLAGS.initial_weights:
        complete_architecture(flags.FLAGS.initial_weights, flags.FLAGS.run_dir)
    config = cli.build(TrainConfig)
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.training import describe, train

    if config.dry_run:
        print(describe(config))
        return 0

    def end(error):  # immediately: TensorFlow may block indefinitely in a step that waits for the lost worker
        cli.complain(argv[0], error)
        os._exit(cli.exit_code(error))

    result = train(config, end)
    print(f"{result['step']} steps are done; the network is in {config.run_dir}")
    if "psnr" in result:
        print("validation frames  PSNR (dB)  SSIM (gaussian)")
        print(f"  before           {result['blurry_psnr']:9.2f}  {result['blurry_ssim']:15.4f}")
        print(f"  after            {result['psnr']:9.2f}  {result['ssim']:15.4f}")
        print(f"pictures (blurry | restored | sharp): {config.run_dir}/samples")
    return 130 if result.get("stopped_by") == "SIGINT" else 0


def complete_architecture(initial_weights: str, run_dir: str) -> None:
    """Sets the network's flags that are not given to what they were when the run began, or to the weights' values."""
    missing = [name for name in ARCHITECTURE if not flags.FLAGS[name].present]
    if not missing:
        return
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.training import RunFolder, architecture

    folder = RunFolder(run_dir)
    values = (
        folder.flags()
        if folder.has_checkpoint and folder.config.exists()
        else architecture(cli.find_model(initial_weights))
    )
    for name in missing:
        try:
            flags.FLAGS[name].value = flags.FLAGS[name].parser.parse(values[name])
        except (KeyError, ValueError) as error:
            raise InputError(f"{folder.config}: is damaged ({name}: {error}); use a new `run_dir`") from error
