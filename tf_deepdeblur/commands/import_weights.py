"""Converts a checkpoint of the authors' DeepDeblur-PyTorch to a .keras file.

    deepdeblur import_weights --checkpoint GOPRO_L1/models/model-1000.pt --output generator.keras

The authors' README (github.com/SeungjunNah/DeepDeblur-PyTorch) links archives of trained models; unzip one and give a
models/model-*.pt of it. Only the generator is imported; their Torch7 release (.t7) is not read. Reading needs PyTorch
(pip install -e '.[torch]') and is done in its safe mode: a file that asks to run code is refused.
"""

import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tf_deepdeblur import cli, runtime
from tf_deepdeblur.errors import InputError

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The authors' models/model-*.pt.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "The .keras file to write; its folder must exist.", required=True)
flags.register_validator(_OUTPUT, lambda path: path is None or path.endswith(".keras"), "must end in .keras")
_REMEDY = "give a models/model-*.pt of DeepDeblur-PyTorch"


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    cli.reject_arguments(argv)
    generator = import_weights(Path(_CHECKPOINT.value).expanduser(), Path(_OUTPUT.value).expanduser())
    print(
        f"{_OUTPUT.value}: {generator.num_scales} scales, {generator.num_res_blocks} ResBlocks, "
        f"{generator.filters} filters, kernel size {generator.kernel_size}"
    )
    return 0


def import_weights(checkpoint, output):
    """Reads ``checkpoint``, writes ``output`` whole or not at all, and returns the generator."""
    if not output.parent.is_dir():
        raise InputError(f"{output}: no folder {output.parent}; create it or choose another --output")
    state = _read_generator_state(checkpoint)
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.models.torch_weights import generator_from_state

    try:
        generator = generator_from_state(state)
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}; {_REMEDY}") from error
    _save(generator, output)
    return generator


def _read_generator_state(path):
    if not path.is_file():
        raise InputError(f"{path}: no such file; {_REMEDY}")
    torch = _import_torch()
    try:
        if zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip():  # PyTorch does not look at checksums
            raise ValueError("damaged")
        with warnings.catch_warnings(action="ignore"):
            checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise InputError(f"{path}: {_refusal(error)}") from error
    state = checkpoint.get("G") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(_is_weight(torch, value) for value in state.values()):
        raise InputError(f"{path}: no weights of a generator under 'G'; {_REMEDY}")
    return {str(name): tensor.detach().float().numpy() for name, tensor in state.items()}


def _is_weight(torch, value):
    return torch.is_tensor(value) and value.is_floating_point() and value.layout is torch.strided and not value.is_meta


def _refusal(error):
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    if wanted:
        return f"refused: opening it would run code ({wanted[1]}), which weights never need; {_REMEDY}"
    return f"no PyTorch weights (damaged, an archive to unzip, or a pickle that could run code); {_REMEDY}"


def _import_torch():
    try:
        import torch
    except ImportError as error:
        raise InputError(f"PyTorch is needed ({error}): pip install -e '.[torch]'") from error
    if torch.__version__ < (2, 6):  # CVE-2025-32434: before, weights_only=True could run code all the same
        raise InputError(f"PyTorch {torch.__version__} reads unsafely: pip install --upgrade -e '.[torch]'")
    return torch


def _save(generator, path):
    from tf_deepdeblur.models.saving import save_generator

    try:
        save_generator(generator, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); choose another --output") from error
