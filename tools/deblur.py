"""The same program as ``deepdeblur deblur``."""

from tf_deepdeblur.commands import run

if __name__ == "__main__":
    run("deblur")
