"""The log on standard error: text for people, or one JSON object a line.

Every line about a request has the request's id, whichever logger writes it.
"""

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from opentelemetry import trace

REQUEST_ID_HEADER = "x-request-id"
"""The HTTP header with a request's id, both ways."""

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered; None outside of a request."""

_FIELDS = "fields"
_OWN = ("defenses", "models", "service")


def configure(log_format: Literal["auto", "text", "json"], level: str) -> None:
    """Send the lines of all loggers, warnings and uncaught exceptions through one formatter.

    Args:
        log_format: auto is text on a terminal and json otherwise.
        level: the lowest level that is logged.
    """
    if log_format == "auto":
        log_format = "text" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(_rename)
    # Debug is for this project's own loggers: Pillow logs every chunk of an image file there.
    own = getattr(logging, level.upper())
    logging.basicConfig(level=max(own, logging.INFO), handlers=[handler])
    for name in _OWN:
        logging.getLogger(name).setLevel(own)
    logging.captureWarnings(capture=True)
    if log_format == "json":
        sys.excepthook = _log_uncaught


def _rename(record: logging.LogRecord) -> bool:
    """Keep each record, but name uvicorn's own logger without *error*, which is not its level."""
    record.name = "uvicorn" if record.name == "uvicorn.error" else record.name
    return True


def fields(more: Mapping[str, Any]) -> dict[str, Any]:
    """The argument ``extra`` of a log call that adds fields to its JSON object."""
    return {_FIELDS: more}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: RFC 3339 time, level, logger, message, and further fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; in ASCII, so that no character in it looks like the end of a line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= _context()
        more = getattr(record, _FIELDS, None)
        if isinstance(more, Mapping):
            entry = {**entry, **more, **entry}  # its own fields first, and they win
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = record.stack_info
        return json.dumps(entry, default=str)


class TextFormatter(logging.Formatter):
    """A record as a line for people; a message cannot forge another line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The first line; the lines of an exception follow it."""
        line = super().formatMessage(record)
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
        known = request_id.get()
        return line if known is None else f"{line} [{known}]"


def _context() -> dict[str, str]:
    """The ids of the request that is being answered, and of its trace."""
    found: dict[str, str] = {}
    if (known := request_id.get()) is not None:
        found["request_id"] = known
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        found["trace_id"] = trace.format_trace_id(span.trace_id)
    return found


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    logging.getLogger(__name__).critical("Uncaught", exc_info=(kind, error, traceback))
