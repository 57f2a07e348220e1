"""Loading the model anew over HTTP, as Triton's model repository extension does it.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from fastapi import APIRouter, Request

from service.backend import ServerState
from service.errors import LoadError, UnknownModelNameError

router = APIRouter()


@router.post("/v2/repository/models/{name}/load", summary="Load the model anew")
async def load(request: Request, name: str) -> dict[str, str]:
    """Load the served model again from the store; answered once the new one serves.

    The one before serves until then, and goes on if the new one cannot be loaded.
    """
    state: ServerState = request.app.state.warpguard
    served = state.model_name
    if name not in (served, state.settings.model):
        raise UnknownModelNameError(f"There is no model {name!r} here; {served!r} is served.")
    if not await state.reload():
        raise LoadError("The new model cannot be loaded; the one before goes on.")
    return {}
