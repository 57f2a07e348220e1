"""The client for the endpoint under attack. An endpoint may be faulty or hostile.

::

    target       posts images, and returns classes or probabilities
    ├── description   what the endpoint serves, and with which defence
    ├── answers       from the bytes of an answer to checked values
    └── transport     HTTP: each answer has a limit of bytes and of seconds

Every failure is an :class:`harness.errors.EndpointError`.
"""

from harness.endpoint.description import Description
from harness.endpoint.target import HttpTarget, Protocol

__all__ = ["Description", "HttpTarget", "Protocol"]
