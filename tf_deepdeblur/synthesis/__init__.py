"""Blur data made from sharp high-speed footage or from photographs (section 2)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
