"""What a run tells people: progress bar, TensorBoard, ``metrics.jsonl`` and sample pictures."""

import json
import sys
import time

import tensorflow as tf
from tqdm import tqdm

from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.io.images import side_by_side, write_image
from tf_deepdeblur.training.run_folder import RunFolder, read_records
from tf_deepdeblur.training.validation import Triplet


class Report:
    """Writes a run's numbers and pictures; close it when the run ends.

    Args:
        folder: the run's folder.
        first_step: steps already done; later records of an interrupted run are dropped from ``metrics.jsonl``.
            TensorBoard itself drops those in its files when it comes to the new ones.
        total_steps: steps of the whole run.
        batch_size: patches per step.
    """

    def __init__(self, folder: RunFolder, first_step: int, total_steps: int, batch_size: int):
        self._folder = folder
        self._batch_size = batch_size
        self._bar = tqdm(
            total=max(total_steps, first_step),
            initial=first_step,
            unit="step",
            dynamic_ncols=True,
            desc="train",
            smoothing=0.05,
        )
        self._drop_later_records(first_step)
        self._events = tf.summary.create_file_writer(str(folder.tensorboard))
        self._mark = (first_step, time.monotonic())

    def advance(self) -> None:
        """One step is done."""
        self._bar.update()

    def losses(self, step: int, values: dict[str, float], learning_rate: float) -> None:
        """Records mean losses since the last record, with the learning rate and the speed."""
        done, since = self._mark
        speed = (step - done) * self._batch_size / (time.monotonic() - since)
        values = _in_files(values)
        self._bar.set_postfix({**{name: f"{value:.3g}" for name, value in values.items()}, "patches/s": f"{speed:.1f}"})
        self._record(step, {**values, "learning_rate": learning_rate, "patches_per_second": speed}, "train")
        self._mark = (step, time.monotonic())

    def evaluation(self, step: int, values: dict[str, float], pictures: list[Triplet]) -> None:
        """Records scores of the validation frames and writes pictures blurry | restored | sharp.

        Args:
            step: steps done.
            values: dict of scalars, with "psnr" and "ssim".
            pictures: list of (name, [blurry, restored, sharp]) of uint8 images.
        """
        self._record(step, _in_files(values), "eval")
        self.say(f"step {step}: validation PSNR {values['psnr']:.2f} dB, SSIM (gaussian) {values['ssim']:.4f}")
        for name, images in pictures:
            picture = side_by_side(images)
            path = self._folder.samples / f"step_{step:07d}" / f"{name.replace('/', '_')}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, picture)
            with self._events.as_default():
                tf.summary.image(f"blurry_restored_sharp/{name}", picture[None], step=step)
        self._events.flush()
        self._mark = (step, time.monotonic())

    def say(self, message: str) -> None:
        """Shows a line above the progress bar."""
        self._bar.write(message, file=sys.stderr)

    def close(self) -> None:
        """Flushes everything and leaves the bar as it stands."""
        self._events.close()
        self._bar.close()

    def _record(self, step, values, kind):
        with self._folder.metrics.open("a") as file:
            file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        with self._events.as_default():
            for name, value in values.items():
                tf.summary.scalar(f"{kind}/{name}", value, step=step)

    def _drop_later_records(self, step):
        """Removes records after ``step``, which a resumed run makes again, and lines that are none."""
        if not self._folder.metrics.exists():
            return
        records, damaged = read_records(self._folder.metrics)
        if damaged:
            self.say(f"{self._folder.metrics}: dropped {damaged} damaged lines")
        kept = [json.dumps(record) + "\n" for record in records if record["step"] <= step]
        write_atomically(self._folder.metrics, "".join(kept))


def _in_files(values):
    """Losses under the names that they have in files: the generator's is left out where it is the content loss."""
    values = dict(values)
    total = values.pop("loss", None)
    return {**values, "generator_loss": total} if "adversarial_loss" in values else values
