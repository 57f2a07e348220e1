"""What other people's programs import.

::

    Client, AsyncClient ──► calls ──► a running warpguard ──► reading ──► answers
                              └────── retry ◄── errors

``torch`` makes a defence a PyTorch module with gradients, ``art`` and ``foolbox`` connect the two
attack libraries, and ``python -m warpguard`` is the command. Importing this package loads none of
that: each name is loaded when it is used.

>>> import warpguard
>>> str(warpguard.Pipeline.parse("fd(step=20)+rdg"))
'fd(step=20)+rdg'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warpguard.answers import (
        Answer,
        ClassProbability,
        DefendedImage,
        Defense,
        Defenses,
        FileAnswer,
        FileError,
        Model,
        Operation,
        Timings,
    )
    from warpguard.client import AsyncClient, Client
    from warpguard.defenses import DefenseError, ImageError, Pipeline
    from warpguard.errors import (
        AnswerError,
        ApiError,
        BusyError,
        ClientError,
        UnauthorizedError,
        UnreachableError,
    )

__all__ = [
    "Answer",
    "AnswerError",
    "ApiError",
    "AsyncClient",
    "BusyError",
    "ClassProbability",
    "Client",
    "ClientError",
    "DefendedImage",
    "Defense",
    "DefenseError",
    "Defenses",
    "FileAnswer",
    "FileError",
    "ImageError",
    "Model",
    "Operation",
    "Pipeline",
    "Timings",
    "UnauthorizedError",
    "UnreachableError",
    "__version__",
]

_MODULES = {
    "warpguard.client": ("AsyncClient", "Client"),
    "warpguard.errors": (
        "AnswerError",
        "ApiError",
        "BusyError",
        "ClientError",
        "UnauthorizedError",
        "UnreachableError",
    ),
    "warpguard.defenses": ("DefenseError", "ImageError", "Pipeline"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load the module that has the name (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("warpguard")
    if name not in __all__:
        raise AttributeError(f"module 'warpguard' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF.get(name, "warpguard.answers")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
