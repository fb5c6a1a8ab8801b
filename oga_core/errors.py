"""The one exception a user is meant to read."""


class InputError(ValueError):
    """Bad input from the user. The message is one line: what was found, what is allowed, what to do."""
