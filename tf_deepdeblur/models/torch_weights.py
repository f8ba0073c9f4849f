"""The authors' PyTorch weights (DeepDeblur-PyTorch, ``MSResNet``) as a ``Generator``.

Theirs and ours are the same network in other conventions:

- They see [0, 255] - 127.5, we see [-0.5, 0.5]. Convolution, ReLU and sum are positively homogeneous, so the same
  kernels with every bias divided by 255 give the same image. (255 is their default ``--rgb_range``; a checkpoint
  does not record another one.)
- Kernels are [out, in, height, width] there and [height, width, in, out] here.
- The 12 channels before upsampling are ordered (colour, row, column) for ``pixel_shuffle`` and (row, column, colour)
  for ``depth_to_space``.
- ``body_models.0`` is the finest scale, as in our pyramids; ``conv_end_models.k`` leads from level k to level k - 1.
- Their upconvolution is 5x5 whatever ``--kernel_size`` says. Ours has the generator's kernel size, so the smaller
  kernels are framed with zeros: still the same function, at the larger kernel's cost.
"""

import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.models.generator import Generator, check_arguments, count_parameters

_RGB_RANGE = 255.0
_SPACE_ORDER = np.arange(12).reshape(3, 4).T.ravel()  # element i: which of pixel_shuffle's channels is our channel i
_WRAPPER = "module."  # what DataParallel puts before every name
_HEAD = "body_models.0.body.0.weight"
_UPCONV = "conv_end_models.1.uppath.0.weight"
_REMEDY = "give a models/model-*.pt of DeepDeblur-PyTorch"
_MAX_NAMES = 8
_MOST_PARAMETERS = 2**27  # half a GiB, more than ten times the paper's network; tensors may be views of a few bytes


def read_checkpoint(path: str | os.PathLike) -> Generator:
    """The generator of one of the authors' checkpoints, ``models/model-*.pt``.

    The file is read in PyTorch's safe mode: one that asks to run code is refused.

    Args:
        path: the file.

    Returns:
        A float32 generator for images and pyramids in [-0.5, 0.5].

    Raises:
        InputError: naming the file, if it is no such checkpoint; or if PyTorch is missing or too old to be safe.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; {_REMEDY}")
    try:
        import torch
    except ImportError as error:
        raise InputError(f"PyTorch is needed ({error}): pip install -e '.[torch]'") from error
    if torch.__version__ < (2, 6):  # CVE-2025-32434: before, weights_only=True could run code all the same
        raise InputError(f"PyTorch {torch.__version__} reads unsafely: pip install --upgrade -e '.[torch]'")
    try:
        if zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip():  # PyTorch does not look at checksums
            raise ValueError("damaged")
        with warnings.catch_warnings(action="ignore"):
            checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        reason = "no PyTorch weights (damaged, an archive to unzip, or a pickle that could run code)"
        if wanted:
            reason = f"refused: opening it would run code ({wanted[1]}), which weights never need"
        raise InputError(f"{path}: {reason}; {_REMEDY}") from error
    state = checkpoint.get("G") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(
        torch.is_tensor(value) and value.is_floating_point() and value.layout is torch.strided and not value.is_meta
        for value in state.values()
    ):
        raise InputError(f"{path}: no weights of a generator under 'G'; {_REMEDY}")
    try:
        return generator_from_state({str(name): tensor.detach().float().numpy() for name, tensor in state.items()})
    except InputError as error:
        raise InputError(f"{path}: {error}; {_REMEDY}") from error


def generator_from_state(state: Mapping[str, np.ndarray]) -> Generator:
    """Builds the generator that a state dict of the authors' network describes, with its weights.

    The number of scales, ResBlocks, filters and the kernel size follow from the tensors' names and shapes. Every
    tensor is used exactly once and sets exactly one weight of the generator.

    Args:
        state: the checkpoint's ``G``: name -> array, with or without DataParallel's ``module.`` before every name.

    Returns:
        A float32 generator for pyramids in [-0.5, 0.5].

    Raises:
        InputError: naming the tensors that are missing, unknown, misshapen or not finite.
    """
    if state and all(name.startswith(_WRAPPER) for name in state):
        state = {name.removeprefix(_WRAPPER): tensor for name, tensor in state.items()}
    generator = Generator(**_architecture(state), dtype="float32")
    weights = _weights_by_name(generator)
    differences = {
        "missing": [name for name in weights if name not in state],
        "unknown": [name for name in state if name not in weights],
    }
    if any(differences.values()):
        parts = [f"{what} {_listed(names)}" for what, names in differences.items() if names]
        raise InputError(f"not the authors' network, or not all of it: {'; '.join(parts)}")
    sides = _kernel_sides(state)
    for name, weight in weights.items():
        tensor = state[name]
        shape = tuple(weight.shape)
        if len(shape) == 4:
            side = sides[name.split(".")[0]]
            shape = (shape[3], shape[2], side, side)
        if np.shape(tensor) != shape:
            raise InputError(f"{name} has shape {np.shape(tensor)}; expected {shape} from the other tensors")
        if not np.all(np.isfinite(tensor)):
            raise InputError(f"{name} has values that are not finite: the training diverged or the file is damaged")
        weight.assign(_converted(name, np.asarray(tensor, np.float32), generator.kernel_size))
    return generator


def _architecture(state):
    """The constructor's arguments; scales and blocks are counted, so that a stray high number builds nothing huge."""
    num_scales = _count(state, r"body_models\.(\d+)\.")
    if not num_scales:
        raise InputError(f"no tensor of the authors' network (body_models.*), but {_listed(state)}")
    if num_scales > 3:
        raise InputError(f"{num_scales} scales (body_models.*); a Generator has at most 3")
    if _HEAD not in state:
        raise InputError(f"missing {_HEAD}: the checkpoint is not complete")
    arguments = {
        "num_scales": num_scales,
        "num_res_blocks": max(1, _count(state, r"body_models\.\d+\.body\.(\d+)\.body\.")),
        "filters": np.shape(state[_HEAD])[0],
        "kernel_size": max(_kernel_sides(state).values()),
        "global_residual": False,
        "space_to_depth": 1,
    }
    try:
        check_arguments(**arguments)
    except ValueError as error:
        raise InputError(f"the tensors describe no Generator: {error}") from error
    if count_parameters(**arguments) > _MOST_PARAMETERS:
        raise InputError(f"the tensors describe a network of {count_parameters(**arguments):,} parameters")
    return arguments


