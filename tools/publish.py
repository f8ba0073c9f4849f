"""The same program as ``deepdeblur publish``."""

from tf_deepdeblur.commands import run

if __name__ == "__main__":
    run("publish")
