"""The one exception for mistakes that the user can mend."""


class InputError(ValueError):
    """What the user gave cannot be used: the message is one line that names the thing and the remedy.

    Tools print the message without a traceback and exit with a non-zero code.
    """
