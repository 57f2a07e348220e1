"""Paths of a server with a model of its own, or of the other protocol: they name the right path."""

from fastapi import APIRouter, Request

from service.dependencies import AnyBackend
from service.errors import NotFoundError

router = APIRouter(include_in_schema=False)


@router.api_route("/v1/predict", methods=["GET", "POST"])
@router.api_route("/v1/defend", methods=["GET", "POST"])
@router.api_route("/v1/models/{model}:predict", methods=["POST"])
@router.api_route("/v2/models/{model}/infer", methods=["POST"])
async def elsewhere(request: Request, backend: AnyBackend) -> None:
    """Refuse the request.

    Raises:
        NotFoundError: always; it names the path of the classifier's protocol.
    """
    if backend.settings.predictor_protocol == "v2":
        path = f"/v2/models/{backend.model_name}/infer"
    else:
        path = f"/v1/models/{backend.model_name}:predict"
    raise NotFoundError(
        f"{request.scope['route'].path} is not a path of this server, which defends images for a "
        f"classifier on another server. Send the images to POST {path}."
    )
