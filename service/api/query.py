"""Parameters of the query that a route does not know are errors, because a typo changes answers."""

from collections import Counter

from fastapi import Request

from service.errors import InvalidParameterError
from service.spelling import nearest, quoted

_PROBES = ("/live", "/ready")
"""The ends of the paths that are probes. Their answer does not depend on a parameter, and what asks
them may add some."""
_NONE = "This path takes none; under /v2, parameters are a field of the request's JSON."


async def check_query(request: Request) -> None:
    """A route's dependency: the query has only parameters that the route declares, each once.

    Raises:
        InvalidParameterError: a parameter is unknown, or given twice.
    """
    route = request.scope["route"]
    if route.path.endswith(_PROBES):
        return
    allowed = [parameter.alias for parameter in route.dependant.query_params]
    given = Counter(name for name, _ in request.query_params.multi_items())
    for name, count in given.items():
        if name not in allowed:
            near = nearest(name, allowed)
            meant = f" Did you mean {near!r}?" if near else ""
            takes = f"Allowed: {', '.join(allowed)}." if allowed else _NONE
            raise InvalidParameterError(f"Unknown query parameter {quoted(name)}.{meant} {takes}")
        if count > 1:
            raise InvalidParameterError(f"The query parameter {name!r} is given {count} times.")
