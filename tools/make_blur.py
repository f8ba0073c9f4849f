"""The same program as ``deepdeblur make_blur``."""

from tf_deepdeblur.commands import run

if __name__ == "__main__":
    run("make_blur")
