"""Trains the multi-scale deblurring network; started again with the same --run_dir it goes on where it stopped.

    python tools/train.py --flagfile configs/demo.cfg
    python tools/train.py --flagfile configs/gopro.cfg --data_dir ~/GOPRO_Large --run_dir runs/gopro

Writes into --run_dir: config.cfg, checkpoints/, metrics.jsonl, tensorboard/, samples/, generator.keras.
"""

from tf_deepdeblur import cli
from tf_deepdeblur.config import TrainConfig


def main(argv):
    cli.reject_arguments(argv)
    config = cli.build(TrainConfig)
    from tf_deepdeblur.training import loop

    if config.dry_run:
        print(loop.describe(config))
        return 0
    result = loop.train(config)
    print(f"{result['step']} steps are done; the network is in {config.run_dir}")
    if "psnr" in result:
        print("held-out frames    PSNR (dB)  SSIM (gaussian)")
        print(f"  before           {result['blurry_psnr']:9.2f}  {result['blurry_ssim']:15.4f}")
        print(f"  after            {result['psnr']:9.2f}  {result['ssim']:15.4f}")
        print(f"pictures (blurry | restored | sharp): {config.run_dir}/samples")
    return 0


if __name__ == "__main__":
    cli.define(TrainConfig)
    cli.run(main)
