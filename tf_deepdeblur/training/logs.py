"""What a run tells people: progress bar, TensorBoard, ``metrics.jsonl`` and sample pictures."""

import json
import sys
import time
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from tf_deepdeblur.io.pixels import side_by_side, write_image


class Report:
    """Writes a run's numbers and pictures; close it when the run ends.

    Args:
        run_dir: the run's folder.
        first_step: steps already done; later records of an interrupted run are dropped.
        total_steps: steps of the whole run.
        batch_size: patches per step.
    """

    def __init__(self, run_dir, first_step, total_steps, batch_size):
        self.run_dir = Path(run_dir)
        self._batch_size = batch_size
        self._metrics = self.run_dir / "metrics.jsonl"
        _drop_later_records(self._metrics, first_step)
        self._events = tf.summary.create_file_writer(str(self.run_dir / "tensorboard"))
        self._bar = tqdm(
            total=max(total_steps, first_step),
            initial=first_step,
            unit="step",
            dynamic_ncols=True,
            desc="train",
            smoothing=0.05,
        )
        self._mark = (first_step, time.monotonic())

    def advance(self):
        """One step is done."""
        self._bar.update()

    def losses(self, step, values, learning_rate):
        """Records mean losses since the last record, with the learning rate and the speed."""
        done, since = self._mark
        speed = (step - done) * self._batch_size / (time.monotonic() - since)
        self._bar.set_postfix({**{name: f"{value:.3g}" for name, value in values.items()}, "patches/s": f"{speed:.1f}"})
        self._record(step, {**values, "learning_rate": learning_rate, "patches_per_second": speed}, "train")
        self._mark = (step, time.monotonic())

    def evaluation(self, step, values, triplets):
        """Records held-out scores and writes pictures blurry | restored | sharp.

        Args:
            step: steps done.
            values: dict of scalars.
            triplets: list of (name, [blurry, restored, sharp]) of uint8 images.
        """
        self._record(step, values, "eval")
        self.say(f"step {step}: held-out PSNR {values['psnr']:.2f} dB, SSIM (gaussian) {values['ssim']:.4f}")
        for name, images in triplets:
            picture = side_by_side(images)
            path = self.run_dir / "samples" / f"step_{step:07d}" / f"{name.replace('/', '_')}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, picture)
            with self._events.as_default():
                tf.summary.image(f"blurry_restored_sharp/{name}", picture[None], step=step)
        self._events.flush()
        self._mark = (step, time.monotonic())

    def say(self, message):
        """Shows a line above the progress bar."""
        self._bar.write(message, file=sys.stderr)

    def close(self):
        """Flushes everything and leaves the bar as it stands."""
        self._events.close()
        self._bar.close()

    def _record(self, step, values, kind):
        with self._metrics.open("a") as file:
            file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        with self._events.as_default():
            for name, value in values.items():
                tf.summary.scalar(f"{kind}/{name}", value, step=step)


def _drop_later_records(path, step):
    """Removes records after ``step``, which a resumed run makes again, and a line that a crash cut off."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
    part = path.with_suffix(".part")
    part.write_text("".join(line + "\n" for line in kept))
    part.replace(path)


def _step_of(line):
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")
