"""A service of one's own on this machine, with every defence that a table needs."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2

from harness.errors import EndpointError

WARPGUARD = (sys.executable, "-P", "-m", "service")
"""The command, whatever else of that name is in the folder where the user is."""
_READY_WITHIN_S = 600.0
"""The model may have to be built, or to be loaded from a slow disk."""
_STOPPED_WITHIN_S = 30.0


def environment() -> dict[str, str]:
    """The user's, without what it says of a server of theirs, but for the store of the models."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WARPGUARD_") or name == "WARPGUARD_STORE"
    }


@contextmanager
def own_server(defenses: Sequence[str], model: str, log: Path) -> Iterator[str]:
    """Run ``warpguard serve`` while the block is, and while we are; gives its address.

    Args:
        defenses: what a request may name.
        model: its name in the store, or ``auto``.
        log: a file for what it says.

    Raises:
        EndpointError: it does not start; the message has its last words.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    allowed = [word for each in defenses for word in ("--allow-defense", each)]
    command = [*WARPGUARD, "serve", "--port", str(port), "--model", model]
    command += ["--host", "127.0.0.1", "--log-level", "error", "--log-format", "text", *allowed]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(  # noqa: S603  # its own
            command, stdout=stream, stderr=stream, env=environment()
        )
    keeper = _end_with_us(process)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(process, url, log)
        yield url
    finally:
        keeper.kill()  # first: once the server has ended, its number may be another process's
        keeper.communicate()
        process.terminate()
        try:
            process.wait(_STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_us(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Ends the server even if this process is killed: only we hold the other end of this pipe."""
    command = ["sh", "-c", 'read _; kill "$1"', "sh", str(process.pid)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603  # its own


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    give_up = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < give_up:
        if process.poll() is not None:
            words = log.read_text("utf-8", "replace").strip().splitlines()
            raise EndpointError(f"warpguard serve ended: {words[-1] if words else 'no word'}")
        try:
            if httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise EndpointError(f"warpguard serve is not ready after {_READY_WITHIN_S:.0f} s; see {log}.")
