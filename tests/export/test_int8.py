"""Ranges are the true ones; convolutions and sums become integers, and what is flat stays flat."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tests.export.conftest import random_generator, random_image
from tests.export.test_tflite import opened
from tf_deepdeblur.export import int8, tflite
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.pixels import to_float
from tf_deepdeblur.models.generator import Generator


@pytest.fixture(scope="module")
def one_scale():
    return random_generator(1, scale=0.05, num_res_blocks=2)


@pytest.fixture(scope="module")
def one_scale_int8(one_scale):
    flat = [np.full((1, 24, 24, 3), grey, np.uint8) for grey in (0, 255)]
    ranges = tflite.calibration_ranges(one_scale, [*flat, random_image(24, 24)[None]])
    return opened(tflite.convert(one_scale, "int8", ranges=ranges))


def operators(content):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    tensors = model.subgraphs[0].tensors
    for name, operator in zip(int8.operator_names(content), model.subgraphs[0].operators, strict=True):
        yield name, [tensors[index] for index in (*operator.inputs, *operator.outputs)]


def test_ranges_are_those_of_the_features_even_where_a_sum_overwrites_its_input(one_scale):
    images = [random_image(24, 24, seed)[None] for seed in range(3)]
    ranges = tflite.calibration_ranges(one_scale, images)
    network = one_scale.scales[0]
    pixels = tf.concat([to_float(image) for image in images], axis=0)
    features = network.head(pixels)
    expected = [[pixels, features]]
    for block in network.blocks:
        inner = block.conv1(features)
        added = block.conv2(inner)
        expected += [[features, inner], [inner, added], [features, added, features + added]]
        features = features + added
    assert [len(limits) for limits in ranges] == [len(tensors) for tensors in expected]
    for limits, tensors in zip(ranges, expected, strict=True):
        np.testing.assert_allclose(limits, [(np.min(values), np.max(values)) for values in tensors], atol=1e-6)


@pytest.mark.slow
def test_all_convolutions_but_the_last_and_all_sums_of_features_are_integers(converted):
    types = {name: [] for name in ("CONV_2D", "ADD")}
    for name, tensors in operators(converted["int8"]):
        if name in types:
            types[name].append({tensors[0].type, tensors[1].type, tensors[-1].type})
    assert types["CONV_2D"] == [{schema.TensorType.INT8}] * 8 + [{schema.TensorType.FLOAT32}]
    assert types["ADD"].count({schema.TensorType.INT8}) == 2


@pytest.mark.slow
def test_weights_have_a_scale_for_each_filter(converted):
    kernels = [tensors[1] for name, tensors in operators(converted["int8"]) if name == "CONV_2D"][:-1]
    assert all(len(kernel.quantization.scale) == kernel.shape[0] for kernel in kernels)


@pytest.mark.slow
def test_a_convolution_left_in_float_is_an_error(converted, ranges, monkeypatch):
    monkeypatch.setattr(int8, "mlir_quantize", lambda content, denylisted_nodes: content)
    with pytest.raises(RuntimeError, match="left a convolution in float"):
        int8.quantize(converted["none"], ranges)


@pytest.mark.slow
def test_ranges_of_another_network_are_an_error(converted, ranges):
    for wrong in (ranges[:-1], [*ranges, *ranges], [limits[:1] for limits in ranges]):
        with pytest.raises(RuntimeError, match="`ranges` are those of another network"):
            int8.quantize(converted["none"], wrong)


@pytest.mark.parametrize("grey", [0, 1, 100, 128, 254, 255])
def test_flat_grey_stays_flat(one_scale, one_scale_int8, grey):
    image = np.full((48, 40, 3), grey, np.uint8)
    restored, expected = one_scale_int8(image)[8:-8, 8:-8], Deblurrer(one_scale)(image)[8:-8, 8:-8]
    assert not np.ptp(restored, axis=(0, 1)).any()
    assert np.abs(restored.astype(int) - expected).max() <= 2


def test_features_that_are_always_zero_are_no_obstacle():
    """A ResBlock whose ReLU gives zeros alone, as training may leave some."""
    generator = random_generator(1, scale=0.05, num_res_blocks=2)
    generator.scales[0].blocks[0].conv1.bias.assign(np.full(12, -100.0))
    images = [random_image(24, 24, seed)[None] for seed in range(3)]
    restore = opened(tflite.convert(generator, "int8", ranges=tflite.calibration_ranges(generator, images)))
    difference = restore(images[0][0]).astype(int) - Deblurrer(generator)(images[0][0])
    assert np.abs(difference).mean() < 1.0


@pytest.mark.slow
def test_a_network_that_changes_nothing_gives_the_very_pixels():
    identity = Generator(2, 1, 4, 3, global_residual=True)
    ranges = tflite.calibration_ranges(identity, [random_image(24, 24)[None]])
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(opened(tflite.convert(identity, "int8", ranges=ranges))(image), image)
