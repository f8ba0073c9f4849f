"""The networks and their weights, in keras.ops only: they run on every backend of Keras 3."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
