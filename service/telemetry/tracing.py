"""Traces: off, unless there is a collector to send them to."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import AnyHttpUrl


class TracesError(Exception):
    """Traces are asked for, and cannot be made."""


@contextmanager
def sent_to(endpoint: AnyHttpUrl | None) -> Iterator[None]:
    """Send traces to a collector meanwhile; without an address, make none.

    Raises:
        TracesError: what it needs is not installed.
    """
    if endpoint is None:
        yield
        return
    try:
        from service.telemetry import otlp  # an extra, and not loaded for nothing
    except ImportError as error:
        raise TracesError(
            f"--otel-endpoint needs the extra 'otel': pip install 'warpguard[otel]' ({error})."
        ) from None
    stop = otlp.start(str(endpoint))
    try:
        yield
    finally:
        stop()
