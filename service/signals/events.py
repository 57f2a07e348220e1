"""Where events go: the log, a file, and a function."""

import json
import logging
import os
import time
from pathlib import Path

from service.errors import SetupError
from service.signals.episode import Episode
from service.signals.event import finding, sentence
from service.signals.names import OnEvent
from service.telemetry import logs

_log = logging.getLogger(__name__)


class EventsFileError(SetupError):
    """The file of ``--events-file`` cannot be written."""


class Events:
    """Reports the events of one server."""

    def __init__(self, file: Path | None, on_event: OnEvent, *, clients_are_keys: bool) -> None:
        """Check the file.

        Args:
            file: where each event is a line, besides the log.
            on_event: called with each event.
            clients_are_keys: whether a client is the name of a key; otherwise it is an address.

        Raises:
            EventsFileError: the file cannot be written.
        """
        self._file = file
        self._on_event = on_event
        self._clients_are_keys = clients_are_keys
        if file is not None:
            try:
                _append(file, "")
            except OSError as error:
                raise EventsFileError(
                    f"--events-file {file} cannot be written: {error.strerror}."
                ) from None

    def report(self, client: str, episode: Episode, now_s: float) -> None:
        """Report the state of a client's episode at a time of :func:`time.monotonic`."""
        begun_s = time.time() - time.monotonic()
        event = finding(
            client,
            episode,
            is_key=self._clients_are_keys,
            epoch_ms=lambda at_s: int(1e3 * (begun_s + at_s)),
            now_s=now_s,
        )
        _log.warning("%s", sentence(client, episode), extra=logs.fields({"event": event}))
        if self._file is not None:
            try:
                _append(self._file, json.dumps(event) + "\n")
            except OSError as error:
                _log.error("--events-file cannot be written: %s", error.strerror)
        self._on_event(event)


def _append(path: Path, line: str) -> None:
    """Append to a file, which may have been rotated; only its owner can read a new one."""
    at_once = getattr(os, "O_NONBLOCK", 0)  # a named pipe without a reader is an error
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | at_once, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
