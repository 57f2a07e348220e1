"""``warpguard serve``: the application in uvicorn."""

import asyncio
import logging
import math
import os
import signal
import socket
import sys
import threading
from types import FrameType

import cv2
import uvicorn
from fastapi import FastAPI

from models import Classifier, Store, ensure, resolve
from service.app import create_app
from service.memory import keep_freed_memory
from service.settings import Settings
from service.state import State

_log = logging.getLogger(__name__)


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

    app = create_app(
        settings, lambda: load_classifier(settings), on_failure=lambda: server.stop_at_once()
    )
    server = _Server(app, settings)
    try:
        server.run()
    except SystemExit:  # uvicorn's own, when the port is taken; it has logged why
        return 1
    if server.state.failure is not None:
        raise server.state.failure
    if server.state.is_inferring:
        # Python would wait for the threads that run the model, and one of them may never end.
        _log.error("The model still runs %g s after the signal; leaving it", settings.drain_seconds)
        logging.shutdown()
        os._exit(0)
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """uvicorn, which is not ready from the first signal on, and then stops; and which reloads."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=math.ceil(
                    settings.drain_seconds - settings.drain_delay_seconds
                ),
            )
        )
        self.state: State = app.state.warpguard
        self._delay_s = settings.drain_delay_seconds
        self._reloading: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and from now on load the model anew on SIGHUP."""
        await super().startup(sockets)
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._on_sighup)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop after the delay; at once at a second signal."""
        del sig, frame
        if self.state.draining or not self._delay_s:
            self.stop_at_once()
        else:
            threading.Timer(self._delay_s, self.stop_at_once).start()
        self.state.drain()

    def stop_at_once(self) -> None:
        """Accept nothing more, answer what was accepted, and return from run()."""
        self.should_exit = True

    def _on_sighup(self) -> None:
        async def reload() -> None:
            try:
                await self.state.load()
            except Exception:  # noqa: BLE001  # whatever is wrong with the new one
                _log.exception("The model was not loaded anew; the one before goes on")

        task = asyncio.ensure_future(reload())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)
