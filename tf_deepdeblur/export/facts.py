"""What a shipped model says about itself: ``model.json``."""

import hashlib

import numpy as np

import tf_deepdeblur


def describe(generator, training=None):
    """The facts of a network that do not depend on the format it is shipped in.

    Args:
        generator: Generator.
        training: what is known about its training, a dict for JSON, or None.

    Returns:
        A dict for JSON: "package", "version", "network" (the constructor's arguments and the number of parameters),
        "weights_sha256" and "training".
    """
    config = generator.get_config()
    names = ("num_scales", "num_res_blocks", "filters", "kernel_size", "global_residual")
    return {
        "package": "tf_deepdeblur",
        "version": tf_deepdeblur.__version__,
        "network": {**{name: config[name] for name in names}, "parameters": generator.count_params()},
        "weights_sha256": weights_sha256(generator),
        "training": training,
    }


def weights_sha256(generator):
    """SHA-256 of all weights as little-endian float32, one after the other: equal for equal networks in any file."""
    digest = hashlib.sha256()
    for weight in generator.get_weights():
        digest.update(np.ascontiguousarray(weight, "<f4").tobytes())
    return digest.hexdigest()
