"""Traces: off unless there is a collector to send them to."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import AnyHttpUrl

from service.errors import SetupError


class TracesError(SetupError):
    """Traces are requested, but the packages for them are not installed."""


@contextmanager
def sent_to(endpoint: AnyHttpUrl | None) -> Iterator[None]:
    """Send traces to a collector during the block; without an address, record none.

    Raises:
        TracesError: the extra ``otel`` is not installed.
    """
    if endpoint is None:
        yield
        return
    try:
        from service.telemetry import otlp  # needs an extra, and is loaded for traces only
    except ImportError as error:
        raise TracesError(
            f"--otel-endpoint needs the extra 'otel': pip install 'warpguard[otel]' ({error})."
        ) from None
    stop = otlp.start(str(endpoint))
    try:
        yield
    finally:
        stop()
