import numpy as np
import pytest

from tf_deepdeblur.export import tflite
from tf_deepdeblur.export.bundle import metadata
from tf_deepdeblur.export.saved_model import export_saved_model
from tf_deepdeblur.models.generator import Generator


def random_image(height, width, seed=0):
    return np.random.default_rng([height, width, seed]).integers(0, 256, (height, width, 3), np.uint8)


def random_generator(num_scales=2, scale=0.1, **shape):
    """A tiny network that changes its input visibly and is the same each time.

    12 filters of 3x3 make kernels of more than 1024 values: TensorFlow leaves smaller ones out of dynamic quantisation.
    """
    generator = Generator(num_scales, **{"num_res_blocks": 1, "filters": 12, "kernel_size": 3, **shape})
    rng = np.random.default_rng(num_scales)
    generator.set_weights([rng.normal(0, scale, weight.shape) for weight in generator.get_weights()])
    return generator


@pytest.fixture(scope="session")
def generator():
    return random_generator(global_residual=True)


@pytest.fixture(scope="session")
def ranges(generator):
    return tflite.calibration_ranges(generator, [random_image(48, 64, seed)[None] for seed in range(3)])


@pytest.fixture(scope="session")
def converted(generator, ranges):
    """{quantize: TFLite file of ``generator`` for any size}."""
    return {name: tflite.convert(generator, name, ranges=ranges) for name in tflite.QUANTIZATIONS}


@pytest.fixture(scope="session")
def saved_model_folder(generator, tmp_path_factory):
    """The SavedModel of ``generator``; treat it as read-only."""
    folder = tmp_path_factory.mktemp("export") / "saved_model"
    export_saved_model(generator, folder, metadata(generator))
    return folder
