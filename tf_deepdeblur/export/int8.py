"""Static 8-bit quantisation of a float TFLite model of the generator.

Integer are the convolutions and the sums of the ResBlocks: nearly all of the arithmetic. The steps where eight bits
would be visible stay float: pixels to float, the pyramid, what passes between scales, the last convolution, the
addition of the blurry image and the rounding. A feature map that is constant stays constant, and so does a flat image.
"""

from collections.abc import Iterable

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_litert.tools import flatbuffer_utils

# Private. The public ai-edge-quantizer 0.10 gives the same pixels, but requires one exact version of ai-edge-litert.
from tensorflow.lite.python.convert import mlir_quantize

from tf_deepdeblur.runtime import dropped_stderr, num_cores

Ranges = dict[str, tuple[float, float]]  # (lowest value, highest value) by the key of a tensor's name


def calibrate(content: bytes, images: Iterable[np.ndarray]) -> Ranges:
    """Measures the ranges of the features that will become integers.

    Args:
        content: bytes of a float TFLite model.
        images: uint8 arrays [1, H, W, 3] that the model restores one after the other.
    """
    # TensorFlow's own calibration is not used. LiteRT lets the sum of a ResBlock overwrite the memory of its input, the
    # convolution before it, and that calibration then records the sum's range for both: the convolution's range is
    # too wide, which costs the thin networks here a third of their precision.
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    interpreter = Interpreter(
        model_content=content,
        num_threads=num_cores(),
        experimental_preserve_all_tensors=True,  # no memory is shared, so each tensor can be read after the run
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,  # delegates hide tensors
    )
    restore = interpreter.get_signature_runner("serving_default")
    extremes = {index: [] for index in _features(model)}
    for image in images:
        restore(image=image)
        for index, values in extremes.items():
            features = interpreter.get_tensor(index)
            values += [features.min(), features.max()]
    names = _tensor_names(model)
    return {_key(names[index]): (float(min(values)), float(max(values))) for index, values in extremes.items()}


def quantize(content: bytes, ranges: Ranges) -> bytes:
    """Makes convolutions and sums of a float TFLite model integer.

    Args:
        content: bytes of the model.
        ranges: result of ``calibrate`` on a model of the same network; its image size may differ.

    Returns:
        Bytes of the quantised model; image in and out stay uint8.

    Raises:
        RuntimeError: if a convolution that should be integer is not.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    names = _tensor_names(model)
    for index in _features(model):
        low, high = ranges[_key(names[index])]
        # The quantiser derives scale and zero point from the range that a float tensor carries.
        model.subgraphs[0].tensors[index].quantization = schema.QuantizationParametersT(min=[low], max=[high])
    # It makes everything integer but the operators whose outputs are named.
    integers = _integer_operators(model)
    floats = [operator for operator in model.subgraphs[0].operators if operator not in integers]
    denied = [names[index] for operator in floats for index in operator.outputs]
    with dropped_stderr():
        quantized = mlir_quantize(bytes(flatbuffer_utils.convert_object_to_bytearray(model)), denylisted_nodes=denied)

    # It leaves in float what it cannot make integer, without an error: the file would be correct but slow.
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(quantized))
    convolutions = [operator for operator in model.subgraphs[0].operators if _name(model, operator) == "CONV_2D"]
    operands = [model.subgraphs[0].tensors[index] for operator in convolutions[:-1] for index in operator.inputs[:2]]
    if any(tensor.type != schema.TensorType.INT8 for tensor in operands):
        raise RuntimeError("the quantiser left a convolution in float")
    return bytes(quantized)


def operator_names(content: bytes) -> list[str]:
    """Returns the names of a model's operators in order, such as "CONV_2D"."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    return [_name(model, operator) for operator in model.subgraphs[0].operators]


def _name(model, operator):
    code = model.operatorCodes[operator.opcodeIndex]
    return code.customCode.decode() if code.customCode else flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)


def _integer_operators(model):
    """All convolutions but the last, which gives the restored image, and the sums of the ResBlocks."""
    operators, names = model.subgraphs[0].operators, _tensor_names(model)
    convolutions = [operator for operator in operators if _name(model, operator) == "CONV_2D"]
    sums = [operator for operator in operators if _name(model, operator) == "ADD"]
    # Sums are told apart by the layer in their names: the addition of the blurry image (global_residual) stays float.
    return convolutions[:-1] + [operator for operator in sums if "res_block" in names[operator.outputs[0]]]


def _features(model):
    """Indices of the tensors that integer operators compute from and to, constants left out."""
    tensors = model.subgraphs[0].tensors
    # The third input of a convolution is its bias, whose scale follows from those of the other two.
    used = {index for operator in _integer_operators(model) for index in (*operator.inputs[:2], operator.outputs[0])}
    return sorted(index for index in used if model.buffers[tensors[index].buffer].data is None)


def _tensor_names(model):
    return [tensor.name.decode() for tensor in model.subgraphs[0].tensors]


def _key(name):
    """A tensor's name without the part that TensorFlow 2.20 adds for some fixed image sizes.

    The ranges are measured on a model for any size and used for one of a fixed size.
    """
    return ";".join(part for part in name.split(";") if not part.endswith("/Squeeze"))
