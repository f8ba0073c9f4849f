"""From a trained generator to files that applications load without this package."""
