"""uvicorn with limits, TLS and an admin port; it drains at a signal and reloads at SIGHUP."""

import asyncio
import logging
import math
import signal
import socket
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.app import create_admin_app
from service.backend import Backend
from service.errors import SetupError
from service.server.connection import ConnectionLimits, connection_class
from service.server.greeting import greeting
from service.server.tls import Certificate
from service.settings import Settings

_log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """One server.

    Attributes:
        backend: the application's.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        """Set up a server.

        Raises:
            TlsError: the certificate cannot be used.
        """
        self.backend: Backend[Any] = app.state.backend
        self._settings = settings
        self._certificate = None
        if settings.tls_cert is not None:
            self._certificate = Certificate(
                settings.tls_cert, settings.tls_key, settings.tls_client_ca
            )
        config = self._config(app, settings.host, settings.port, settings.max_connections)
        if self._certificate is not None:
            context = self._certificate.context()
            config.ssl_context_factory = lambda *_: context
        super().__init__(config)
        self.backend.metrics.connections.set_function(lambda: len(self.server_state.connections))
        self._stop_at = math.inf
        self._reloading: set[asyncio.Task[bool]] = set()

    def _config(
        self, app: FastAPI, host: str, port: int, connections: int | None
    ) -> uvicorn.Config:
        settings = self._settings
        limits = ConnectionLimits(
            request_s=settings.request_timeout_seconds,
            connections=connections,
            errors=self.backend.errors,
            is_draining=lambda: self.backend.draining,
        )
        return uvicorn.Config(
            app,
            host=host,
            port=port,
            http=connection_class(limits),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type]  # floats work
            timeout_graceful_shutdown=math.ceil(
                settings.drain_seconds - settings.drain_delay_seconds
            ),
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and reload everything on SIGHUP from now on.

        Raises:
            SetupError: another program has the port, or this one may not have it.
        """
        settings = self._settings
        try:
            await super().startup(sockets)
        except SystemExit:
            if self.lifespan.should_exit:
                raise
            raise _cannot_listen(settings.host, settings.port, "--port") from None
        for sentence in greeting(settings, self.servers[0].sockets[0].getsockname()[1]):
            _log.info("%s", sentence)
        if settings.admin_port is not None:
            await self._listen_for_operators(settings.admin_port)
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._on_sighup)

    async def _listen_for_operators(self, port: int) -> None:
        host = self._settings.admin_host or self._settings.host
        config = self._config(create_admin_app(self.backend), host, port, None)
        config.load()
        try:
            listener = await asyncio.get_running_loop().create_server(
                lambda: config.http_protocol_class(  # type: ignore[call-arg]  # one of uvicorn's
                    config=config, server_state=self.server_state, app_state=self.lifespan.state
                ),
                host,
                port,
            )
        except OSError as error:  # uvicorn does the same for --port
            _log.error("%s", error)
            await self.lifespan.shutdown()
            raise _cannot_listen(host, port, "--admin-port") from None
        self.servers.append(listener)
        port = listener.sockets[0].getsockname()[1]
        _log.info("Health, metrics and reloading are on http://%s:%d", host, port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop after the delay; at a second signal at once, at a third without draining.

        A signal can interrupt code that holds a lock, so this takes no lock.
        """
        del sig, frame
        self.force_exit = self.should_exit
        delay_s = 0.0 if self.backend.draining else self._settings.drain_delay_seconds
        self._stop_at = time.monotonic() + delay_s
        self.backend.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Decide ten times a second whether to stop; True stops."""
        self.should_exit |= time.monotonic() >= self._stop_at
        return await super().on_tick(counter)

    def stop_at_once(self) -> None:
        """Accept no more requests, answer the accepted ones, and return from run()."""
        self.should_exit = True

    def _on_sighup(self) -> None:
        if self._certificate is not None and self.config.ssl is not None:
            self._certificate.renew(self.config.ssl)
        task = asyncio.ensure_future(self.backend.reload())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)


def _cannot_listen(host: str, port: int, flag: str) -> SetupError:
    return SetupError(
        f"The server cannot listen on port {port} of {host}, for the reason that is logged above. "
        f"Choose another port with {flag}; {flag} 0 takes a free one."
    )
