"""The command evaluate as its users meet it."""

import json
import re

import pytest

from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import save_generator


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "identity.keras"
    save_generator(Generator(1, 1, 4, 3, global_residual=True), path)
    return path


def test_a_table_and_the_contracts_files_are_written(run_here, tmp_path, pairs_dir, model):
    flags = [f"--model={model}", "--benchmark=pairs", f"--data_dir={pairs_dir}", f"--output_dir={tmp_path / 'out'}"]
    result = run_here("evaluate", *flags)
    assert result.returncode == 0, result.stderr
    assert "# pairs, 2 images" in result.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"benchmark", "blur_key", "num_images", "mean", "blurry", "rows"} <= set(results)
    assert results["mean"]["psnr"] == results["blurry"]["psnr"]  # an untrained residual network changes nothing
    assert {"psnr", "ssim_gaussian", "ssim_matlab3d"} <= set(results["mean"])
    assert re.search(r", precision (float32|bfloat16)\)$", results["model"])  # what --precision auto has chosen
    save_generator(Generator(1, 2, 4, 3, global_residual=True), model)
    refused = run_here("evaluate", *flags)
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr


def test_several_models_are_compared(run_here, tmp_path, pairs_dir, model):
    save_generator(Generator(2, 1, 4, 3, global_residual=True), tmp_path / "two_scales.keras")
    flags = ["--benchmark=pairs", f"--data_dir={pairs_dir}", f"--output_dir={tmp_path / 'out'}", "--limit=1"]
    result = run_here("evaluate", f"--model={model}", f"--model={tmp_path / 'two_scales.keras'}", *flags)
    assert result.returncode == 0, result.stderr
    assert "| Measure | blurry input | identity (K = 1) | two_scales (K = 2) |" in result.stdout
    assert (tmp_path / "out" / "results.md").read_text() in result.stdout
    for name in ("identity", "two_scales"):
        assert json.loads((tmp_path / "out" / name / "results.json").read_text())["num_images"] == 1


def test_shards_are_merged_into_the_table_of_an_unsharded_run(run_here, tmp_path, pairs_dir, model):
    flags = [f"--model={model}", "--benchmark=pairs", f"--data_dir={pairs_dir}", "--notiming", "--precision=float32"]
    whole = run_here("evaluate", *flags, f"--output_dir={tmp_path / 'whole'}")
    flags += [f"--output_dir={tmp_path / 'parts'}"]
    part = run_here("evaluate", *flags, "--shard=1/2")
    assert part.stdout == "shard 1/2: identity (K = 1): 1 images are done; --merge when all shards are\n"
    early = run_here("evaluate", *flags, "--merge")
    assert early.returncode == 1
    assert early.stderr.endswith("parts: 1 of 2 images are not done, such as test/blur/000; start their shards again\n")
    assert run_here("evaluate", *flags, "--shard=0/2").returncode == 0
    merged = run_here("evaluate", *flags, "--merge")
    assert (merged.returncode, merged.stdout) == (0, whole.stdout)
    for name in ("results.json", "results.md", "sheet.png", "rows.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--benchmark=gopro"], 2, "hf://user/name; repeat it to compare models.\n"),
        (["--model=nowhere", "--benchmark=pairs", "--data_dir=x", "--output_dir=y"], 1, "nowhere: no such file"),
        (
            ["--model=a/k.keras", "--model=b/k.keras", "--benchmark=pairs", "--data_dir=.", "--output_dir=y"],
            2,
            "same name",
        ),
        (["--model=m", "--benchmark=imagenet", "--data_dir=x", "--output_dir=y"], 2, "benchmark"),
    ],
)
def test_wrong_use_is_one_line(run_here, flags, code, message):
    result = run_here("evaluate", *flags)
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_a_file_in_the_place_of_the_output_folder_is_named(run_here, tmp_path, pairs_dir, model):
    (tmp_path / "out").touch()
    result = run_here(
        "evaluate", f"--model={model}", "--benchmark=pairs", f"--data_dir={pairs_dir}", f"--output_dir={tmp_path}/out"
    )
    reason = "cannot be written (File exists); choose another --output_dir"
    assert (result.returncode, result.stderr) == (1, f"deepdeblur evaluate: {tmp_path}/out: {reason}\n")
