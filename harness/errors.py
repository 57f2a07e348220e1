"""The errors of the harness.

::

    HarnessError
    ├── EndpointError    the endpoint cannot be reached, refuses, or is not what was expected
    ├── SurrogateError   the graph cannot be differentiated, or is not what the endpoint serves
    ├── DatasetError     the photographs or their table cannot be used
    ├── AttackError      no such attack, or a parameter that it cannot have
    ├── OptionsError     an option that the attack has no use for
    └── RunError         a run's folder or file cannot be used
"""


class HarnessError(Exception):
    """What the command prints, and exits with 1."""


class EndpointError(HarnessError):
    """The endpoint cannot be reached, refuses, or is not what was expected."""


class SurrogateError(HarnessError):
    """The graph cannot be differentiated, or is not the one that the endpoint serves."""


class DatasetError(HarnessError):
    """The photographs or their table cannot be used."""


class AttackError(HarnessError):
    """No such attack, or a parameter that it cannot have."""


class OptionsError(HarnessError):
    """An option that the attack has no use for."""


class RunError(HarnessError):
    """A run's folder or file cannot be used."""
