"""Loading the model anew over HTTP, as Triton's model repository extension does it.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

import logging

from fastapi import APIRouter, Request

from models import ModelError
from service.errors import LoadError, UnknownModelNameError
from service.state import State

router = APIRouter()

_log = logging.getLogger(__name__)


@router.post("/v2/repository/models/{name}/load", summary="Load the model anew")
async def load(request: Request, name: str) -> dict[str, str]:
    """Load the served model again from the store; answered once the new one serves.

    The one before serves until then, and goes on if the new one cannot be loaded.
    """
    state: State = request.app.state.warpguard
    served = state.predictor.classifier.manifest.name
    if name not in (served, state.settings.model):
        raise UnknownModelNameError(f"There is no model {name!r} here; {served!r} is served.")
    try:
        await state.load()
    except ModelError as error:
        _log.error("The model was not loaded anew: %s", error)
        raise LoadError("The new model cannot be loaded; the one before goes on.") from None
    return {}
