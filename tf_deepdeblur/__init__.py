"""Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring, in TensorFlow and Keras 3.

The public names below are imported on first use, so that ``import tf_deepdeblur`` is quick and silent.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "Deblurrer": "tf_deepdeblur.inference.deblurrer",
    "DeblurGAN": "tf_deepdeblur.training.gan",
    "Discriminator": "tf_deepdeblur.models.discriminator",
    "Generator": "tf_deepdeblur.models.generator",
    "TrainConfig": "tf_deepdeblur.config",
    "gaussian_pyramid": "tf_deepdeblur.pyramid",
    "train": "tf_deepdeblur.training.loop",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__():
    return sorted(__all__)
