"""The client for the endpoint under attack. An endpoint may be faulty or hostile.

::

    target       posts images, and returns classes or probabilities
    ├── description   what warpguard serves, and with which defence
    ├── oip           any other server of the Open Inference Protocol
    │   ├── metadata      what it reports
    │   ├── form          how its model takes an image
    │   └── reading       which output of an answer has the scores
    ├── answers       from the bytes of an answer to checked values
    ├── tensors       the tensors in an answer
    └── transport     HTTP: each answer has a limit of bytes and of seconds

Every failure is an :class:`harness.errors.EndpointError`.
"""

from harness.endpoint.description import Description
from harness.endpoint.oip import OipTarget
from harness.endpoint.target import Connection, HttpTarget, Protocol, Target

__all__ = ["Connection", "Description", "HttpTarget", "OipTarget", "Protocol", "Target"]
