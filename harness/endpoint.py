"""A client for the endpoint under attack: its description, and its answers to images over HTTP.

Images are posted without loss: to ``/v1/predict`` as PNG, and over the Open Inference Protocol as
raw tensors, with 8 bits a value or, without rounding, as FP32.
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
    """How an endpoint describes itself.

    Attributes:
        model: the name of the served model.
        model_sha256: the SHA-256 of its ONNX graph.
        height_px, width_px: the size of the model's input.
        defense: the specification of the defence that is used for this target.
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
    """Load the trusted certificates once: it takes 30 ms, and a table has dozens of targets."""
    return httpx2.create_ssl_context()


class HttpTarget:
    """A running service. Several threads may use one target.

    Attributes:
        description: how the service describes itself.
        protocol: how images are posted.
        queries: how many posted images were answered.
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
        """Connect to a service and read its description.

        Args:
            url: the address, such as ``http://127.0.0.1:8080``.
            defense: a defence that the service allows; by default its own default.
            protocol: ``v2`` posts tensors, ``v1`` posts PNG files.
            api_key: the API key, if the service requires one.
            transport: what makes the requests, for tests.

        Raises:
            EndpointError: the service cannot be reached, is not a warpguard service that runs its
                own model, does not allow the defence, or has another version of it.
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
        """The address without user and password."""
        return str(self._client.base_url.copy_with(username=None, password=None)).rstrip("/")

    def close(self) -> None:
        """Close the connections and stop the threads."""
        self._threads.shutdown(cancel_futures=True)
        self._client.close()

    def classes(self, images: Sequence[Posted]) -> NDArray[np.intp]:
        """Return the most probable class of each image, each on a fresh draw: ``(n,)``.

        Raises:
            EndpointError: the service cannot be reached, or refuses the request.
        """
        class_of = self._class_v1 if self.protocol == "v1" else self._class_v2
        return np.array(list(self._threads.map(class_of, images)), np.intp)

    def probabilities(self, images: Sequence[Posted], draws: int = 1) -> NDArray[np.float32]:
        """Return the mean probabilities over fresh draws: ``(n, classes)`` float32.

        Raises:
            EndpointError: the service cannot be reached, refuses the request, or is configured to
                return less than all probabilities.
        """

        def probabilities_of(image: Posted) -> NDArray[np.float32]:
            if self.protocol == "v1":
                return self._probabilities_v1(image, draws)
            values: NDArray[np.float32]
            (values,) = self._outputs_v2(image, ["probabilities"], draws)["probabilities"]
            return values

        by_image: NDArray[np.float32] = np.stack(list(self._threads.map(probabilities_of, images)))
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
            raise EndpointError(
                f"{self.url} returns only the most probable class, but this attack needs all "
                "probabilities. Start it with --response-detail full."
            )
        values = np.zeros(len(ranked), np.float32)
        for each in ranked:
            values[each["index"]] = each["probability"]
        return values

    def _post_v1(self, image: Posted, draws: int, top_k: int) -> dict[str, Any]:
        if image.dtype != np.uint8:
            raise EndpointError("Images without rounding need --protocol v2; v1 posts 8-bit PNG.")
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", compress_level=1)
        query = {"defense": self.description.defense, "draws": draws, "top_k": top_k}
        reply = self._request("POST", "/v1/predict", params=query, content=file.getvalue())
        answer: dict[str, Any] = reply.json()
        return answer

    def _outputs_v2(
        self, image: Posted, wanted: Sequence[str], draws: int
    ) -> dict[str, NDArray[Any]]:
        """Post an image and return the wanted outputs by name, or the endpoint's default ones."""
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
        """Make one request, and repeat it while the endpoint is busy."""
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
            listed = self._request("GET", "/v1/defenses").json()
            operations = {each["name"]: each["operations"] for each in listed["defenses"]}
            allowed = ", ".join(operations)
            chosen = listed["default"] if defense is None else str(Pipeline.parse(defense))
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
                f"{self.url} does not describe itself as a warpguard service with its own model. "
                "Give the address of 'warpguard serve' without --predictor-host."
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
                f"{self.url} defends with {theirs}, but in this version {chosen!r} is {own}. "
                "Use the harness of the version that is served."
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
    """Return how long to wait. The header may also be a date, which counts as one second."""
    try:
        return min(max(float(retry_after or 1), 0.05), _LONGEST_WAIT_S)
    except ValueError:
        return 1.0
