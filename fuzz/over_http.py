"""Post mutated bodies to a running server, and requests generated from its OpenAPI document."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

from benchmarks.load import read_answer
from fuzz.mutation import mutate

CORPUS = Path(__file__).parent / "corpus"
CLIENTS = 8
MODEL = "efficientnet-lite2"
_FORM = "multipart/form-data; boundary=b"


def requests(rng: Random) -> tuple[str, dict[str, str], bytes]:
    """Make one request: its path, its headers and a malformed body."""
    images = [file.read_bytes() for file in sorted((CORPUS / "image").iterdir())]
    documents = [file.read_bytes() for file in sorted((CORPUS / "oip").iterdir())]
    match rng.randrange(4):
        case 0:
            path = rng.choice(["/v1/predict", "/v1/predict?draws=2", "/v1/defend"])
            return path, {}, mutate(rng.choice(images), images, rng)
        case 1:
            form = b'--b\r\nContent-Disposition: form-data; name="files"; filename="f"\r\n\r\n'
            body = form + rng.choice(images) + b"\r\n--b--\r\n"
            return "/v1/predict", {"Content-Type": _FORM}, mutate(body, images, rng)
        case 2:
            encoding = rng.choice(["gzip", "deflate", "br", "gzip, gzip"])
            body = mutate(rng.choice(documents), images, rng)
            return f"/v2/models/{MODEL}/infer", {"Content-Encoding": encoding}, body
        case _:
            head, newline, body = rng.choice(documents).partition(b"\n")
            headers = {}
            if newline and head.startswith(b"H"):
                length = head[1:].decode("latin-1")
                if rng.random() < 0.2:
                    length = rng.choice(["-1", "0", "1", "99999999999", "x", "1 "])
                headers = {"Inference-Header-Content-Length": length}
            else:
                body = head + newline + body
            return f"/v2/models/{MODEL}/infer", headers, mutate(body, documents, rng)


async def post_mutated(port: int, seconds: float, seed: int) -> Counter[int]:
    """Post malformed bodies for some time, and count the answers by status.

    A connection that the server closed without an answer counts as status 0.
    """
    statuses: Counter[int] = Counter()
    ends = time.monotonic() + seconds

    async def client(number: int) -> None:
        rng = Random(seed + number)
        while time.monotonic() < ends:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while time.monotonic() < ends:
                    statuses[await _post(reader, writer, *requests(rng))] += 1
            except (ConnectionError, asyncio.IncompleteReadError):
                statuses[0] += 1
            finally:
                writer.close()

    await asyncio.gather(*map(client, range(CLIENTS)))
    return statuses


async def _post(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    path: str,
    headers: dict[str, str],
    body: bytes,
) -> int:
    fields = {"Host": "x", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    return await read_answer(reader)


def from_schema(port: int, examples: int, seed: int) -> tuple[int, str]:
    """Run schemathesis, and return its exit code and its output."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={Path(__file__).parent / 'schemathesis.toml'}",
        "run",
        f"http://127.0.0.1:{port}/openapi.json",
        "--checks=not_a_server_error,content_type_conformance,response_schema_conformance",
        f"--max-examples={examples}",
        f"--seed={seed}",
        "--mode=all",
        "--exclude-path=/metrics",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
