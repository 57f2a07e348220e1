"""Compressed requests and answers, and streams that decompress to more than is allowed."""

import asyncio
import gzip
import re
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response, StreamingResponse

from service.errors import (
    BadRequestError,
    BodyTooLargeError,
    UnsupportedMediaError,
)
from service.middleware.compression import Compression, accepted

MIB = 2**20
CODINGS = {"gzip": gzip.compress, "deflate": zlib.compress}
RAW_DEFLATE = zlib.compressobj(wbits=-15)
RAW_DEFLATE = RAW_DEFLATE.compress(b"some text") + RAW_DEFLATE.flush()


def exchange(app, headers, messages, max_bytes=1000):
    """Make one POST through the middleware; return the messages that it sends."""
    sent = []
    left = iter(messages)

    async def receive():
        if (message := next(left, None)) is None:
            await asyncio.Event().wait()  # as a server does while the client waits
        return message

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(Compression(app, max_bytes)(scope, receive, send))
    return sent


def received(body, coding, max_bytes=1000, chunk=7):
    """The body that an application reads, of a request whose body arrives in chunks."""
    read = []

    async def app(scope, receive, send):
        read.append({name for name, _ in scope["headers"]})
        more = True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            assert len(message["body"]) <= 256 * 1024
            read.append(message["body"])
            more = message["more_body"]

    chunks = [body[i : i + chunk] for i in range(0, len(body), chunk)] or [b""]
    messages = [{"type": "http.request", "body": each, "more_body": True} for each in chunks]
    messages[-1]["more_body"] = False
    headers = [("content-encoding", coding), ("content-length", str(len(body))), ("x-a", "b")]
    exchange(app, headers, messages, max_bytes)
    headers, *pieces = read
    assert (b"content-encoding" in headers) == (b"content-length" in headers)
    assert b"x-a" in headers
    return b"".join(pieces)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "x-gzip", "GZIP", " deflate "])
@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_a_compressed_body_is_decompressed(coding, chunk):
    body = bytes(range(256)) * 3
    compress = CODINGS[coding.strip().lower().removeprefix("x-")]
    assert received(compress(body), coding, chunk=chunk) == body
    assert received(compress(b""), coding, chunk=chunk) == b""


def test_a_body_without_a_coding_is_not_changed():
    assert received(b"\x1f\x8b", "identity") == b"\x1f\x8b"
    assert received(b"\x1f\x8b", "") == b"\x1f\x8b"


@settings(max_examples=300)
@given(
    parts=st.lists(
        st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 40_000)), max_size=20
    ),
    coding=st.sampled_from(sorted(CODINGS)),
    chunk=st.integers(1, 5000),
)
def test_bodies_of_every_compression_ratio_are_decompressed(parts, coding, chunk):
    body = b"".join(part * times for part, times in parts)
    compressed = CODINGS[coding](body)
    assert received(compressed, coding, max_bytes=len(body), chunk=chunk) == body
    if body:
        with pytest.raises(BodyTooLargeError, match=f"larger than {len(body) - 1} bytes"):
            received(compressed, coding, max_bytes=len(body) - 1, chunk=chunk)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "deflate, gzip", "gzip2", "\xff"])
def test_other_codings_are_unsupported(coding):
    with pytest.raises(UnsupportedMediaError, match="gzip and deflate, one at a time"):
        received(b"whatever", coding)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_broken_stream_is_a_bad_request(coding):
    whole = CODINGS[coding](bytes(range(256)))
    for length in range(len(whole)):
        with pytest.raises(BadRequestError, match="cut short"):
            received(whole[:length], coding)
    with pytest.raises(BadRequestError, match="has bytes after the end"):
        received(whole + b"x", coding)
    with pytest.raises(BadRequestError, match="has bytes after the end"):
        received(whole + whole, coding, chunk=len(whole))
    wrong = whole[:-1] + bytes([whole[-1] ^ 1])  # in the checksum, or in gzip's length
    with pytest.raises(BadRequestError, match="corrupted"):
        received(wrong, coding)
    for other in (
        b"not a stream",
        RAW_DEFLATE,
        CODINGS["deflate" if coding == "gzip" else "gzip"](b""),
    ):
        with pytest.raises(BadRequestError, match=f"not {coding}"):
            received(other, coding)


@settings(max_examples=500)
@given(
    coding=st.sampled_from(sorted(CODINGS)),
    changes=st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4
    ),
    chunk=st.integers(1, 200),
)
def test_a_corrupted_stream_gives_its_body_or_one_of_our_errors(coding, changes, chunk):
    body = b"the same words, and the same words again " * 9
    corrupted = bytearray(CODINGS[coding](body))
    for position, value in changes:
        corrupted[position % len(corrupted)] = value
    try:
        read = received(bytes(corrupted), coding, chunk=chunk)
    except (BadRequestError, BodyTooLargeError):
        return
    assert read == body


