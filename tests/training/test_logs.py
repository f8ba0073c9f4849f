import json

import numpy as np
import tensorflow as tf

from tf_deepdeblur.io.images import read_image
from tf_deepdeblur.training.logs import Report
from tf_deepdeblur.training.run_folder import RunFolder


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
    report = Report(RunFolder(tmp_path), 0, 10, batch_size=2)
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
    report = Report(RunFolder(tmp_path), 0, 10, batch_size=2)
    for step in (2, 4, 6):
        report.losses(step, {"content_loss": 1.0}, learning_rate=1.0)
    report.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "content')  # a crash in the middle of a line
    report = Report(RunFolder(tmp_path), 4, 10, batch_size=2)
    report.losses(6, {"content_loss": 2.0}, learning_rate=1.0)
    report.close()
    assert [(row["step"], row["content_loss"]) for row in records(tmp_path)] == [(2, 1.0), (4, 1.0), (6, 2.0)]


def test_lines_that_are_no_records_are_dropped_and_said(tmp_path, capsys):
    lines = [
        '{"step": 1, "kind": "train"}',
        "[]",
        "5",
        '{"kind": "train"}',
        '{"step": "x", "kind": "eval"}',
        "{" * 10**5,
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
    Report(RunFolder(tmp_path), 4, 10, batch_size=2).close()
    assert records(tmp_path) == [{"step": 1, "kind": "train"}]
    assert "metrics.jsonl: dropped 5 damaged lines" in capsys.readouterr().err


def test_files_name_the_generators_loss_beside_the_others_alone(tmp_path):
    report = Report(RunFolder(tmp_path), 0, 10, batch_size=2)
    report.losses(1, {"loss": 0.5, "content_loss": 0.5}, learning_rate=1.0)
    report.losses(2, {"loss": 0.5, "content_loss": 0.4, "adversarial_loss": 0.1}, learning_rate=1.0)
    report.close()
    names = [set(row) - {"step", "kind", "learning_rate", "patches_per_second"} for row in records(tmp_path)]
    assert names == [{"content_loss"}, {"content_loss", "adversarial_loss", "generator_loss"}]
