"""The same program as ``deepdeblur pack``."""

from tf_deepdeblur.commands import run

if __name__ == "__main__":
    run("pack")
