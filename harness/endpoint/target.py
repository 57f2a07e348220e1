"""The endpoint under attack: images are posted to it without loss, and its answers are checked.

Images are posted to ``/v1/predict`` as PNG, and over the Open Inference Protocol as raw tensors,
with 8 bits a value or, without rounding, as FP32.
"""

import io
import json
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Self, TypedDict, Unpack
from urllib.parse import quote

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.endpoint import answers, tensors
from harness.endpoint.answers import document
from harness.endpoint.description import Description, describe
from harness.endpoint.metadata import ModelMetadata
from harness.endpoint.transport import Answer, Transport
from harness.errors import EndpointError, HiddenProbabilitiesError
from harness.types import Posted

Protocol = Literal["v1", "v2", "oip"]
CONCURRENT_REQUESTS = 8
CONFIRM_EVERY_S = 60.0
"""How often the model is asked for again during a long round, whose answers are not stored yet."""
_MOST_RANKED = 1000
"""How many classes ``/v1/predict`` names at the most."""


class Connection(TypedDict, total=False):
    """How an endpoint is reached; see :class:`Target`."""

    api_key: str | None
    headers: Sequence[tuple[str, str]]
    certificates: ssl.SSLContext | None
    transport: httpx2.AsyncBaseTransport | None


class Target(ABC):
    """An endpoint that is attacked. Several threads may use one target.

    Attributes:
        url: the address, without user and password.
        description: what the endpoint serves.
        protocol: how images are posted.
        queries: how many posted images were answered.
    """

    description: Description

    def __init__(
        self,
        url: str,
        protocol: Protocol,
        *,
        api_key: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        certificates: ssl.SSLContext | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Connect to an endpoint, and find out what it serves.

        Args:
            url: the address, such as ``http://127.0.0.1:8080``.
            protocol: how images are posted.
            api_key: the API key, if the endpoint requires one.
            headers: further headers of each request.
            certificates: the trusted authorities; by default those of the system.
            transport: what makes the requests, for tests.

        Raises:
            EndpointError: the endpoint cannot be reached, or is not one that can be attacked.
        """
        self.protocol: Protocol = protocol
        self.queries = self._confirmed = 0
        self._confirmed_s = time.monotonic()
        self._counting = threading.Lock()
        key = [("Authorization", f"Bearer {api_key}")] if api_key else []
        self._transport = Transport(url, [*headers, *key], certificates, transport)
        self.url = self._transport.url
        self._threads = ThreadPoolExecutor(CONCURRENT_REQUESTS, thread_name_prefix="endpoint")
        try:
            self._begin()
        except EndpointError:
            self.close()
            raise

    @abstractmethod
    def _begin(self) -> None:
        """Find out what the endpoint serves, and set the description."""

    @abstractmethod
    def _changed(self) -> str:
        """Return what the endpoint serves now instead of what it served; empty if the same."""

    @abstractmethod
    def _class(self, image: Posted) -> int:
        """Post an image, and return its most probable class."""

    @abstractmethod
    def _probabilities(self, image: Posted, draws: int) -> NDArray[np.float32]:
        """Post an image, and return the mean probabilities over draws: ``(classes,)``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._transport.close()

    def confirm(self) -> None:
        """Require that all answers since the last call came from the model of the description.

        Raises:
            EndpointError: the endpoint describes itself differently now, or cannot be reached.
        """
        queries = self.queries
        if queries == self._confirmed:
            return
        if changed := self._changed():
            raise EndpointError(
                f"{self.url} serves something else than before: {changed}. "
                "The answers since the last confirmed round were not stored. Serve the first model "
                "again to resume, or attack the other model in another folder."
            )
        self._confirmed, self._confirmed_s = queries, time.monotonic()

    def classes(self, images: Sequence[Posted]) -> NDArray[np.intp]:
        """Return the most probable class of each image, each on a fresh draw: ``(n,)``.

        Raises:
            EndpointError: the endpoint cannot be reached, refuses the request, or its answer is
                not valid.
        """
        self._confirm_now_and_then()
        return np.array(list(self._threads.map(self._class, images)), np.intp)

    def probabilities(self, images: Sequence[Posted], draws: int = 1) -> NDArray[np.float32]:
        """Return the mean probabilities over fresh draws: ``(n, classes)`` float32.

        Raises:
            HiddenProbabilitiesError: the endpoint returns the class only.
            EndpointError: the endpoint cannot be reached, refuses the request, or its answer is
                not valid.
        """
        self._confirm_now_and_then()
        of = self._probabilities
        return np.stack(list(self._threads.map(lambda image: of(image, draws), images)))

    def _confirm_now_and_then(self) -> None:
        if time.monotonic() - self._confirmed_s > CONFIRM_EVERY_S:
            self.confirm()

    def _post(self, path: str, content: bytes, **options: Any) -> Answer:
        answer = self._transport.post(path, content, **options)
        with self._counting:
            self.queries += 1
        return answer


class HttpTarget(Target):
    """A running warpguard, which describes its model and its defence."""

    def __init__(
        self,
        url: str,
        *,
        defense: str | None = None,
        protocol: Literal["v1", "v2"] = "v2",
        **connection: Unpack[Connection],
    ) -> None:
        """Connect to a service and read its description.

        Args:
            url: the address, such as ``http://127.0.0.1:8080``.
            defense: a defence that the service allows; by default its own default, unless this
                would read a file of this machine.
            protocol: ``v2`` posts tensors, ``v1`` posts PNG files.
            connection: the key, headers, certificates and transport; see :class:`Target`.

        Raises:
            EndpointError: the service cannot be reached, is not a warpguard service that runs its
                own model, does not allow the defence, or has another version of it.
        """
        self._defense = defense
        super().__init__(url, protocol, **connection)

    def _begin(self) -> None:
        self.description = describe(self._transport.get, self.url, self._defense)
        self._model_path = f"/v2/models/{quote(self.description.model, safe='')}"
        self._outputs = self._output_names() if self.protocol == "v2" else set()

    def _changed(self) -> str:
        now = describe(self._transport.get, self.url, self.description.defense)
        return "" if now == self.description else f"{now}, not {self.description}"

    def upload(self, file: bytes) -> int:
        """Post an image file as it is, and return its most probable class.

        Raises:
            EndpointError: see :meth:`classes`.
        """
        return answers.top_class(self._upload(file, 1, 1), self.description.classes)

    def _class(self, image: Posted) -> int:
        return self._class_v1(image) if self.protocol == "v1" else self._class_v2(image)

    def _probabilities(self, image: Posted, draws: int) -> NDArray[np.float32]:
        of = self._probabilities_v1 if self.protocol == "v1" else self._probabilities_v2
        return of(image, draws)

    def _class_v1(self, image: Posted) -> int:
        return answers.top_class(self._post_v1(image, 1, 1), self.description.classes)

    def _class_v2(self, image: Posted) -> int:
        classes = self.description.classes
        if "index" in self._outputs:
            return tensors.class_index(self._post_v2(image, "index", 1), "index", classes)
        return int(self._probabilities_v2(image, 1).argmax())

    def _probabilities_v1(self, image: Posted, draws: int) -> NDArray[np.float32]:
        classes = self.description.classes
        if classes > _MOST_RANKED:
            raise EndpointError(
                f"/v1/predict names {_MOST_RANKED} classes at the most, but the model has "
                f"{classes}, and this attack needs all probabilities. Use --protocol v2."
            )
        values = answers.all_probabilities(self._post_v1(image, draws, classes), classes)
        return self._all(values)

    def _probabilities_v2(self, image: Posted, draws: int) -> NDArray[np.float32]:
        if "probabilities" not in self._outputs:
            return self._all(None)
        answer = self._post_v2(image, "probabilities", draws)
        shape = 1, self.description.classes
        return tensors.probabilities(answer, "probabilities", shape)

    def _all(self, values: NDArray[np.float32] | None) -> NDArray[np.float32]:
        if values is None:
            raise HiddenProbabilitiesError(
                f"{self.url} returns only the most probable class, but this attack needs all "
                "probabilities. Start it with --response-detail full."
            )
        return values

    def _post_v1(self, image: Posted, draws: int, top_k: int) -> Answer:
        if image.dtype != np.uint8:
            raise EndpointError("Images without rounding need --protocol v2; v1 posts 8-bit PNG.")
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", compress_level=1)
        return self._upload(file.getvalue(), draws, top_k)

    def _upload(self, file: bytes, draws: int, top_k: int) -> Answer:
        query = {"defense": self.description.defense, "draws": draws, "top_k": top_k}
        return self._post("/v1/predict", file, params=query)

    def _post_v2(self, image: Posted, output: str, draws: int) -> Answer:
        raw = np.ascontiguousarray(image).tobytes()
        head: dict[str, Any] = {
            "inputs": [
                {
                    "name": "image",
                    "shape": [1, *image.shape],
                    "datatype": "UINT8" if image.dtype == np.uint8 else "FP32",
                    "parameters": {"binary_data_size": len(raw)},
                }
            ],
            "outputs": [{"name": output}],
            "parameters": {
                "binary_data_output": True,
                "defense": self.description.defense,
                "draws": draws,
            },
        }
        text = json.dumps(head).encode()
        length = {tensors.HEADER_LENGTH: str(len(text))}
        return self._post(f"{self._model_path}/infer", text + raw, headers=length)

    def _output_names(self) -> set[str]:
        metadata = document(self._transport.get(self._model_path), ModelMetadata)
        return {output.name for output in metadata.outputs or ()}
