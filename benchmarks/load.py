"""Closed-loop HTTP clients: each sends its next request when its last one is answered.

``python -m benchmarks.load PORT PATH BODY TYPE CLIENTS REQUESTS [RATE]`` prints JSON. It is a
program of its own, so that it does not share Python's lock with a server.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Load:
    """The answers to a load.

    Attributes:
        seconds: how long it took.
        statuses: how many answers had each status.
        times_ms: the times of the answers with status 200.
    """

    seconds: float
    statuses: dict[int, int]
    times_ms: list[float]


async def run(
    port: int,
    path: str,
    body: bytes,
    content_type: str,
    clients: int,
    requests: int,
    rate: float | None = None,
    key: str | None = None,
) -> Load:
    """Send POST requests over connections that stay open.

    Args:
        port: the port of a server on this machine.
        path: the path of the requests.
        body: the body of the requests.
        content_type: the body's content type.
        clients: how many connections to use.
        requests: how many requests to send in all.
        rate: requests a second of all clients together; None sends as fast as answers come. With a
            rate, a request's time starts when the request is due, even if no connection is free.
        key: the API key of the requests; None sends none.

    Returns:
        What came back.
    """
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: {content_type}\r\n"
    )
    head += f"X-API-Key: {key}\r\n\r\n" if key else "\r\n"
    message = head.encode() + body
    times_ms: list[float] = []
    statuses: Counter[int] = Counter()
    left = requests
    begin = time.perf_counter()

    async def client() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while left > 0:
            number = requests - left
            left -= 1
            due = time.perf_counter()
            if rate is not None:
                due = begin + number / rate
                await asyncio.sleep(due - time.perf_counter())
            writer.write(message)
            status = await read_answer(reader)
            statuses[status] += 1
            if status == 200:
                times_ms.append(1e3 * (time.perf_counter() - due))
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(time.perf_counter() - begin, dict(statuses), times_ms)


async def read_answer(reader: asyncio.StreamReader) -> int:
    """Read an answer to its end, and return its status."""
    status, length = 0, 0
    while (line := await reader.readline()) not in (b"\r\n", b""):
        if not status:
            status = int(line.split()[1])
        elif line[:15].lower() == b"content-length:":
            length = int(line[15:])
    await reader.readexactly(length)
    return status


if __name__ == "__main__":
    port, path, file, content_type, clients, requests, *rate = sys.argv[1:]
    result = asyncio.run(
        run(
            int(port),
            path,
            Path(file).read_bytes(),
            content_type,
            int(clients),
            int(requests),
            float(rate[0]) if rate else None,
        )
    )
    print(json.dumps(asdict(result)))
