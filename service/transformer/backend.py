"""The backend of a server whose classifier is served elsewhere."""

import asyncio
import logging
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic_core import from_json

from models import Manifest, ManifestError
from service.backend import Backend
from service.errors import NotReadyError, UnknownModelNameError, UpstreamError
from service.images.defend import check_defenses
from service.settings import Settings
from service.transformer.input_spec import InputSpec
from service.transformer.transformer import Transformer
from service.transformer.upstream import Upstream

RETRY_S = 0.5
_EXTENSION = "binary_tensor_data"

_log = logging.getLogger(__name__)


class UpstreamBackend(Backend[Transformer]):
    """Ready while its upstream is.

    Attributes:
        upstream: the server that the classifier is on.
    """

    _starting = "The classifier behind this server is not there yet."

    def __init__(self, settings: Settings) -> None:
        """Set up; :meth:`load` connects.

        Raises:
            ManifestError: the manifest of the upstream's input cannot be read.
        """
        super().__init__(settings)
        path = settings.predictor_manifest
        self._manifest = None if path is None else Manifest.read(path)
        self.upstream = Upstream(
            str(settings.predictor_host),
            max_answer_bytes=settings.predictor_max_bytes,
            max_held_bytes=max(settings.max_buffered_bytes, settings.predictor_max_bytes),
        )
        self._upstream_ready = False

    @property
    def model_name(self) -> str:
        """The model's name, on this server and on the upstream."""
        return str(self.settings.model_name)

    async def load(self) -> None:
        """Wait for the upstream and learn its input; on a reload, learn it again.

        Raises:
            ManifestError: the upstream's metadata has no input for images.
            DefenseError: a defence does not take images of the input's size.
            UpstreamError: on a reload, the upstream is not ready.
        """
        host, reported = self.settings.predictor_host, ""
        while True:
            try:
                await self._ask()
                spec = await self._learn()
                break
            except UpstreamError as error:
                if self._engine is not None:
                    raise
                problem = str(error.__cause__ or error)
                if problem != reported:
                    _log.info("Waiting for %s on %s: %s", self.model_name, host, problem)
                    reported = problem
            await asyncio.sleep(RETRY_S)
        if spec.fixed:
            size = spec.manifest.input
            check_defenses(self.settings.pipelines.values(), size.height_px, size.width_px)
        self.metrics.model.info({"name": self.model_name, "provider": "upstream"})
        _log.info("Forwarding to %s on %s behind %s", self.model_name, host, self.settings.defense)
        transformer = Transformer(spec, self.upstream, self.settings, self.metrics)
        if self.settings.predictor_protocol == "v2":  # over v1 integers may be sent as they are
            transformer.warn_of_scaling(spec)
        await self._swap(transformer)

    @property
    def is_ready(self) -> bool:
        """Whether the upstream was ready when it was last asked, and this server can defend."""
        return super().is_ready and self._upstream_ready

    async def check_ready(self) -> None:
        """Ask the upstream too; see :class:`Backend`."""
        await super().check_ready()
        try:
            await self._ask()
        except UpstreamError:
            raise NotReadyError("The classifier behind this server is not ready.") from None

    async def close(self) -> None:
        """Stop the threads, and close the connections."""
        await super().close()
        await self.upstream.close()

    async def _ask(self) -> None:
        v2 = self.settings.predictor_protocol == "v2"
        path = f"/v2/models/{self.model_name}/ready" if v2 else f"/v1/models/{self.model_name}"
        try:
            reply = await self.upstream.get(path)
            if reply.status != HTTPStatus.OK:
                raise UpstreamError(f"it answers {path} with status {reply.status}")
        except UpstreamError:
            self._upstream_ready = False
            raise
        self._upstream_ready = True

    async def _learn(self) -> InputSpec:
        if self.settings.predictor_protocol == "v1":
            return InputSpec() if self._manifest is None else InputSpec.of_manifest(self._manifest)
        extensions = (await self._document("/v2")).get("extensions")
        binary = isinstance(extensions, list) and _EXTENSION in extensions
        if self._manifest is not None:
            return InputSpec.of_manifest(self._manifest, binary=binary)
        metadata = await self._document(f"/v2/models/{self.model_name}")
        return InputSpec.of_metadata(metadata, binary=binary)

    async def _document(self, path: str) -> dict[str, Any]:
        reply = await self.upstream.get(path)
        if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise UpstreamError(f"it answers {path} with status {reply.status}")
        try:
            document = from_json(reply.body)
        except ValueError:
            document = None
        if reply.status != HTTPStatus.OK or not isinstance(document, dict):
            raise ManifestError(
                f"The upstream answers {path} with status {reply.status}, and not with a JSON "
                "object: it does not speak the Open Inference Protocol v2."
            )
        return document


async def _backend_of_model(request: Request, model: str) -> UpstreamBackend:
    backend: UpstreamBackend = request.app.state.backend
    if model != backend.model_name:
        raise UnknownModelNameError(
            f"Unknown model {model[:80]!a}; {backend.model_name!r} is served."
        )
    return backend


Forwarding = Annotated[UpstreamBackend, Depends(_backend_of_model)]
"""A route's parameter: the backend, if the path's ``model`` is the one behind it."""
