"""A request's head: what makes it valid, and what is wrong with one that is not.

llhttp, the parser, checks the syntax. What it lets pass, or reports in its own words, is here.
"""

from collections.abc import Iterable

import httptools

from service.errors import (
    BadRequestError,
    HeadTooLargeError,
    ServiceError,
    UnsupportedTransferCodingError,
)

MOST_HEAD_BYTES = 16 * 1024
"""The largest request line with its headers, and the largest trailers."""
HEAD_END = b"\r\n\r\n"
Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case with their values."""

_REASONS = {
    "Invalid method encountered": "its first word is not a method of HTTP",
    "Expected HTTP/, RTSP/ or ICE/": "the path is not followed by HTTP/1.1. In a path or a query "
    "a space is written as %20",
    "Invalid HTTP version": "its version is not 1.1 or 1.0",
    "Pause on PRI/Upgrade": "it is HTTP/2, and this server speaks HTTP/1.1",
    "Duplicate Content-Length": "it has two Content-Length headers",
    "Transfer-Encoding can't be present with Content-Length": "it has Content-Length and "
    "Transfer-Encoding; send one of them",
    "Content-Length can't be present with Transfer-Encoding": "it has Content-Length and "
    "Transfer-Encoding; send one of them",
}
"""llhttp's reasons in words that say what to do."""


def head_too_large() -> HeadTooLargeError:
    """The error of a head, or of trailers, over the limit."""
    return HeadTooLargeError(f"The head is larger than {MOST_HEAD_BYTES} bytes.")


def check_head(parser: httptools.HttpRequestParser, url: bytes, headers: Headers) -> int:
    """Check what RFC 9112 demands of a request and llhttp does not, and the size.

    Returns:
        The body's declared length in bytes; 0 if none is declared.

    Raises:
        HeadTooLargeError: it is.
        BadRequestError: the host is missing or given twice, or the method is for proxies.
        UnsupportedTransferCodingError: the body is coded in another way than in chunks.
    """
    hosts = length = 0
    size = len(url)
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise UnsupportedTransferCodingError(
                "The only Transfer-Encoding that this server reads is chunked."
            )
    if size > MOST_HEAD_BYTES:
        raise head_too_large()
    if hosts > 1 or (hosts == 0 and parser.get_http_version() >= "1.1"):
        raise BadRequestError(f"A request of HTTP/1.1 has one Host header; this one has {hosts}.")
    if parser.should_upgrade() and parser.get_method() == b"CONNECT":
        raise BadRequestError("This server is not a proxy: it does not take CONNECT.")
    return length


def without_upgrade(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """The head of a request again, without its wish to change the protocol."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    lines += [b"%b: %b" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join(lines) + HEAD_END


def explain(error: httptools.HttpParserError) -> ServiceError:
    """The error to answer for one of the parser, which may have come from a callback of ours."""
    if isinstance(error.__context__, ServiceError):
        return error.__context__
    if isinstance(error, httptools.HttpParserCallbackError | httptools.HttpParserInvalidURLError):
        reason = "its path or query has characters that must be written as %XX"
    else:
        reason = _REASONS.get(str(error), str(error))
    return BadRequestError(f"This is not valid HTTP: {reason}.")
