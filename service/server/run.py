"""``warpguard serve``: the application in uvicorn."""

import logging
import os
import sys
import threading
import time

import cv2

from defenses import DefenseError
from models import Classifier, ModelError, Store, choose, resolve
from service.app import create_app
from service.errors import ServiceError, SetupError
from service.images import isolated
from service.server.process import raise_open_file_limit, tune_malloc
from service.server.server import Server
from service.settings import ModelSettings, Settings
from service.settings.environment import unknown_variables
from service.signals.names import OnEvent
from service.telemetry import logs, tracing

_log = logging.getLogger(__name__)
_THREADS_END_S = 0.2
_SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep Python's lock while others wait. It is less than the event loop needs
for one request, so a thread that returns from NumPy does not wait for a whole request."""


def load_classifier(settings: ModelSettings) -> Classifier:
    """Load the model that the settings name.

    Raises:
        ModelError: the model does not exist, or cannot be loaded.
    """
    store = Store(settings.store)
    chosen = choose(
        store, resolve(store, settings.model), settings.precision, device=settings.device
    )
    return Classifier(
        chosen.manifest,
        chosen.graph_bytes,
        device="cpu" if settings.precision == "int8" else settings.device,
        threads=settings.threads_per_inference,
        precision_reason=chosen.reason,
    )


def serve(settings: Settings) -> int:
    """Serve until a signal, and return the exit code. Errors are in the log."""
    logs.configure(settings.log_format, settings.log_level)
    for warning in unknown_variables(os.environ, Settings.model_fields):
        _log.warning("%s", warning)
    if settings.min_agreement and settings.draws == 1:
        _log.warning(
            "--min-agreement %g needs answers of several draws. A request has one draw unless it "
            "asks for more, such as draws=8, or --draws is given; an answer of one draw is never "
            "unsure",
            settings.min_agreement,
        )
    if settings.key_rate is not None and settings.api_keys is None:
        _log.warning("--key-rate limits nothing without --api-keys")
    code = 1
    try:
        with tracing.sent_to(settings.otel_endpoint) as on_event:
            code = _serve(settings, on_event)
    except (ModelError, DefenseError, ServiceError, SetupError, OSError) as error:
        _log.critical("%s", error)
    isolated.close()  # threads wait for these processes
    _leave_threads(code)
    return code


def _serve(settings: Settings, on_event: OnEvent) -> int:
    if settings.predictor_host is None:  # a wrong name is an error before the port is taken
        resolve(Store(settings.store), settings.model)
    tune_malloc()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    raise_open_file_limit(settings.max_connections)
    cv2.setNumThreads(1)  # images are processed side by side, each in a thread of its own

    app = create_app(
        settings,
        lambda: load_classifier(settings),
        on_failure=lambda: server.stop_at_once(),
        on_event=on_event,
    )
    server = Server(app, settings)
    try:
        server.run()
    except SystemExit:  # uvicorn raises it if the application does not start, and logs why
        return 1
    if server.backend.failure is not None:
        raise server.backend.failure
    return 0 if server.started else 1


def _leave_threads(code: int) -> None:
    """Exit at once if a thread does not end, since Python would wait for it."""
    give_up = time.monotonic() + _THREADS_END_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, give_up - time.monotonic()))
            if thread.is_alive():
                level = logging.INFO if code else logging.ERROR  # a failed start leaves its loader
                _log.log(level, "The thread %s is still working; exiting without it", thread.name)
                logging.shutdown()
                os._exit(code)
