"""The same program as ``deepdeblur export``."""

from tf_deepdeblur.commands import run

if __name__ == "__main__":
    run("export")
