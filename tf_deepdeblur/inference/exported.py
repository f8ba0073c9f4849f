"""Exported models as functions on images: SavedModel folders and .tflite files.

What an export promises: a SavedModel's ``__call__`` takes uint8 [N, H, W, 3] of any size from 1x1 and returns the same;
the signature ``serving_default`` of a .tflite file takes ``image``, uint8 [1, H, W, 3] of any size or of one fixed
size, and returns ``restored``. Both compute the whole image at once, in the precision that they were exported in.

Open exports only from people you trust; a ``.keras`` file needs no trust. A SavedModel is a program: one with operators
that our exports do not have, for example to read and write files, is refused before it is loaded. LiteRT does not check
what a ``.tflite`` file says, and a damaged one can end the process. So its SHA-256 is compared with the one in the
``.json`` file beside it; where there is none, the file is first run in a process of its own.
"""

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError, first_line
from tf_deepdeblur.io.checksum import sha256

# Everything that the functions of our exports compute with; nothing here reads or writes files or calls Python.
OPERATORS = frozenset(
    "AddV2 Any Assert BiasAdd Cast ConcatV2 Const Conv2D DecodeJpeg DepthToSpace DepthwiseConv2dNative EncodePng "
    "EnsureShape Equal FilterDataset Floor FloorDiv GatherV2 Greater Identity IgnoreErrorsDataset Less LogicalAnd "
    "MapDataset Maximum Minimum MirrorPad Mul Neg NoOp Pack PartitionedCall Range ReadVariableOp ReduceDataset Relu "
    "Reshape SelectV2 Shape Size SpaceToDepth Squeeze StatefulPartitionedCall StridedSlice StringFormat Sub Substr "
    "TensorDataset TensorListFromTensor TensorListGetItem TensorListReserve TensorListSetItem TensorListStack "
    "While".split()
)
_MAPS = 4  # float32 feature maps that an exported network holds at a time, with some reserve
_FILTERS = 64  # where the file does not tell
SIGNATURE = "serving_default"
_SOME_SIDE = 4  # of the image for which LiteRT allocates tensors first
_REMEDY = "use the .keras file it was exported from, which works in tiles"
_TRIAL = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
run = Interpreter(model_path=sys.argv[1]).get_signature_runner("serving_default")
run(image=np.zeros([4 if side < 0 else side for side in run.get_input_details()["image"]["shape_signature"]], np.uint8))
"""


class SavedModel:
    """A callable: blurry uint8 image [H, W, 3] in, restored image of the same size out.

    Args:
        folder: holds ``saved_model.pb``.

    Raises:
        InputError: naming the folder, if it is damaged, has other operators or is not an export of this package.
    """

    def __init__(self, folder: str | Path):
        self._path = Path(folder)
        operators = _known_operators(self._path)
        try:
            self._model = tf.saved_model.load(str(folder))
        except Exception as error:  # what a damaged export raises depends on where it is damaged
            raise unusable(folder, "its files are damaged, incomplete or of another kind") from error
        if not callable(self._model):
            raise unusable(folder, "it has no __call__")
        signature = self._model.signatures.get(SIGNATURE)
        if signature is not None and "restored" in signature.structured_outputs:
            # Our exports trace their callable again for every image size, which takes time and memory.
            self._restore = lambda image: signature(image=image)["restored"]
        else:
            self._restore = self._model
        functions = getattr(self._model.__call__, "concrete_functions", [])
        kernels = [variable.shape for function in functions for variable in function.variables]
        filters = max((shape[-1] for shape in kernels if shape.rank == 4), default=_FILTERS)
        self._channels = math.ceil(filters / 4) if "SpaceToDepth" in operators else filters

    def __call__(self, image: np.ndarray, progress: Callable[[float], object] | None = None) -> np.ndarray:
        """Restores one image; ``progress`` is called once, at the end.

        Raises:
            InputError: naming the folder, if the image is too large for the free memory or the model does not take it.
        """
        require_memory(self._path, image.shape[:2], self._channels, _REMEDY)
        try:
            restored = self._restore(tf.constant(image[None])).numpy()[0]
        except tf.errors.ResourceExhaustedError as error:
            raise InputError(f"{self._path}: memory does not suffice; {_REMEDY}") from error
        except (TypeError, ValueError, AttributeError, tf.errors.OpError) as error:
            raise unusable(self._path, first_line(error)) from error
        return _checked(self._path, restored, image, progress)


class TFLite:
    """A callable: blurry uint8 image [H, W, 3] in, restored image of the same size out.

    Args:
        path: a .tflite file.

    Raises:
        InputError: naming the file, if it is damaged or not an export of this package.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)
        _require_sound(self._path)
        try:
            self._interpreter = open_interpreter(path)
            self._run = self._interpreter.get_signature_runner(SIGNATURE)
            inputs, outputs = self._run.get_input_details(), self._run.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise unusable(path, first_line(error)) from error
        if set(inputs) != {"image"} or set(outputs) != {"restored"} or inputs["image"]["dtype"] != np.uint8:
            raise unusable(path, f"it takes {', '.join(inputs)} and gives {', '.join(outputs)}")
        height, width = (int(side) for side in inputs["image"]["shape_signature"][1:3])
        self._fixed_size = None if -1 in (height, width) else (height, width)
        tensors = self._interpreter.get_tensor_details()
        filters = int(max((tensor["shape"][-1] for tensor in tensors if len(tensor["shape"]) == 4), default=_FILTERS))
        is_halved = any("SpaceToDepth" in tensor["name"] for tensor in tensors)
        self._channels = math.ceil(filters / 4) if is_halved else filters

    def __call__(self, image: np.ndarray, progress: Callable[[float], object] | None = None) -> np.ndarray:
        """Restores one image; ``progress`` is called once, at the end.

        Raises:
            InputError: naming the file, if it has another fixed size or the image is too large for the free memory.
        """
        if self._fixed_size not in (None, image.shape[:2]):
            sizes = [f"{height}x{width}" for height, width in (self._fixed_size, image.shape[:2])]
            raise InputError(
                f"{self._path}: takes images of {sizes[0]} (height x width) only, not {sizes[1]}; "
                "export it without a size"
            )
        require_memory(self._path, image.shape[:2], self._channels, _REMEDY)
        try:
            restored = self._run(image=image[None])["restored"][0]
        except (ValueError, RuntimeError) as error:
            raise unusable(self._path, first_line(error)) from error
        return _checked(self._path, restored, image, progress)


