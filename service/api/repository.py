"""Reloading the model over HTTP, as Triton's model repository extension does it.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from fastapi import APIRouter

from service.dependencies import AnyBackend, Sender
from service.errors import LoadError, UnknownModelNameError

LOAD_COSTS_IMAGES = 10
"""What a load takes of a key's rate: it computes about as long as so many images."""

router = APIRouter()


@router.post("/v2/repository/models/{name}/load", summary="Reload the model")
async def load(backend: AnyBackend, client: Sender, name: str) -> dict[str, str]:
    """Load the served model again from the store; answered once the new one serves.

    The previous one serves until then, and goes on if the new one cannot be loaded. Requests that
    come while a model is being loaded share the next load.
    """
    served = backend.model_name
    if name not in (served, backend.settings.model):
        raise UnknownModelNameError(f"Unknown model {name!r}; {served!r} is served.")
    client.charge(LOAD_COSTS_IMAGES)
    if not await backend.reload():
        raise LoadError("The new model cannot be loaded; the previous one goes on.")
    return {}
