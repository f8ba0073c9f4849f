"""From image files on disk to training batches.

The public names below are imported on first use.
"""

import importlib

_HOMES = {
    "training_dataset": "tf_deepdeblur.data.datasets",
    "validation_dataset": "tf_deepdeblur.data.datasets",
}

__all__ = [*_HOMES]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__():
    return sorted(__all__)
