"""``warpguard serve``: the application in uvicorn."""

import logging
import os
import sys
import threading
import time

import cv2

from defenses import DefenseError
from models import Classifier, ModelError, Store, ensure, resolve
from service.app import create_app
from service.errors import ServiceError, SetupError
from service.server.files import allow_connections
from service.server.memory import keep_freed_memory
from service.server.server import Server
from service.settings import Settings
from service.telemetry import logs
from service.telemetry import tracing as traces

_log = logging.getLogger(__name__)
_THREADS_END_S = 0.2
_SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep Python's lock while others wait: less than the event loop needs for
one request, so that a thread that comes back from NumPy does not wait for all of that."""


def load_classifier(settings: Settings) -> Classifier:
    """The model that the settings name, loaded.

    Raises:
        ModelError: there is none of that name, or it cannot be loaded.
    """
    store = Store(settings.store)
    manifest, graph = ensure(store, resolve(store, settings.model))
    return Classifier(manifest, graph, device=settings.device, threads=settings.threads)


def serve(settings: Settings) -> int:
    """Serve until a signal; return the exit code. What goes wrong is in the log."""
    logs.configure(settings.log_format, settings.log_level)
    code = 1
    try:
        with traces.sent_to(settings.otel_endpoint):
            code = _serve(settings)
    except (
        ModelError,
        DefenseError,
        ServiceError,
        OSError,
        SetupError,
        traces.TracesError,
    ) as error:
        _log.critical("%s", error)
    _leave_threads(code)
    return code


def _serve(settings: Settings) -> int:
    if settings.predictor_host is None:  # a wrong name is told before the port is taken
        resolve(Store(settings.store), settings.model)
    keep_freed_memory()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    allow_connections(settings.max_connections)
    cv2.setNumThreads(1)  # images are worked on side by side, each in a thread of its own

    app = create_app(
        settings, lambda: load_classifier(settings), on_failure=lambda: server.stop_at_once()
    )
    server = Server(app, settings)
    try:
        server.run()
    except SystemExit:  # uvicorn's own, when the port is taken; it has logged why
        return 1
    if server.state.failure is not None:
        raise server.state.failure
    return 0 if server.started else 1


def _leave_threads(code: int) -> None:
    """End with this exit code if there are threads that do not: Python would wait for them."""
    give_up = time.monotonic() + _THREADS_END_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, give_up - time.monotonic()))
            if thread.is_alive():
                _log.error("A thread still works: %s; leaving it", thread.name)
                logging.shutdown()
                os._exit(code)
