"""``python -m tf_deepdeblur`` is ``deepdeblur``."""

from tf_deepdeblur.commands import main

if __name__ == "__main__":
    main()
