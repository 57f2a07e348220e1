"""What a collector gets, traces and the events of the signals: nothing, unless there is one."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import AnyHttpUrl

from service.errors import SetupError
from service.signals.names import OnEvent


class TracesError(SetupError):
    """A collector is named, but the packages for it are not installed."""


@contextmanager
def sent_to(endpoint: AnyHttpUrl | None) -> Iterator[OnEvent]:
    """Send traces to a collector during the block; without an address, record none.

    Yields:
        What sends an event of the signals there, too.

    Raises:
        TracesError: the extra ``otel`` is not installed.
    """
    if endpoint is None:
        yield lambda _: None
        return
    try:
        from service.telemetry import otlp  # needs an extra, and is loaded for traces only
    except ImportError as error:
        raise TracesError(
            f"--otel-endpoint needs the extra 'otel': pip install 'warpguard[otel]' ({error})."
        ) from None
    sending = otlp.start(str(endpoint))
    try:
        yield sending.event
    finally:
        sending.stop()
