"""What a route can ask for: the backend of its server, and the client of its request."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Request

from service.auth.client import Client, address
from service.backend import Backend, LocalBackend


async def _backend(request: Request) -> Any:
    return request.app.state.backend


async def _client(request: Request) -> AsyncIterator[Client]:
    """The client of the request's key; without keys, of its address.

    What the request leaves for afterwards is done once the answer is written, or has failed.
    """
    client: Client | None = getattr(request.state, "client", None)
    if client is None:
        client = Client(address(request.client.host if request.client else ""))
        request.state.client = client
    try:
        yield client
    finally:
        for work in client.afterwards:
            work()


AnyBackend: TypeAlias = Annotated[Backend[Any], Depends(_backend)]
"""A route's parameter: the server's backend, whichever it is."""
Local: TypeAlias = Annotated[LocalBackend, Depends(_backend)]
"""A route's parameter: the backend of a server that runs its model itself."""
Sender: TypeAlias = Annotated[Client, Depends(_client)]
"""A route's parameter: the client that sends the request."""
