"""TensorFlow Serving's gRPC messages fit the signatures of the SavedModel: names, types and shapes."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2

from tests.export.conftest import random_image


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


REQUESTS = {
    "serving_default": {"image": np.stack([random_image(9, 14, seed) for seed in range(2)])},
    "serving_bytes": {"image_bytes": np.array([png(random_image(5, 6)), png(random_image(7, 4))], object)},
}


def require_fitting(tensors, promised):
    """``tensors`` of a message have the names, types and shapes of one side of a signature."""
    assert tensors.keys() == promised.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == promised[name].dtype
        assert tf.TensorShape(promised[name].tensor_shape).is_compatible_with(tensor.tensor_shape)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_and_its_response_fit_the_signature(saved_model_folder, name):
    model = saved_model_pb2.SavedModel.FromString((saved_model_folder / "saved_model.pb").read_bytes())
    promised = model.meta_graphs[0].signature_def[name]
    assert promised.method_name == "tensorflow/serving/predict"

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "deblur", name
    for key, value in REQUESTS[name].items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    received = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    require_fitting(received.inputs, promised.inputs)

    serve = tf.saved_model.load(saved_model_folder).signatures[received.model_spec.signature_name]
    restored = serve(**{key: tf.constant(tf.make_ndarray(tensor)) for key, tensor in received.inputs.items()})
    response = predict_pb2.PredictResponse()
    for key, tensor in restored.items():
        response.outputs[key].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
    answer = predict_pb2.PredictResponse.FromString(response.SerializeToString())
    require_fitting(answer.outputs, promised.outputs)
    for key, tensor in restored.items():
        np.testing.assert_array_equal(tf.make_ndarray(answer.outputs[key]), tensor)
        assert tensor.shape[0] == 2
