"""The exceptions for what the user, or whoever starts programs for the user, can fix."""


class InputError(ValueError):
    """What the user gave cannot be used: the message is one line that names the thing and the remedy.

    Tools print the message without a traceback and exit with a non-zero code.
    """


class TemporaryError(InputError):
    """Nothing is wrong with what the user gave: the same command, started again, may well go on.

    Tools exit with code 75, EX_TEMPFAIL of sysexits.h, for supervisors that start them again.
    """


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; the name of its class if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
