"""Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring, in TensorFlow and Keras 3.

The public names are imported on first use, so that ``import tf_deepdeblur`` is quick and silent; ``__init__.pyi`` lists
them. Sub-packages do the same.
"""

import lazy_loader

__version__ = "0.2.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
