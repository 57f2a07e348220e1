"""``warpguard serve``: the application in uvicorn."""

import logging
import signal
import sys

import cv2
import uvicorn

from models import Classifier, Store, ensure, resolve
from service.app import create_app
from service.memory import keep_freed_memory
from service.settings import Settings

_GRACE_S = 30


def load_classifier(settings: Settings) -> Classifier:
    """The model that the settings name, loaded.

    Raises:
        ModelError: there is none of that name, or it cannot be loaded.
    """
    store = Store(settings.store)
    manifest, graph = ensure(store, resolve(store, settings.model))
    return Classifier(manifest, graph, device=settings.device, threads=settings.threads)


def serve(settings: Settings) -> int:
    """Serve until a signal; return the exit code.

    Raises:
        ModelError: there is no model of that name.
    """
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    resolve(Store(settings.store), settings.model)  # a wrong name is told before the port is taken
    keep_freed_memory()
    cv2.setNumThreads(1)  # images are worked on side by side, each in a thread of its own

    def stop() -> None:
        server.should_exit = True

    app = create_app(settings, lambda: load_classifier(settings), on_failure=stop)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )
    # uvicorn raises a signal once more after its orderly shutdown, which is the end we want of it.
    for stopping in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stopping, lambda *_: None)
    try:
        server.run()
    except SystemExit:  # uvicorn's own, when the port is taken; it has logged why
        return 1
    failure = app.state.warpguard.failure
    if failure is not None:
        raise failure
    return 0 if server.started else 1
