"""Variables ``WARPGUARD_…`` that are not settings: misspelt ones, and those of Kubernetes.

In each pod, Kubernetes sets the addresses of the Services of the namespace. Those of Services named
``warpguard`` or ``warpguard-…`` begin as the settings do, and ``WARPGUARD_PORT`` is both.
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic_settings import EnvSettingsSource

from service.spelling import nearest

PREFIX = "WARPGUARD_"
_SERVICE = re.compile(
    r"WARPGUARD(_[A-Z0-9]+)*_"
    r"(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT_[0-9]+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR))"
)
_SERVICE_ADDRESS = re.compile(r"WARPGUARD(_[A-Z0-9]+)*_PORT(_[0-9]+_(TCP|UDP|SCTP))?")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+")


def is_of_a_service(variable: str, value: str) -> bool:
    """Whether Kubernetes sets this variable for a Service, so that it is not a setting.

    >>> is_of_a_service("WARPGUARD_PORT", "tcp://10.0.0.1:80")
    True
    >>> is_of_a_service("WARPGUARD_PORT", "8080")
    False
    """
    is_address = _SERVICE_ADDRESS.fullmatch(variable) and _ADDRESS.fullmatch(value)
    return bool(is_address or _SERVICE.fullmatch(variable))


class Environment(EnvSettingsSource):
    """The variables as a source of settings, without the addresses that Kubernetes sets."""

    def __call__(self) -> dict[str, Any]:
        """Return the values by setting; ``WARPGUARD_PORT=tcp://…`` is not one of them."""
        return {
            name: value
            for name, value in super().__call__().items()
            if not is_of_a_service(PREFIX + name.upper(), str(value))
        }


def unknown_variables(environment: Mapping[str, str], settings: Iterable[str]) -> Iterator[str]:
    """Warn of each variable that is probably a misspelt setting.

    Args:
        environment: all variables.
        settings: the names of the settings, in lower case.

    Yields:
        A sentence for each; no values, because a value may be a secret.
    """
    known = {name.upper(): PREFIX + name.upper() for name in settings}
    for variable, value in sorted(environment.items()):
        prefix, name = variable[: len(PREFIX)].upper(), variable[len(PREFIX) :].upper()
        if prefix != PREFIX or name in known or is_of_a_service(PREFIX + name, value):
            continue
        near = nearest(name, known)
        meant = f"did you mean {known[near]}?" if near else "'warpguard serve --help' lists them."
        yield f"The variable {variable} is not one of the settings, and is ignored: {meant}"
