"""The same program as ``deepdeblur serve_web``."""

from tf_deepdeblur.commands import run

if __name__ == "__main__":
    run("serve_web")
