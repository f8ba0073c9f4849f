"""Static 8-bit quantisation of a float TFLite model of the generator.

The convolutions and the ResBlocks' sums become integer: nearly all of the arithmetic. The steps where eight bits
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

# For each integer operator, in the order in which they run: (lowest value, highest value) of its inputs and its output.
Ranges = list[list[tuple[float, float]]]
# LiteRT refuses a model in which the scale falls by more than 256 from one feature to the next, as it does to one that
# was zero in all pictures. Usual ranges are above 0.1.
_LEAST_RANGE = 0.01


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
    features = [_features(model, operator) for operator in _quantizable(model)[:-1]]
    extremes = {index: [] for indices in features for index in indices}
    for image in images:
        restore(image=image)
        for index, values in extremes.items():
            tensor = interpreter.get_tensor(index)
            values += [float(tensor.min()), float(tensor.max())]
    return [[(min(extremes[index]), max(extremes[index])) for index in indices] for indices in features]


def quantize(content: bytes, ranges: Ranges) -> bytes:
    """Makes convolutions and sums of a float TFLite model integer.

    Args:
        content: bytes of the model.
        ranges: result of ``calibrate`` on a model of the same network, whatever its image size; or, for a model of a
            part of the network, that part of the result. The first operators become integer, as many as there are
            ranges.

    Returns:
        Bytes of the quantised model; its inputs and outputs keep their types.

    Raises:
        RuntimeError: if the ranges are those of another network, or a convolution that should be integer is not.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    tensors = model.subgraphs[0].tensors
    integers = _quantizable(model)
    # The last convolution of the whole network, or of its finest scale, stays float.
    sizes = [len(_features(model, operator)) for operator in integers]
    if list(map(len, ranges)) not in (sizes, sizes[:-1]):
        raise RuntimeError("`ranges` are those of another network")
    integers = integers[: len(ranges)]
    for operator, limits in zip(integers, ranges, strict=True):
        for index, (low, high) in zip(_features(model, operator), limits, strict=True):
            # The quantiser derives scale and zero point from the range that a float tensor carries.
            high = max(high, low + _LEAST_RANGE)
            tensors[index].quantization = schema.QuantizationParametersT(min=[low], max=[high])
    # It makes everything integer but the operators whose outputs are named.
    floats = [operator for operator in model.subgraphs[0].operators if operator not in integers]
    denied = [tensors[index].name.decode() for operator in floats for index in operator.outputs]
    with dropped_stderr():
        quantized = mlir_quantize(bytes(flatbuffer_utils.convert_object_to_bytearray(model)), denylisted_nodes=denied)

    # It leaves in float what it cannot make integer, without an error: the file would be correct but slow.
    num_convolutions = sum(_name(model, operator) == "CONV_2D" for operator in integers)
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(quantized))
    convolutions = [operator for operator in model.subgraphs[0].operators if _name(model, operator) == "CONV_2D"]
    used = [index for operator in convolutions[:num_convolutions] for index in operator.inputs[:2]]
    if any(model.subgraphs[0].tensors[index].type != schema.TensorType.INT8 for index in used):
        raise RuntimeError("the quantiser left a convolution in float")
    return bytes(quantized)


def operator_names(content: bytes) -> list[str]:
    """Returns the names of a model's operators in order, such as "CONV_2D"."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    return [_name(model, operator) for operator in model.subgraphs[0].operators]


def _name(model, operator):
    code = model.operatorCodes[operator.opcodeIndex]
    return code.customCode.decode() if code.customCode else flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)


def _quantizable(model):
    """All convolutions and the sums of the ResBlocks; the last one, which gives the restored image, stays float."""
    # Sums are told apart by the layer in their names: the addition of the blurry image (global_residual) stays float.
    tensors = model.subgraphs[0].tensors
    return [
        operator
        for operator in model.subgraphs[0].operators
        if _name(model, operator) == "CONV_2D"
        or (_name(model, operator) == "ADD" and b"res_block" in tensors[operator.outputs[0]].name)
    ]


def _features(model, operator):
    """Indices of the tensors that an integer operator computes from and to, constants left out."""
    # The third input of a convolution is its bias, whose scale follows from those of the other two.
    used = (*operator.inputs[:2], operator.outputs[0])
    return [index for index in used if model.buffers[model.subgraphs[0].tensors[index].buffer].data is None]
