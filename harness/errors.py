"""The errors of the harness.

::

    HarnessError
    ├── EndpointError    the endpoint cannot be reached, refuses, or is not the expected one
    │   └── HiddenProbabilitiesError   it returns only the most probable class
    ├── SurrogateError   the graph cannot be differentiated, or is not the served one
    ├── DatasetError     the photographs or their table cannot be used
    ├── AttackError      the attack or one of its parameters is not valid
    ├── OptionsError     the attack cannot use one of the options
    └── RunError         a run's folder or file cannot be used
"""

from harness.plain import plain

_LONGEST = 2000
"""A message may quote an endpoint, which may send much."""


class HarnessError(Exception):
    """An error that the command prints before it exits with 1, in one line without escapes."""

    def __init__(self, message: str) -> None:
        text = plain(message)
        super().__init__(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


class EndpointError(HarnessError):
    """The endpoint cannot be reached, refuses, or is not the expected one."""


class HiddenProbabilitiesError(EndpointError):
    """The endpoint returns only the most probable class, as its operator wants."""


class SurrogateError(HarnessError):
    """The graph cannot be differentiated, or is not the served one."""


class DatasetError(HarnessError):
    """The photographs or their table cannot be used."""


class AttackError(HarnessError):
    """The attack or one of its parameters is not valid."""


class OptionsError(HarnessError):
    """The attack cannot use one of the options."""


class RunError(HarnessError):
    """A run's folder or file cannot be used."""
