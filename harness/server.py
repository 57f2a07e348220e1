"""A ``warpguard serve`` on this machine, for as long as something needs it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import httpx2

from harness.errors import EndpointError

WARPGUARD = (sys.executable, "-P", "-m", "warpguard")
"""The command. Packages of the working directory with our names do not shadow ours."""
_READY_WITHIN_S = 600
"""The first start builds the model, and a disk may be slow."""
_STOPPED_WITHIN_S = 30.0


def environment() -> dict[str, str]:
    """Return the environment without ``WARPGUARD_*``, except ``WARPGUARD_STORE``."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WARPGUARD_") or name == "WARPGUARD_STORE"
    }


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server(subprocess.Popen[bytes]):
    """The process of a ``warpguard serve``, which also stops if this process dies.

    As a context it is ready at the start of the block, and stopped at its end::

        with Server("--allow-defense", "none", log=Path("server.log")) as server:
            httpx2.get(f"{server.url}/v1/models")

    Args:
        options: of ``warpguard serve``.
        log: the file for its output; None lets it write where this process writes.
        variables: what to add to :func:`environment`.
        has_admin_port: whether health and metrics are on a port of their own, which signals need.

    Attributes:
        url: the address for clients.
        admin_url: the address of ``/readyz`` and ``/metrics``.
    """

    def __init__(
        self,
        *options: str,
        log: Path | None = None,
        variables: Mapping[str, str] | None = None,
        has_admin_port: bool = False,
    ) -> None:
        self.port, self.log = free_port(), log
        self.url = self.admin_url = f"http://127.0.0.1:{self.port}"
        command = [*WARPGUARD, "serve", "--port", str(self.port), *options]
        if has_admin_port:
            admin_port = free_port()
            self.admin_url = f"http://127.0.0.1:{admin_port}"
            command += ["--admin-port", str(admin_port)]
        with ExitStack() as stack:
            output = None
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                output = stack.enter_context(log.open("wb"))
            variables = environment() | dict(variables or {})
            super().__init__(command, stdout=output, stderr=output, env=variables)
        # The shell's read ends when this process dies: nothing else holds the pipe's other end.
        guard = ["sh", "-c", 'read _; kill "$1"', "sh", str(self.pid)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE)  # noqa: S603  # a constant

    def __enter__(self) -> Self:
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_ready(self) -> None:
        """Wait until ``/readyz`` answers 200.

        Raises:
            EndpointError: the server stopped, or takes too long; the message says what it wrote.
        """
        give_up = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < give_up:
            if self.poll() is not None:
                written = self.log.read_text("utf-8", "replace").split("\n") if self.log else []
                words = next(filter(str.strip, reversed(written)), f"exit {self.returncode}")
                raise EndpointError(f"warpguard serve stopped: {words}")
            try:
                if httpx2.get(f"{self.admin_url}/readyz", trust_env=False).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.05)
        where = self.log or "its output"
        raise EndpointError(f"warpguard serve is not ready after {_READY_WITHIN_S} s; see {where}.")

    def stop(self) -> int:
        """Stop the server and return its exit code."""
        # The guard goes first: once the server has ended, another process may get its number.
        self._guard.kill()
        self._guard.communicate()
        self.terminate()
        try:
            return self.wait(_STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()
