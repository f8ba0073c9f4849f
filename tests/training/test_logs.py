import json

import numpy as np
import tensorflow as tf

from tf_deepdeblur.io.pixels import read_image
from tf_deepdeblur.training.logs import Report


def records(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def events(run_dir):
    found = {}
    for path in sorted((run_dir / "tensorboard").glob("events*")):
        for record in tf.compat.v1.train.summary_iterator(str(path)):
            for value in record.summary.value:
                found.setdefault(value.tag, []).append((record.step, value))
    return found


def test_the_same_numbers_go_to_the_file_and_to_tensorboard(tmp_path):
    report = Report(tmp_path, 0, 10, batch_size=2)
    report.losses(5, {"content_loss": 0.25}, learning_rate=5e-5)
    report.evaluation(
        5, {"psnr": 30.5, "ssim": 0.9}, [("a/b.png", [np.full((4, 4, 3), v, np.uint8) for v in (0, 99, 255)])]
    )
    report.close()
    train, evaluation = records(tmp_path)
    assert (train["step"], train["content_loss"], train["learning_rate"]) == (5, 0.25, 5e-5)
    assert train["patches_per_second"] > 0
    assert (evaluation["kind"], evaluation["psnr"]) == ("eval", 30.5)
    tags = events(tmp_path)
    assert tf.make_ndarray(tags["train/content_loss"][0][1].tensor) == 0.25
    assert tf.make_ndarray(tags["eval/psnr"][0][1].tensor) == 30.5
    assert "blurry_restored_sharp/a/b.png" in tags
    picture = read_image(next((tmp_path / "samples").rglob("*.png")))
    assert [picture[0, column, 0] for column in (0, 8, 16)] == [0, 99, 255]


def test_a_resumed_run_drops_what_it_will_record_again(tmp_path):
    report = Report(tmp_path, 0, 10, batch_size=2)
    for step in (2, 4, 6):
        report.losses(step, {"content_loss": 1.0}, learning_rate=1.0)
    report.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "content')  # a crash in the middle of a line
    report = Report(tmp_path, 4, 10, batch_size=2)
    report.losses(6, {"content_loss": 2.0}, learning_rate=1.0)
    report.close()
    assert [(row["step"], row["content_loss"]) for row in records(tmp_path)] == [(2, 1.0), (4, 1.0), (6, 2.0)]
