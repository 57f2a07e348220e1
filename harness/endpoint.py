"""The endpoint under attack, over HTTP: what it says of itself, and what it answers to images.

Images are posted without loss: under ``/v1/predict`` as PNG, under the Open Inference Protocol as
raw tensors, of 8 bits or, for the setting without rounding, as FP32.
"""

import io
import json
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defenses import DefenseError, Pipeline
from harness.errors import EndpointError
from harness.types import Posted

Protocol = Literal["v1", "v2"]
CONCURRENT_REQUESTS = 8
GIVE_UP_AFTER_S = 120.0
_LONGEST_WAIT_S = 5.0
_BUSY = (429, 503)


@dataclass(frozen=True)
class Description:
    """What an endpoint says of itself.

    Attributes:
        model: the served model's name.
        model_sha256: of its ONNX graph.
        height_px, width_px: of the model's input.
        defense: the specification that images are defended with here.
    """

    model: str
    model_sha256: str | None
    height_px: int
    width_px: int
    defense: str

    @property
    def pipeline(self) -> Pipeline:
        """The defence."""
        return Pipeline.parse(self.defense)


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust; reading them takes 30 ms, and a table of the paper has dozens of targets."""
    return httpx2.create_ssl_context()


class HttpTarget:
    """A running service; threads may share it.

    Attributes:
        description: what it said of itself.
        protocol: how images are posted.
        queries: how many images it was asked about.
    """

    def __init__(
        self,
        url: str,
        *,
        defense: str | None = None,
        protocol: Protocol = "v2",
        api_key: str | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Ask the endpoint what it is.

        Args:
            url: such as ``http://127.0.0.1:8080``.
            defense: one of those it allows; by default its own.
            protocol: ``v2`` posts tensors, ``v1`` PNG files.
            api_key: where it wants one.
            transport: how requests are made; for tests.

        Raises:
            EndpointError: it cannot be reached, is not a warpguard service that runs its model
                itself, or defends differently from the defence of that name here.
        """
        self.url, self.protocol = url.rstrip("/"), protocol
        self.queries = 0
        self._counting = threading.Lock()
        self._client = httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=GIVE_UP_AFTER_S,
            transport=transport,
            verify=_certificates(),
        )
        self._threads = ThreadPoolExecutor(CONCURRENT_REQUESTS, thread_name_prefix="endpoint")
        try:
            self.description = self._describe(defense)
        except EndpointError:
            self.close()
            raise

    def __enter__(self) -> "HttpTarget":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def public_url(self) -> str:
        """The address without a user and a password."""
        return str(self._client.base_url.copy_with(username=None, password=None)).rstrip("/")

    def close(self) -> None:
        """Give the connections back."""
        self._threads.shutdown(cancel_futures=True)
        self._client.close()

    def classes(self, images: Sequence[Posted]) -> NDArray[np.intp]:
        """The most probable class of each image, each on a fresh draw: ``(n,)``.

        Raises:
            EndpointError: it cannot be reached, or refuses.
        """
        ask = self._class_v1 if self.protocol == "v1" else self._class_v2
        return np.array(list(self._threads.map(ask, images)), np.intp)

    def probabilities(self, images: Sequence[Posted], draws: int = 1) -> NDArray[np.float32]:
        """The mean over fresh draws of the probabilities: ``(n, classes)`` float32.

        Raises:
            EndpointError: it cannot be reached, refuses, or is set to tell less than that.
        """

        def ask(image: Posted) -> NDArray[np.float32]:
            if self.protocol == "v1":
                return self._probabilities_v1(image, draws)
            values: NDArray[np.float32]
            (values,) = self._outputs_v2(image, ["probabilities"], draws)["probabilities"]
            return values

        by_image: NDArray[np.float32] = np.stack(list(self._threads.map(ask, images)))
        return by_image

    def _class_v1(self, image: Posted) -> int:
        answer = self._post_v1(image, draws=1, top_k=1)
        return int(answer["predictions"][0]["index"])

    def _class_v2(self, image: Posted) -> int:
        outputs = self._outputs_v2(image, [], 1)
        if "index" in outputs:
            return int(outputs["index"][0])
        return int(outputs["probabilities"][0].argmax())

    def _probabilities_v1(self, image: Posted, draws: int) -> NDArray[np.float32]:
        ranked = self._post_v1(image, draws=draws, top_k=1000)["predictions"]
        if len(ranked) == 1 or "probability" not in ranked[0]:
            raise EndpointError(f"{self.url} tells one class alone; this attack needs all scores.")
        values = np.zeros(len(ranked), np.float32)
        for each in ranked:
            values[each["index"]] = each["probability"]
        return values

    def _post_v1(self, image: Posted, draws: int, top_k: int) -> dict[str, Any]:
        if image.dtype != np.uint8:
            raise EndpointError("Images without rounding need the protocol v2.")
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", compress_level=1)
        query = {"defense": self.description.defense, "draws": draws, "top_k": top_k}
        reply = self._request("POST", "/v1/predict", params=query, content=file.getvalue())
        answer: dict[str, Any] = reply.json()
        return answer

    def _outputs_v2(
        self, image: Posted, wanted: Sequence[str], draws: int
    ) -> dict[str, NDArray[Any]]:
        """The outputs by name; what is not wanted by name is what the endpoint tells by default."""
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
            "parameters": {
                "binary_data_output": True,
                "defense": self.description.defense,
                "draws": draws,
            },
        }
        if wanted:
            head["outputs"] = [{"name": name} for name in wanted]
        text = json.dumps(head).encode()
        reply = self._request(
            "POST",
            f"/v2/models/{self.description.model}/infer",
            content=text + raw,
            headers={"Inference-Header-Content-Length": str(len(text))},
        )
        return _binary_outputs(reply)

    def _request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request; waits and asks again while the endpoint is busy."""
        give_up = time.monotonic() + GIVE_UP_AFTER_S
        while True:
            try:
                reply = self._client.request(method, path, **options)
            except httpx2.HTTPError as error:
                raise EndpointError(
                    f"{self.url} cannot be reached: {str(error).rstrip('.')}."
                ) from None
            if reply.status_code not in _BUSY or time.monotonic() > give_up:
                break
            time.sleep(_wait_s(reply.headers.get("Retry-After")))
        if reply.status_code != httpx2.codes.OK:
            raise EndpointError(
                f"{self.url}{path} answered {reply.status_code}: {reply.text[:300]}"
            )
        if method == "POST":
            with self._counting:
                self.queries += 1
        return reply

    def _describe(self, defense: str | None) -> Description:
        try:
            model = self._request("GET", "/v1/models").json()["models"][0]
            told = self._request("GET", "/v1/defenses").json()
            operations = {each["name"]: each["operations"] for each in told["defenses"]}
            allowed = ", ".join(operations)
            chosen = told["default"] if defense is None else str(Pipeline.parse(defense))
            description = Description(
                model=model["name"],
                model_sha256=model["sha256"],
                height_px=model["input"]["height_px"],
                width_px=model["input"]["width_px"],
                defense=chosen,
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, DefenseError):
                raise EndpointError(f"{error} {self.url} allows {allowed}.") from None
            raise EndpointError(
                f"{self.url} does not describe itself as a warpguard service that runs a model."
            ) from None
        if chosen not in operations:
            raise EndpointError(
                f"{self.url} does not allow the defence {chosen!r}, only {allowed}. "
                f"Start it with --allow-defense {chosen!r}."
            )
        own = [
            {"name": each.name, "parameters": asdict(each)}
            for each in description.pipeline.operations
        ]
        theirs = [{k: each[k] for k in ("name", "parameters")} for each in operations[chosen]]
        if own != theirs:
            raise EndpointError(
                f"{self.url} defends with {theirs}, but {chosen!r} is {own} here. Use the harness "
                "of the version that is served."
            )
        return description


def _binary_outputs(reply: httpx2.Response) -> dict[str, NDArray[Any]]:
    kinds = {"FP32": np.float32, "INT64": np.int64, "UINT8": np.uint8}
    length = int(reply.headers.get("Inference-Header-Content-Length", len(reply.content)))
    head, offset = json.loads(reply.content[:length]), length
    outputs: dict[str, NDArray[Any]] = {}
    for output in head["outputs"]:
        size = output["parameters"]["binary_data_size"]
        if output["datatype"] in kinds:
            raw = np.frombuffer(reply.content, np.uint8, size, offset)
            outputs[output["name"]] = raw.view(kinds[output["datatype"]]).reshape(output["shape"])
        offset += size
    return outputs


def _wait_s(retry_after: str | None) -> float:
    """How long to wait; a date, which the header may also be, counts as one second."""
    try:
        return min(max(float(retry_after or 1), 0.05), _LONGEST_WAIT_S)
    except ValueError:
        return 1.0
