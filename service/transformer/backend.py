"""The state of a server whose classifier is elsewhere."""

import asyncio
import logging
from random import SystemRandom
from typing import Any

import httpx2
from fastapi import Request
from pydantic_core import from_json

from models import Manifest, ManifestError
from service.backend import ServerState
from service.errors import NotReadyError, UnknownModelNameError, UpstreamError
from service.settings import Settings
from service.transformer.input_spec import Frame
from service.transformer.transformer import Transformer
from service.transformer.upstream import Upstream

ASK_AGAIN_S = 0.5
_EXTENSION = "binary_tensor_data"
_SYSTEM_RANDOM = SystemRandom()

_log = logging.getLogger(__name__)


class TransformerState(ServerState):
    """Ready while its upstream is.

    Attributes:
        upstream: the server that it is on.
        transformer: what defends and forwards.
    """

    def __init__(self, settings: Settings) -> None:
        """Set up; :meth:`load` connects.

        Raises:
            ManifestError: that of the upstream's input cannot be read.
        """
        super().__init__(settings)
        path = settings.predictor_manifest
        self._manifest = None if path is None else Manifest.read(path)
        self.upstream = Upstream(str(settings.predictor_host))
        self.transformer = Transformer(settings, self.metrics, self.upstream)
        self._frame: Frame | None = None
        self._upstream_ready = False

    @property
    def model_name(self) -> str:
        """The model's name, here and there."""
        return str(self.settings.model_name)

    @property
    def frame(self) -> Frame:
        """What the upstream takes.

        Raises:
            NotReadyError: that has not been learned yet.
        """
        if self._frame is None:
            raise NotReadyError("The classifier behind this server is not there yet.")
        return self._frame

    async def load(self) -> None:
        """Wait for the upstream and learn what it takes; once that is known, learn it anew.

        Raises:
            ManifestError: it takes no images, as far as it tells.
            DefenseError: a defence that images of its size cannot have.
            UpstreamError: it is not ready, and was before.
        """
        host, told = self.settings.predictor_host, ""
        while True:
            try:
                await self._ask()
                frame = await self._learn()
                break
            except UpstreamError as error:
                if self._frame is not None:
                    raise
                problem = str(error.__cause__ or error)
                if problem != told:
                    _log.info("Waiting for %s on %s: %s", self.model_name, host, problem)
                    told = problem
            await asyncio.sleep(ASK_AGAIN_S)
        if frame.fixed:
            size = frame.manifest.input.height_px, frame.manifest.input.width_px
            for pipeline in self.settings.pipelines.values():
                pipeline.sample(_SYSTEM_RANDOM, size)
        self._frame = frame
        self.metrics.model.info({"name": self.model_name, "provider": "upstream"})
        _log.info("Forwarding to %s on %s behind %s", self.model_name, host, self.settings.defense)

    @property
    def is_ready(self) -> bool:
        """Whether the upstream was, when it was last asked, and this server is not stopping."""
        return self._frame is not None and self._upstream_ready and not self.draining

    async def check_ready(self) -> None:
        """Ask the upstream; see :class:`ServerState`."""
        if self.draining:
            raise NotReadyError("The server is stopping.")
        self.frame  # noqa: B018  # raises NotReadyError
        try:
            await self._ask()
        except UpstreamError:
            raise NotReadyError("The classifier behind this server is not ready.") from None

    async def close(self) -> None:
        """Close the connections."""
        self.draining = True
        self.reader.shutdown(wait=False, cancel_futures=True)
        self.transformer.stop()
        await self.upstream.close()

    async def _ask(self) -> None:
        v2 = self.settings.predictor_protocol == "v2"
        path = f"/v2/models/{self.model_name}/ready" if v2 else f"/v1/models/{self.model_name}"
        try:
            reply = await self.upstream.get(path)
            if reply.status != httpx2.codes.OK:
                raise UpstreamError(f"it answers {path} with status {reply.status}")
        except UpstreamError:
            self._upstream_ready = False
            raise
        self._upstream_ready = True

    async def _learn(self) -> Frame:
        if self.settings.predictor_protocol == "v1":
            return Frame() if self._manifest is None else Frame.of_manifest(self._manifest)
        extensions = (await self._document("/v2")).get("extensions")
        binary = isinstance(extensions, list) and _EXTENSION in extensions
        if self._manifest is not None:
            return Frame.of_manifest(self._manifest, binary=binary)
        metadata = await self._document(f"/v2/models/{self.model_name}")
        return Frame.of_metadata(metadata, binary=binary)

    async def _document(self, path: str) -> dict[str, Any]:
        reply = await self.upstream.get(path)
        if reply.status >= httpx2.codes.INTERNAL_SERVER_ERROR:
            raise UpstreamError(f"it answers {path} with status {reply.status}")
        try:
            document = from_json(reply.body)
        except ValueError:
            document = None
        if reply.status != httpx2.codes.OK or not isinstance(document, dict):
            raise ManifestError(
                f"The upstream answers {path} with status {reply.status}, and not with a JSON "
                "object: it does not speak the Open Inference Protocol v2."
            )
        return document


def served(request: Request, model: str) -> TransformerState:
    """The state of the server, where the model is the one that is behind it.

    Raises:
        UnknownModelNameError: it is another one.
    """
    state: TransformerState = request.app.state.warpguard
    if model != state.model_name:
        raise UnknownModelNameError(
            f"There is no model {model[:80]!a} here; {state.model_name!r} is served."
        )
    return state
