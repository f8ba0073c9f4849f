"""The command reads the authors' checkpoints, refuses other files in one line, and runs no code from a file."""

import os
import pickle
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.models.saving import save_generator
from tf_deepdeblur.models.torch_weights import read_checkpoint

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "golden"


class Bomb:
    """Its pickle creates a file when it is opened by an unsafe reader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def refused(tmp_path):
    """Reads a file that cannot be used; returns the message and checks that it is one line and nothing is left."""

    def message(checkpoint):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(InputError) as raised:
            read_checkpoint(checkpoint)
        assert sorted(tmp_path.iterdir()) == before
        assert str(raised.value).startswith(f"{checkpoint}: ")
        assert "\n" not in str(raised.value)
        return str(raised.value).removeprefix(f"{checkpoint}: ")

    return message


@pytest.mark.slow
@pytest.mark.parametrize("num_scales", [1, 3])
def test_saved_generator_repeats_the_authors_outputs(torch, tmp_path, num_scales):
    output = tmp_path / "generator.keras"
    save_generator(read_checkpoint(DATA / f"authors_k{num_scales}.pt"), output)
    generator = keras.saving.load_model(output)
    with np.load(DATA / f"authors_k{num_scales}.npz") as recorded:
        restored = generator([recorded[f"input_{k}"] / 255 - 0.5 for k in range(num_scales)])
        for k, level in enumerate(restored):
            np.testing.assert_allclose(np.asarray(level) * 255 + 127.5, recorded[f"output_{k}"], rtol=0, atol=1e-3)
    assert list(tmp_path.iterdir()) == [output]


def test_all_forms_of_a_checkpoint_give_the_same_generator(torch, tmp_path):
    state = torch.load(DATA / "authors_k1.pt", weights_only=True)["G"]
    forms = {
        "with_d": {"G": state, "D": {"conv.weight": torch.zeros(3)}},
        "wrapped": {"G": {f"module.{name}": tensor for name, tensor in state.items()}},
        "trainable": {"G": {name: torch.nn.Parameter(tensor) for name, tensor in state.items()}},
    }
    expected = read_checkpoint(DATA / "authors_k1.pt").get_weights()
    for name, checkpoint in forms.items():
        torch.save(checkpoint, tmp_path / f"{name}.pt")
        weights = read_checkpoint(tmp_path / f"{name}.pt").get_weights()
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(weights, expected, strict=True)), name


def test_files_of_pytorch_before_1_6_are_read(torch, tmp_path):
    checkpoint = torch.load(DATA / "authors_k1.pt", weights_only=True)
    torch.save(checkpoint, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_checkpoint(tmp_path / "old.pt").num_res_blocks == 4


@pytest.mark.parametrize("half", [True, False])
def test_sixteen_bit_tensors_are_read(torch, tmp_path, half):
    state = torch.load(DATA / "authors_k1.pt", weights_only=True)["G"]
    dtype = torch.float16 if half else torch.bfloat16
    torch.save({"G": {name: tensor.to(dtype) for name, tensor in state.items()}}, tmp_path / "half.pt")
    read = read_checkpoint(tmp_path / "half.pt").get_weights()
    whole = read_checkpoint(DATA / "authors_k1.pt").get_weights()
    for rounded, weight in zip(read, whole, strict=True):
        np.testing.assert_allclose(rounded, weight, rtol=2**-8, atol=1e-7)
    assert any((rounded != weight).any() for rounded, weight in zip(read, whole, strict=True))


@pytest.mark.parametrize("new_format", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused(refused, torch, tmp_path, new_format):
    exploded, path = tmp_path / "exploded", tmp_path / "bomb.pt"
    torch.save({"G": Bomb(exploded)}, path, _use_new_zipfile_serialization=new_format)
    assert "refused: opening it would run code (posix.mkdir)" in refused(path)
    assert not exploded.exists()


def test_a_bare_pickle_that_would_run_code_is_refused(refused, torch, tmp_path):
    exploded, path = tmp_path / "exploded", tmp_path / "bomb.pt"
    path.write_bytes(pickle.dumps(Bomb(exploded)))
    assert "a pickle that could run code" in refused(path)
    assert not exploded.exists()


def test_a_whole_pickled_network_is_refused(refused, torch, tmp_path):
    torch.save({"G": torch.nn.Conv2d(3, 3, 5)}, tmp_path / "network.pt")
    assert "would run code (torch.nn.modules.conv.Conv2d)" in refused(tmp_path / "network.pt")


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_an_error(refused, torch, tmp_path, new_format, part):
    path = tmp_path / "model.pt"
    checkpoint = torch.load(DATA / "authors_k1.pt", weights_only=True)
    torch.save(checkpoint, path, _use_new_zipfile_serialization=new_format)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert refused(path).startswith("no PyTorch weights (damaged, ")


@pytest.mark.parametrize(
    "content", [b"hello", b"<!DOCTYPE html>", b"\x89PNG\r\n\x1a\n", b"\3\0\0\0\1\0\0\0", b"\0" * 99]
)
def test_a_file_that_is_no_checkpoint_is_an_error(refused, torch, tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    assert refused(tmp_path / "model.pt").startswith("no PyTorch weights (damaged, ")


def test_the_archive_that_holds_the_checkpoint_is_an_error(refused, torch, tmp_path):
    with zipfile.ZipFile(tmp_path / "GOPRO_L1.zip", "w") as archive:
        archive.write(DATA / "authors_k1.pt", "GOPRO_L1/models/model-1000.pt")
    assert "an archive to unzip" in refused(tmp_path / "GOPRO_L1.zip")


@pytest.mark.parametrize("checkpoint", [[], {}, {"D": {}}, {"G": 3}, {"G": {"epoch": 3}}])
def test_a_checkpoint_without_a_generator_is_an_error(refused, torch, tmp_path, checkpoint):
    torch.save(checkpoint, tmp_path / "model.pt")
    assert "no weights of a generator under 'G'" in refused(tmp_path / "model.pt")


def test_tensors_that_do_not_fit_are_named_with_the_file(refused, torch, tmp_path):
    state = torch.load(DATA / "authors_k1.pt", weights_only=True)["G"]
    state["body_models.0.body.9.bias"] = state.pop("body_models.0.body.5.bias")
    torch.save({"G": state}, tmp_path / "model.pt")
    assert "missing body_models.0.body.5.bias; unknown body_models.0.body.9.bias" in refused(tmp_path / "model.pt")


def test_a_missing_file_and_a_folder_are_errors(refused, tmp_path):
    assert "no such file" in refused(tmp_path / "model.pt")
    assert "no such file" in refused(tmp_path)


def test_a_missing_torch_is_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[torch\]'$"):
        read_checkpoint(DATA / "authors_k1.pt")


def test_a_torch_whose_safe_mode_is_not_safe_is_refused(torch, monkeypatch):
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.5.1+cpu"))
    with pytest.raises(InputError, match=r"PyTorch 2\.5\.1\+cpu reads unsafely"):
        read_checkpoint(DATA / "authors_k1.pt")


def test_an_output_that_cannot_be_written_is_an_error(run_here, torch, tmp_path):
    words = "import_weights", f"--checkpoint={DATA / 'authors_k1.pt'}"
    finished = run_here(*words, f"--output={tmp_path / 'absent' / 'generator.keras'}")
    assert (finished.returncode, len(finished.stderr.splitlines())) == (1, 1)
    assert "no folder" in finished.stderr
    folder = tmp_path / "folder.keras"
    (folder / "full").mkdir(parents=True)
    finished = run_here(*words, f"--output={folder}")
    assert (finished.returncode, len(finished.stderr.splitlines())) == (1, 1)
    assert "cannot be written" in finished.stderr
    assert list(tmp_path.iterdir()) == [folder]


def test_a_flipped_byte_is_an_error(refused, torch, tmp_path):
    """PyTorch itself reads such a file without a word."""
    path, content = tmp_path / "model.pt", bytearray((DATA / "authors_k1.pt").read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert refused(path).startswith("no PyTorch weights (damaged, ")


def test_tensors_that_are_no_weights_are_an_error(refused, torch, tmp_path):
    for number, tensor in enumerate(
        (torch.ones(3, dtype=torch.int32), torch.eye(3).to_sparse(), torch.ones(3, device="meta"))
    ):
        path = tmp_path / f"{number}.pt"
        torch.save({"G": {"weight": tensor}}, path)
        assert refused(path).startswith("no weights of a generator under 'G'")


def test_the_command_says_what_it_has_read(run_here, torch, tmp_path):
    output = tmp_path / "generator.keras"
    finished = run_here("import_weights", f"--checkpoint={DATA / 'authors_k3.pt'}", f"--output={output}")
    assert (finished.returncode, output.is_file()) == (0, True)
    assert finished.stdout == f"{output}: 3 scales, 2 ResBlocks, 8 filters, kernel size 5\n"


def test_exit_code_1_and_one_line_for_a_failed_input(run_here, tmp_path):
    finished = run_here(
        "import_weights", f"--checkpoint={tmp_path / 'absent.pt'}", f"--output={tmp_path / 'generator.keras'}"
    )
    assert (finished.returncode, len(finished.stderr.splitlines())) == (1, 1)
    assert f"{tmp_path / 'absent.pt'}: no such file" in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--checkpoint is missing"),
        (["--checkpoint=a.pt"], "--output is missing"),
        (["--checkpoint=a.pt", "--output=a.h5"], "must end in .keras"),
        (["--checkpoint=a.pt", "--output=a.keras", "b.pt"], "unexpected argument 'b.pt'"),
    ],
)
def test_exit_code_2_and_one_line_for_wrong_flags(run_here, arguments, complaint):
    finished = run_here("import_weights", *arguments)
    assert (finished.returncode, len(finished.stderr.splitlines())) == (2, 1)
    assert complaint in finished.stderr
