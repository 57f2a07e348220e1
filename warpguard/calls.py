"""The requests of both clients: what is sent, and how its answer is read. Nothing waits here."""

import json
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import httpx2

from warpguard.answers import (
    Answer,
    DefendedImage,
    Defenses,
    FileAnswer,
    FormAnswer,
    FormEntry,
    Model,
    ModelsAnswer,
    Prediction,
)
from warpguard.errors import AnswerError, ApiError, UnreachableError, api_error
from warpguard.reading import read

Image: TypeAlias = str | os.PathLike[str] | bytes
"""An image file: its path, or its bytes."""
T = TypeVar("T")
_SHOWN_OF_AN_ERROR = 300
_PROBE_WITHIN_S = 5.0
_BINARY = "application/octet-stream"


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        method: of HTTP.
        path: the path, below the server's address.
        read: from the answer, whose status is 200, to what it means.
        options: the query and the body, as ``httpx2.Client.request`` takes them.
    """

    method: str
    path: str
    read: Callable[[httpx2.Response], T]
    options: Mapping[str, Any] = field(default_factory=dict)


def predict(image: Image, query: Mapping[str, Any]) -> Call[Answer]:
    """Classify one image."""

    def answer(reply: httpx2.Response) -> Answer:
        found = read(Answer, _json(reply), "answer")
        _require_classes(found)
        return found

    return Call("POST", "/v1/predict", answer, _query(query) | {"content": _content(image)})


def predict_files(
    images: Iterable[Image], query: Mapping[str, Any], batch_size: int
) -> Iterator[Call[list[FileAnswer]]]:
    """Classify images, ``batch_size`` in each request. A file is read when its request is made."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, not {batch_size}.")
    numbered = enumerate(images, start=1)
    while some := list(islice(numbered, batch_size)):
        names = [f"image-{n}" if isinstance(each, bytes) else os.fspath(each) for n, each in some]
        form = [("files", (f"{n}", _content(each), _BINARY)) for n, each in some]
        yield Call("POST", "/v1/predict", _reader_of(names), _query(query) | {"files": form})


def _reader_of(names: list[str]) -> Callable[[httpx2.Response], list[FileAnswer]]:
    def answers(reply: httpx2.Response) -> list[FileAnswer]:
        form = read(FormAnswer, _json(reply), "answer")
        if len(form.results) != len(names):
            raise AnswerError(
                f"answer.results has {len(form.results)} entries for {len(names)} files."
            )
        return [_file_answer(*each, form) for each in zip(names, form.results, strict=True)]

    return answers


def _file_answer(name: str, entry: FormEntry, form: FormAnswer) -> FileAnswer:
    if entry.prediction is None:
        if entry.error is None:
            raise AnswerError(f"The answer to {name} has neither a prediction nor an error.")
        return FileAnswer(name, error=entry.error)
    _require_classes(entry.prediction)
    own = {each.name: getattr(entry.prediction, each.name) for each in fields(Prediction)}
    context = {key: getattr(form, key) for key in ("model", "defense", "draws", "request_id")}
    return FileAnswer(name, Answer(**own, **context))


def defend(image: Image, query: Mapping[str, Any]) -> Call[DefendedImage]:
    """Defend one image."""

    def answer(reply: httpx2.Response) -> DefendedImage:
        return DefendedImage(reply.content, reply.headers.get("x-warpguard-defense", ""))

    return Call("POST", "/v1/defend", answer, _query(query) | {"content": _content(image)})


def models() -> Call[tuple[Model, ...]]:
    """List the served models."""
    return Call(
        "GET", "/v1/models", lambda reply: read(ModelsAnswer, _json(reply), "answer").models
    )


def defenses() -> Call[Defenses]:
    """List the allowed defences."""
    return Call("GET", "/v1/defenses", lambda reply: read(Defenses, _json(reply), "answer"))


def ready() -> Call[None]:
    """Ask whether the server is ready; /readyz may be on a port for operators only."""
    return Call("GET", "/v2/health/ready", lambda _: None, {"timeout": _PROBE_WITHIN_S})


def address(url: str) -> str:
    """Return a server's address without a slash at its end.

    Raises:
        ValueError: it is not one.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError):
        parsed = httpx2.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is not a valid address; write one as http://127.0.0.1:8080.")
    return url.rstrip("/")


def headers(api_key: str | None, more: Mapping[str, str]) -> dict[str, str]:
    """Return what each request sends.

    Raises:
        ValueError: the key cannot be sent. The message does not have the key.
    """
    if api_key is None:
        return dict(more)
    if not (api_key and api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise ValueError(
            "The API key cannot be sent in a header: it is empty, or has a space, a line end or "
            "a character outside of ASCII. If it was read from a file, strip it."
        )
    return {**more, "Authorization": f"Bearer {api_key}"}


def certificates(ca_file: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """Return the trusted authorities: those of a PEM file, or by default those of the system."""
    return (
        httpx2.create_ssl_context()
        if ca_file is None
        else ssl.create_default_context(cafile=os.fspath(ca_file))
    )


def unreachable(url: str, error: Exception) -> UnreachableError:
    """Return the error for a request that got no answer."""
    if isinstance(error, httpx2.TimeoutException):
        return UnreachableError(f"{url} did not answer in time ({type(error).__name__}).")
    return UnreachableError(f"{url} cannot be reached: {str(error).rstrip('.')}.")


def error_of(reply: httpx2.Response) -> ApiError | None:
    """Return the error that an answer reports, or None."""
    if reply.status_code == httpx2.codes.OK:
        return None
    code, message = "", reply.text[:_SHOWN_OF_AN_ERROR].strip()
    try:
        told = reply.json()["error"]
        code, message = str(told["code"]), str(told["message"])
    except (ValueError, LookupError, TypeError):  # not warpguard's; a gateway's, for example
        message = message or reply.reason_phrase
    help_ = reply.headers.get("x-warpguard-help", "")
    return api_error(reply.status_code, code, message, _retry_after_s(reply), help_)


def _retry_after_s(reply: httpx2.Response) -> float | None:
    """Read the header, which has seconds or a date."""
    text = reply.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _query(query: Mapping[str, Any]) -> dict[str, Any]:
    return {"params": {key: value for key, value in query.items() if value is not None}}


def _content(image: Image) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def _json(reply: httpx2.Response) -> Any:
    try:
        return json.loads(reply.content)
    except ValueError:
        raise AnswerError(
            f"{reply.url} did not answer in JSON, but with {reply.text[:80]!r}. Is it a warpguard?"
        ) from None


def _require_classes(found: Prediction) -> None:
    if not found.predictions:
        raise AnswerError("answer.predictions is empty.")
