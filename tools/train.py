"""The same program as ``deepdeblur train``."""

from tf_deepdeblur.commands import run

if __name__ == "__main__":
    run("train")