def bomb(mebibytes):
    """The beginning of a gzip stream of zeros, which repeats one part."""
    deflate = zlib.compressobj(9, wbits=31)
    first, again = (
        deflate.compress(bytes(16 * MIB)) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    return first + again * (mebibytes // 16 - 1)


def test_a_bomb_is_refused_early():
    """Of sixteen chunks, the first has 32 MiB already."""
    body, chunk, taken = bomb(1024), 65536, []
    assert 15 * chunk < len(body) < 16 * chunk

    async def read_all(scope, receive, send):
        while (await receive())["more_body"]:
            pass

    def chunks():
        for start in range(0, len(body), chunk):
            taken.append(start)
            yield {"type": "http.request", "body": body[start : start + chunk], "more_body": True}

    tracemalloc.start()
    try:
        with pytest.raises(
            BodyTooLargeError, match="decompressed body is larger than 33554432 bytes"
        ):
            exchange(read_all, [("content-encoding", "gzip")], chunks(), 32 * MIB)
        assert tracemalloc.get_traced_memory()[1] < 50 * MIB
    finally:
        tracemalloc.stop()
    assert len(taken) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_bomb_does_not_fill_a_server_s_memory(spawn):
    server = spawn()

    def most_memory():
        status = (server.proc / "status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    before = most_memory()
    for path in ("/v2/models/colours/infer", "/v1/predict"):
        answer = server.ask(path, bomb(1024), {"content-encoding": "gzip"})
        assert answer.status == 413
        assert b"decompressed body is larger than 33554432 bytes" in answer.content
    assert most_memory() - before < 50 * MIB


def test_a_large_body_gives_other_requests_a_turn():
    """Each of the 256 KiB pieces of one chunk is followed by a turn of the event loop."""
    body = gzip.compress(bytes(8 * MIB))
    turns = 0

    async def app(scope, receive, send):
        nonlocal turns
        done = False

        async def other():
            nonlocal turns
            while not done:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        pieces = 1
        while (await receive())["more_body"]:
            pieces += 1
        done = True
        await task
        assert pieces >= 32
        assert turns >= pieces - 1

    message = {"type": "http.request", "body": body, "more_body": False}
    exchange(app, [("content-encoding", "gzip")], [message], 8 * MIB)
    assert turns >= 31


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("br;q=1.0, gzip;q=0.2, deflate;q=0.8", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.5", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("br", None),
        ("identity", None),
        ("*", None),
        ("gzip;q=high", None),
        ("gzip;q=nan", None),
        (";;,,=", None),
    ],
)
def test_the_best_coding_that_the_client_accepts_is_taken(header, coding):
    assert accepted(header) == coding


def answered(response, accept="gzip"):
    async def app(scope, receive, send):
        await response(scope, receive, send)

    start, *bodies = exchange(app, [("accept-encoding", accept)], [])
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    body = b"".join(message.get("body", b"") for message in bodies)
    return headers, body


@pytest.mark.parametrize("media_type", ["application/json", "application/octet-stream"])
def test_a_large_answer_is_compressed(media_type):
    content = b"0.125, " * 1000
    for coding, inflate in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
        headers, body = answered(Response(content, media_type=media_type), coding)
        assert headers["content-encoding"] == coding
        assert headers["content-length"] == str(len(body))
        assert headers["vary"] == "accept-encoding"
        assert len(body) < 100
        assert inflate(body) == content


@pytest.mark.parametrize(
    "response",
    [
        Response(b"x" * 1000, media_type="application/json"),
        Response(b"x" * 5000, media_type="image/png"),
        Response(b"x" * 5000, 400, media_type="application/json"),
        Response(b"x" * 5000, 503, media_type="application/json"),
        StreamingResponse(iter([b"x" * 2500] * 2), media_type="application/json"),
    ],
    ids=["small", "image", "error", "unavailable", "streamed"],
)
def test_other_answers_are_not_compressed(response):
    headers, body = answered(response)
    assert "content-encoding" not in headers
    assert body == b"x" * len(body)
    assert len(body) in (1000, 5000)


def test_no_answer_is_compressed_unless_the_client_accepts_it():
    headers, body = answered(Response(b"x" * 5000, media_type="application/json"), "br, gzip;q=0")
    assert "content-encoding" not in headers
    assert len(body) == 5000
