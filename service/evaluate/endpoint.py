"""A model behind a running ``warpguard serve``, which draws by itself."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import httpx2
from pydantic import BaseModel, JsonValue, ValidationError

from service.api.schemas import DefensesAnswer, ModelsAnswer, PredictAnswer, PredictTopAnswer
from service.error_response import ErrorAnswer
from service.errors import (
    BadImageError,
    BadRequestError,
    BodyTooLargeError,
    ImageTooSmallError,
    SetupError,
    TooManyPixelsError,
    UnsupportedMediaError,
)
from service.evaluate.conditions import Condition
from service.evaluate.outcomes import TOP, Answer, Outcome, UnreadableError

AT_ONCE = 4
"""How many requests are made at once."""
_ANSWER_WITHIN_S = 120.0
_GIVE_UP_AFTER_S = 120.0
_LONGEST_WAIT_S = 5.0
_BUSY = (429, 503, 504)
_OF_THE_FILE = {
    kind.code
    for kind in (
        BadImageError,
        BadRequestError,
        BodyTooLargeError,
        ImageTooSmallError,
        TooManyPixelsError,
        UnsupportedMediaError,
    )
}
"""The codes of errors for which another file may be answered."""

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class EndpointError(SetupError):
    """The endpoint cannot be reached, refuses, or is not the expected one."""


class Endpoint:
    """A model behind an endpoint. Each number of draws is asked for by a request of its own."""

    def __init__(
        self,
        url: str,
        draws: Sequence[int],
        conditions: Sequence[Condition],
        key: str | None,
        labels_of: Callable[[str, str | None], Sequence[str] | None],
    ) -> None:
        """Ask the endpoint what it serves.

        Args:
            url: its address, such as ``http://127.0.0.1:8080``.
            draws: the numbers of draws to ask for.
            conditions: the defences that it has to allow.
            key: its API key; None if it needs none.
            labels_of: returns the labels of a model's classes by its name and SHA-256, if they are
                known on this machine. An endpoint does not list them.

        Raises:
            EndpointError: it is not a warpguard service with a model of its own, or does not allow
                one of the defences.
        """
        try:
            self._client = httpx2.Client(
                base_url=url,
                headers={} if key is None else {"authorization": f"Bearer {key}"},
                timeout=_ANSWER_WITHIN_S,
            )
            self.endpoint: str | None = str(self._client.base_url).rstrip("/")
        except (httpx2.InvalidURL, ValueError) as error:
            raise EndpointError(
                f"{url} is not a valid address: {error}. Give one such as http://127.0.0.1:8080."
            ) from None
        try:
            models = self._get("/v1/models", ModelsAnswer).models
            if not models:
                raise EndpointError(f"{self.endpoint} serves no model.")
            model = models[0]
            self._require_allowed(conditions)
        except BaseException:
            self.close()
            raise
        self.model = model.name
        self.classes = model.classes
        self.labels = labels_of(model.name, model.sha256)
        if self.labels is not None and len(self.labels) != self.classes:
            self.labels = None
        self.provider = model.provider
        self.seed: int | None = None
        self.parallel = self.workers = AT_ONCE
        self.cost = f"one request of {AT_ONCE} at once, as this machine sees it"
        self.identity: Mapping[str, JsonValue] = {
            "model": model.name,
            "sha256": model.sha256,
            "draws": list(draws),
            "endpoint": self.endpoint,
        }
        self._draws = draws

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def answer(self, body: bytes, conditions: Sequence[Condition]) -> dict[str, Outcome]:
        """Classify an image file under each condition; see :class:`Subject`."""
        found = {}
        for condition in conditions:
            answers, ms = {}, {}
            for draws in self._draws if condition.drawn else (1,):
                query = {"defense": condition.name, "draws": draws, "top_k": TOP}
                reply, seconds = self._send("POST", "/v1/predict", params=query, content=body)
                answers[draws] = (_answer(reply),)
                ms[draws] = round(1e3 * seconds, 4)
            found[condition.name] = Outcome(answers=answers, ms=ms)
        return found

    def _require_allowed(self, conditions: Sequence[Condition]) -> None:
        listed = [each.name for each in self._get("/v1/defenses", DefensesAnswer).defenses]
        refused = [each.name for each in conditions if each.name not in listed]
        if refused:
            flags = " ".join(f"--allow-defense {name!r}" for name in refused)
            raise EndpointError(
                f"{self.endpoint} does not allow {', '.join(refused)}, only {', '.join(listed)}. "
                f"Start a server with {flags}, or name other defences with --defense. The defence "
                "none is always needed, because the others are compared with it."
            )

    def _get(self, path: str, kind: type[AnswerT]) -> AnswerT:
        reply, _ = self._send("GET", path)
        return _read(reply, kind)

    def _send(self, method: str, path: str, **options: object) -> tuple[httpx2.Response, float]:
        """Send a request, again while the endpoint is busy; returns the seconds of the last one."""
        give_up_s = time.monotonic() + _GIVE_UP_AFTER_S
        while True:
            begun_s = time.monotonic()
            try:
                reply = self._client.request(method, path, **options)  # type: ignore[arg-type]
            except (httpx2.HTTPError, OSError) as error:
                raise EndpointError(
                    f"{self.endpoint} cannot be reached: {str(error).rstrip('.') or 'no answer'}."
                ) from None
            if reply.status_code not in _BUSY or time.monotonic() > give_up_s:
                break
            time.sleep(_wait_s(reply.headers.get("retry-after")))
        if reply.status_code != httpx2.codes.OK:
            raise self._error(path, reply)
        return reply, time.monotonic() - begun_s

    def _error(self, path: str, reply: httpx2.Response) -> Exception:
        try:
            error = ErrorAnswer.model_validate_json(reply.content).error
        except ValidationError:
            what = f"{reply.status_code}, which is not an answer of warpguard"
        else:
            if error.code in _OF_THE_FILE and path == "/v1/predict":
                return UnreadableError(error.message)
            what = f"{reply.status_code}: {error.message}"
        to_do = ""
        if reply.status_code == httpx2.codes.UNAUTHORIZED:
            to_do = " Give its key with --api-key-file."
        elif reply.status_code == httpx2.codes.NOT_FOUND:
            to_do = (
                " Give the address of a server with a model of its own: one with --predictor-host "
                "only defends images on their way to another server."
            )
        return EndpointError(f"{self.endpoint}{path} answered {what}{to_do}")


def _read(reply: httpx2.Response, kind: type[AnswerT]) -> AnswerT:
    try:
        return kind.model_validate_json(reply.content)
    except ValidationError:
        raise EndpointError(f"{reply.url} sent an answer that is not one of warpguard.") from None


def _answer(reply: httpx2.Response) -> Answer:
    """Read an answer, which an operator may have reduced to the most probable class."""
    try:
        full = PredictAnswer.model_validate_json(reply.content)
    except ValidationError:
        top = _read(reply, PredictTopAnswer)
        return Answer(top=tuple(each.index for each in top.predictions), agreement=None)
    return Answer(top=tuple(each.index for each in full.predictions), agreement=full.agreement)


def _wait_s(retry_after: str | None) -> float:
    try:
        return min(_LONGEST_WAIT_S, max(0.05, float(retry_after or 1)))
    except ValueError:  # a date
        return 1.0
