"""The hall's own errors. A door prints the message as one line and leaves with `exit_code`."""


class UsageError(ValueError):
    """A flag, a preset or an output directory that cannot be used as given."""

    exit_code = 2


class StateError(ValueError):
    """A checkpoint that cannot be continued from."""

    exit_code = 4


class NonFiniteError(ValueError):
    """A loss or gradient that is no number. Raised before the step, so no weight has been touched."""

    exit_code = 6
