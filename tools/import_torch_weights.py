"""The same program as ``deepdeblur import_weights``."""

from tf_deepdeblur.commands import run

if __name__ == "__main__":
    run("import_weights")
