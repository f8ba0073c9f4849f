from .bundle import export as export
