"""OpenVINO and ONNX Runtime as contenders: the authors' network, exported from PyTorch for one size of images."""

import multiprocessing
import tempfile
from pathlib import Path

from photographs import photograph


def prepare_openvino(weights, model, size, precision):
    """Times OpenVINO on a photograph of ``size`` (height, width)."""
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16", "PERFORMANCE_HINT": "LATENCY"}
    with tempfile.TemporaryDirectory() as folder:
        compiled = openvino.Core().compile_model(_export(weights, model, size, folder), "CPU", hints)
    request, images = compiled.create_infer_request(), photograph(*size)[None]
    return lambda: request.infer([images], share_inputs=True)[0][0].copy()


def prepare_onnxruntime(weights, model, size, precision):
    """Times ONNX Runtime, on the GPU if it was installed for one; it has float32 alone."""
    import onnxruntime

    assert precision == "float32", precision
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime.InferenceSession(_export(weights, model, size, folder), providers=providers)
    feed = {session.get_inputs()[0].name: photograph(*size)[None]}
    return lambda: session.run(None, feed)[0][0]


def _export(weights, model, size, folder):
    """Writes the network as an ONNX file, in a process of its own: PyTorch's memory does not count here."""
    path = Path(folder) / "network.onnx"
    process = multiprocessing.get_context("spawn").Process(target=_write, args=(weights, model, size, path))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError("the network could not be exported to ONNX")
    return str(path)


def _write(weights, model, size, path):
    import authors_network
    import torch

    network, _ = authors_network.load(weights, model)
    restorer = authors_network.Restorer(network, model.num_scales).eval().requires_grad_(False)
    images = torch.zeros((1, *size, 3), dtype=torch.uint8)
    torch.onnx.export(restorer, (images,), path, dynamo=True, external_data=False, verbose=False)
