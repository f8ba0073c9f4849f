"""The same program as ``deepdeblur evaluate``."""

from tf_deepdeblur.commands import run

if __name__ == "__main__":
    run("evaluate")