def _count(state, pattern):
    """How many different numbers stand in the names that start with ``pattern``."""
    matches = (re.match(pattern, name) for name in state)
    return len({match[1] for match in matches if match})


def _kernel_sides(state):
    """Side of the kernels in the scales' networks and in the upconvolutions, which may differ."""
    sides = {}
    for name in (_HEAD, _UPCONV):
        if name in state:
            shape = np.shape(state[name])
            if len(shape) != 4 or shape[2] != shape[3] or shape[2] % 2 == 0 or 0 in shape:
                raise InputError(f"{name} has shape {shape}; expected [out, in, side, side] with an odd side")
            sides[name.split(".")[0]] = shape[2]
    return sides


def _weights_by_name(generator):
    """The generator's variables under the names of the authors' tensors, each exactly once."""
    layers = {}
    for k, scale in enumerate(generator.scales):
        body = f"body_models.{k}.body"
        layers[f"{body}.0"] = scale.head
        for number, block in enumerate(scale.blocks, start=1):
            layers[f"{body}.{number}.body.0"] = block.conv1
            layers[f"{body}.{number}.body.2"] = block.conv2
        layers[f"{body}.{len(scale.blocks) + 1}"] = scale.tail
    for k, upconv in enumerate(generator.upconvs, start=1):
        layers[f"conv_end_models.{k}.uppath.0"] = upconv.conv
    weights = {}
    for prefix, layer in layers.items():
        weights[f"{prefix}.weight"] = layer.kernel
        weights[f"{prefix}.bias"] = layer.bias
    if sorted(map(id, weights.values())) != sorted(map(id, generator.weights)):
        raise RuntimeError("Generator has weights for which the authors' network has no tensor")
    return weights


def _listed(names):
    names = list(map(str, names))
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return (", ".join(names[:_MAX_NAMES]) or "nothing") + more


def _converted(name, tensor, kernel_size):
    """A tensor in our conventions: order of axes, size of kernel, scale of biases, order of upsampled channels."""
    if tensor.ndim == 4:
        margin = (kernel_size - tensor.shape[2]) // 2
        tensor = np.pad(tensor.transpose(2, 3, 1, 0), [(margin, margin), (margin, margin), (0, 0), (0, 0)])
    else:
        tensor = tensor / _RGB_RANGE
    return tensor[..., _SPACE_ORDER] if name.startswith("conv_end_models.") else tensor
