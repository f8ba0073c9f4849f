import json

import pytest

from tf_deepdeblur.config import to_flagfile
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.training.run_folder import RunFolder, read_records, read_training

FLAGS = {"filters": "4", "space_to_depth": "1", "optimizer": "adam"}  # the last two are newer than the run
EVALUATIONS = [{"step": step, "kind": "eval", "psnr": psnr} for step, psnr in ((10, 28.0), (20, 30.0), (30, 29.0))]


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "config.cfg").write_text("--run_dir=/home/me\n--data_dir=/data\n--filters=4\n")
    rows = [{"step": 5, "kind": "train", "content_loss": 1.0}, *EVALUATIONS]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 40, "ki')
    return tmp_path


def test_the_scores_belong_to_the_weights_of_the_file(run_dir):
    newest, best = (read_training(run_dir / name) for name in ("generator.keras", "generator_best.keras"))
    assert newest == {"flags": FLAGS, "held_out": EVALUATIONS[2], "initial_weights": None}
    assert best == {"flags": FLAGS, "held_out": EVALUATIONS[1], "initial_weights": None}


def test_a_file_outside_of_a_run_has_no_training(tmp_path):
    assert read_training(tmp_path / "generator.keras") is None


def test_a_run_without_evaluations_has_no_scores(run_dir):
    (run_dir / "metrics.jsonl").unlink()
    assert read_training(run_dir / "generator.keras") == {
        "flags": FLAGS,
        "held_out": None,
        "initial_weights": None,
    }


@pytest.mark.parametrize("line", ["[]", "5", "{}", '{"step": 1}', '{"step": 1.5, "kind": "eval"}', "{" * 10**5, "\\0"])
def test_a_line_that_is_no_record_is_counted(run_dir, line):
    path = run_dir / "metrics.jsonl"
    path.write_text(f"{line}\n{path.read_text()}")
    records, damaged = read_records(path)
    assert (len(records), damaged) == (4, 1)
    with pytest.raises(InputError, match=r"metrics\.jsonl: is damaged"):
        read_training(run_dir / "generator.keras")


def test_another_model_is_refused_as_soon_as_one_was_saved(tiny_config):
    """A start that ended before, such as out of memory in its first step, bars nothing."""
    folder = RunFolder(tiny_config().run_dir)
    folder.checkpoints.joinpath("last").mkdir(parents=True)
    folder.config.write_text(to_flagfile(tiny_config()))
    assert folder.changes(tiny_config(filters=8)) == {"filters": ("4", "8")}
    folder.checkpoints.joinpath("last", "step-1.index").touch()
    with pytest.raises(InputError, match=r"another model .`filters` was 4, is now 8"):
        folder.changes(tiny_config(filters=8))


def test_a_run_from_before_a_flag_goes_on_with_what_it_was_trained_with(tiny_config):
    folder = RunFolder(tiny_config().run_dir)
    folder.checkpoints.joinpath("last").mkdir(parents=True)
    folder.checkpoints.joinpath("last", "step-1.index").touch()
    lines = to_flagfile(tiny_config()).splitlines(keepends=True)
    folder.config.write_text("".join(line for line in lines if not line.startswith(("--space", "--optimizer"))))
    assert folder.changes(tiny_config()) == {}
    for change in ({"space_to_depth": 2}, {"optimizer": {"optimizer": "muon"}}):
        with pytest.raises(InputError, match="another model"):
            folder.changes(tiny_config(**change))
