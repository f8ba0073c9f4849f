"""One image in, one out, any size or one: builtin operators only, and the pixels of the network."""

import hashlib
import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from tests.export.conftest import random_generator, random_image
from tf_deepdeblur.export import int8, tflite
from tf_deepdeblur.inference.deblurrer import Deblurrer

SIZES = [(1, 1), (2, 9), (37, 51), (40, 64)]
MEAN_DIFFERENCE = {"none": 0.001, "float16": 0.1, "dynamic": 0.5, "int8": 1.0}  # grey levels
every_quantization = pytest.mark.parametrize("quantize", tflite.QUANTIZATIONS)


def opened(content):
    restore = Interpreter(model_content=content, num_threads=1).get_signature_runner("serving_default")
    return lambda image: restore(image=image[None])["restored"][0]


@every_quantization
def test_only_builtin_operators(converted, quantize):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(converted[quantize]))
    codes = {max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes}
    assert schema.BuiltinOperator.CUSTOM not in codes
    assert not {None, "MIRROR_PAD"} & set(int8.operator_names(converted[quantize]))  # GPU delegates refuse the latter
    assert {"CONV_2D", "DEPTH_TO_SPACE", "DEPTHWISE_CONV_2D"} <= set(int8.operator_names(converted[quantize]))


@every_quantization
def test_one_uint8_image_of_any_size_in_and_out(converted, quantize):
    interpreter = Interpreter(model_content=converted[quantize])
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["restored"]}}
    for tensor in (*interpreter.get_input_details(), *interpreter.get_output_details()):
        assert tensor["dtype"] == np.uint8
        assert tensor["shape_signature"].tolist() == [1, -1, -1, 3]


@every_quantization
def test_pixels_are_those_of_the_network(generator, converted, quantize):
    restore, deblur = opened(converted[quantize]), Deblurrer(generator)
    differences = []
    for size in SIZES:
        image = random_image(*size)
        restored = restore(image)
        assert restored.shape == image.shape
        differences.append(np.abs(restored.astype(int) - deblur(image)).ravel())
        assert np.abs(deblur(image).astype(int) - image).mean() > 3  # the network does something
    assert np.concatenate(differences).mean() < MEAN_DIFFERENCE[quantize]


@pytest.mark.slow
@pytest.mark.parametrize(("num_scales", "space_to_depth"), [(1, 1), (3, 1), (1, 2), (3, 2)])
def test_any_number_of_scales(num_scales, space_to_depth):
    generator, image = random_generator(num_scales, space_to_depth=space_to_depth), random_image(37, 51)
    difference = np.abs(opened(tflite.convert(generator))(image).astype(int) - Deblurrer(generator)(image))
    assert difference.mean() < MEAN_DIFFERENCE["none"]


@pytest.mark.parametrize(("quantize", "dtype"), [("none", "FLOAT32"), ("float16", "FLOAT16"), ("dynamic", "INT8")])
def test_weights_have_the_type(converted, quantize, dtype):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(converted[quantize]))
    kernels = [tensor for tensor in model.subgraphs[0].tensors if list(tensor.shape) == [12, 3, 3, 12]]
    stored = [tensor for tensor in kernels if model.buffers[tensor.buffer].data is not None]
    assert len(stored) == 4
    assert {flatbuffer_utils.type_to_name(tensor.type) for tensor in stored} == {dtype}


@pytest.mark.parametrize(("quantize", "size"), [("none", (40, 64)), ("int8", (37, 51))])
def test_a_fixed_size(generator, ranges, quantize, size):
    content = tflite.convert(generator, quantize, size, ranges)
    interpreter = Interpreter(model_content=content)
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == [1, *size, 3]
    difference = np.abs(opened(content)(random_image(*size)).astype(int) - Deblurrer(generator)(random_image(*size)))
    assert difference.mean() < MEAN_DIFFERENCE[quantize]
    assert not {"SHAPE", "RANGE", "GATHER", "MIRROR_PAD"} & set(int8.operator_names(content))


def test_the_file_and_what_it_is(generator, tmp_path):
    tflite.export_tflite(generator, tmp_path / "generator.tflite", {"take": 1}, fixed_size=(16, 20))
    facts = json.loads((tmp_path / "generator.json").read_text())
    assert facts["take"] == 1
    assert facts["quantize"] == "none"
    assert facts["operators"]["CONV_2D"] == 9
    assert facts["interface"]["serving_default"]["image"].startswith("uint8 [1, 16, 20, 3]")
    assert facts["sha256"] == hashlib.sha256((tmp_path / "generator.tflite").read_bytes()).hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generator.json", "generator.tflite"]


def test_a_file_is_never_beside_the_metadata_of_another(generator, converted, tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "convert", lambda *arguments: converted["none"])
    tflite.export_tflite(generator, tmp_path / "generator.tflite", {"take": 1})

    def fail(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tflite, "write_atomically", fail)
    with pytest.raises(OSError, match="No space"):
        tflite.export_tflite(generator, tmp_path / "generator.tflite", {"take": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["generator.tflite"]


def test_a_place_that_cannot_be_written_is_named(generator, converted, tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "convert", lambda *arguments: converted["none"])
    with pytest.raises(FileNotFoundError):
        tflite.export_tflite(generator, tmp_path / "absent" / "generator.tflite", {})


@pytest.mark.parametrize(("quantize", "message"), [("int4", "must be one of none,"), ("int8", "needs the `ranges`")])
def test_wrong_arguments_are_refused(generator, quantize, message):
    with pytest.raises(ValueError, match=message):
        tflite.convert(generator, quantize)
