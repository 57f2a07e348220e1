"""An honest client and a probe of /healthz.

``python -m benchmarks.hostile.honest PORT PHOTOGRAPH PATH FIELDS…`` prints a line once it is ready
and asks until a line comes on its standard input. Then it prints JSON: a list of ``[path, seconds
after the start, status, milliseconds]``. It is a program of its own, so that it does not share
Python's lock with the hostile clients.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from benchmarks.load import read_answer

HEALTH = "/healthz"
_PREDICT_EACH_S, _HEALTH_EACH_S = 0.4, 0.1
GIVES_UP_S = 20.0

Row = tuple[str, float, int, float]


async def ask(port: int, path: str, request: bytes, begun: float, rows: list[Row]) -> None:
    """Send one request over a connection of its own, and add its row; without an answer, 0."""
    started = time.perf_counter()
    status = 0
    try:
        async with asyncio.timeout(GIVES_UP_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                status = await read_answer(reader)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        pass
    ended = time.perf_counter()
    rows.append((path, started - begun, status, 1e3 * (ended - started)))


async def main(port: int, photograph: bytes, path: str, *more: str) -> list[Row]:
    """Ask at a steady rate, however long the answers take, until a line comes."""
    rows: list[Row] = []
    end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    fields = ("Host: 127.0.0.1", f"Content-Length: {len(photograph)}", "Connection: close", *more)
    predict = "\r\n".join((f"POST {path} HTTP/1.1", *fields, "", "")).encode() + photograph
    health = f"GET {HEALTH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    tasks = []
    begun = time.perf_counter()

    async def steadily(path: str, request: bytes, each_s: float) -> None:
        while not end.done():
            tasks.append(asyncio.create_task(ask(port, path, request, begun, rows)))
            await asyncio.wait((end,), timeout=each_s)

    print("ready", flush=True)
    await asyncio.gather(
        steadily(path, predict, _PREDICT_EACH_S), steadily(HEALTH, health, _HEALTH_EACH_S)
    )
    await asyncio.gather(*tasks)
    return rows


if __name__ == "__main__":
    port, photograph = int(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    print(json.dumps(asyncio.run(main(port, photograph, *sys.argv[3:]))))
