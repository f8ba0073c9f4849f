"""Trains the multi-scale network; started again with the same --run_dir it resumes.

    deepdeblur train --flagfile configs/demo.cfg
    deepdeblur train --flagfile configs/gopro.cfg --data_dir ~/GOPRO_Large --run_dir runs/gopro

Writes into --run_dir: config.cfg, checkpoints/, metrics.jsonl, tensorboard/, samples/, generator.keras.
"""

from collections.abc import Sequence

from tf_deepdeblur import cli, runtime
from tf_deepdeblur.config import TrainConfig

cli.define(TrainConfig, __name__)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    cli.reject_arguments(argv)
    config = cli.build(TrainConfig)
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.training import describe, train

    if config.dry_run:
        print(describe(config))
        return 0
    result = train(config)
    print(f"{result['step']} steps are done; the network is in {config.run_dir}")
    if "psnr" in result:
        print("validation frames  PSNR (dB)  SSIM (gaussian)")
        print(f"  before           {result['blurry_psnr']:9.2f}  {result['blurry_ssim']:15.4f}")
        print(f"  after            {result['psnr']:9.2f}  {result['ssim']:15.4f}")
        print(f"pictures (blurry | restored | sharp): {config.run_dir}/samples")
    return 0