def open_interpreter(
    model: str | Path | bytes, sides: dict[str, int] | None = None, is_quiet: bool = True
) -> Interpreter:
    """A LiteRT interpreter on all cores.

    Args:
        model: a ``.tflite`` file, or its bytes.
        sides: height and width, by the names of inputs, for which tensors are allocated first where the file leaves
            them open; 4 pixels for others.
        is_quiet: whether what LiteRT writes to stderr is dropped. It announces its CPU delegate once in a process, and
            its errors; the exception says these again.

    Raises:
        ValueError or RuntimeError: what LiteRT raises for a damaged file.
    """
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    with runtime.dropped_stderr(shown_on_error=False) if is_quiet else contextlib.nullcontext():
        interpreter = Interpreter(**source, num_threads=runtime.num_cores())
        for tensor in interpreter.get_input_details():
            name = tensor["name"].removeprefix(f"{SIGNATURE}_").partition(":")[0]
            some_side = (sides or {}).get(name, _SOME_SIDE)
            shape = [some_side if side < 0 else int(side) for side in tensor["shape_signature"]]
            interpreter.resize_tensor_input(tensor["index"], shape)
        interpreter.allocate_tensors()  # when the delegate is made and announced
    return interpreter


def require_memory(name: str | Path, size: tuple[int, int], channels: int, remedy: str) -> None:
    """The operating system kills a program that takes too much; an error before is kinder.

    Args:
        name: what needs the memory, for the message.
        size: (height, width) of an image that is restored at once, untiled.
        channels: values of the network's features for each pixel of the image.
        remedy: what to do instead, for the message.

    Raises:
        InputError: if several feature maps of the image do not fit into the free memory.
    """
    needed, free = math.prod(size) * channels * 4 * _MAPS, runtime.free_memory()
    if free is not None and needed > free:
        raise InputError(
            f"{name}: needs some {needed / 2**30:.1f} GiB for {size[0]}x{size[1]} pixels (height x width), "
            f"{free / 2**30:.1f} GiB are free; {remedy}"
        )


def _known_operators(folder):
    """The operators of a SavedModel's functions that may be called; InputError if not all of them are ``OPERATORS``."""
    try:
        graphs = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    except (OSError, DecodeError) as error:
        raise unusable(folder, first_line(error)) from error
    if len(graphs) != 1 or not graphs[0].HasField("object_graph_def"):  # TensorFlow runs such a graph as it loads it
        raise unusable(folder, "it is in the format of TensorFlow 1")
    # Loading and calling runs functions that the object graph names and those that these call. Others in the library
    # write and restore checkpoints: TensorFlow's C++ server uses them.
    objects = graphs[0].object_graph_def
    library = {function.signature.name: function.node_def for function in graphs[0].graph_def.library.function}
    names = [
        *objects.concrete_functions,
        *(name for node in objects.nodes for name in node.function.concrete_functions),
        *(node.bare_concrete_function.concrete_function_name for node in objects.nodes),
    ]
    found, operators = set(), set()
    while names:
        name = names.pop()
        if name in found or name not in library:
            continue
        found.add(name)
        for operator in library[name]:
            if operator.op in library:
                names.append(operator.op)
            else:
                operators.add(operator.op)
            for value in operator.attr.values():
                names += [function.name for function in (value.func, *value.list.func)]
    if not operators <= OPERATORS:
        raise unusable(folder, f"it has the operators {', '.join(sorted(operators - OPERATORS)[:5])}")
    return operators


def _require_sound(path):
    """Raises InputError if a .tflite file has another SHA-256 than was recorded, or ends the process that runs it."""
    try:
        recorded = json.loads(path.with_suffix(".json").read_text())["sha256"]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        trial = subprocess.run([sys.executable, "-P", "-c", _TRIAL, path], capture_output=True, check=False)
        if trial.returncode not in (0, 1):  # an exception's 1 is dealt with where it is raised again
            raise unusable(path, "LiteRT crashes on it") from None
        return
    if recorded != sha256(path):
        raise unusable(path, f"its SHA-256 is not the one in {path.with_suffix('.json').name}: it is damaged")


def _checked(path, restored, image, progress):
    if restored.shape != image.shape or restored.dtype != np.uint8:
        raise unusable(path, f"it returns {restored.dtype} {list(restored.shape)} for uint8 {list(image.shape)}")
    if progress:
        progress(1.0)
    return restored


def unusable(path: str | Path, reason: str) -> InputError:
    """The error for a file or folder that is no export of this package, or no longer."""
    return InputError(f"{path}: not an exported deblurring model ({reason}); export it again")
