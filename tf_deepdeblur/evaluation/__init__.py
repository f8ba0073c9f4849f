"""Scores deblurring functions on test sets, as the paper's section 4 does."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
