"""From a trained generator to restored images."""
