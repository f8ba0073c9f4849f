"""All file formats: pixels in numbers, photographs, 16-bit files, videos, atomic writing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
