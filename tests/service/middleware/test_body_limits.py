"""When a body over the limit is refused."""

import asyncio

import pytest

from service.errors import BodyTooLargeError
from service.middleware.body_limits import BodyLimit


def receive_all(declared, pieces):
    """Read a body behind a limit of 10 bytes; return how often the client was asked for more."""
    asked = 0

    async def receive():
        nonlocal asked
        asked += 1
        more = asked < len(pieces)
        return {"type": "http.request", "body": pieces[asked - 1], "more_body": more}

    async def app(scope, receive, send):
        scope["headers"] = []  # as the decompression does
        while (await receive())["more_body"]:
            pass

    headers = [] if declared is None else [(b"content-length", str(declared).encode())]
    try:
        asyncio.run(BodyLimit(app, 10)({"type": "http", "headers": headers}, receive, None))
    except BodyTooLargeError as error:
        error.asked = asked
        raise
    return asked


def test_a_declared_length_over_the_limit_is_refused_before_the_client_is_asked():
    with pytest.raises(BodyTooLargeError, match="10 bytes") as caught:
        receive_all(11, [b"x"])
    assert caught.value.asked == 0


def test_a_body_without_a_length_is_refused_when_it_passes_the_limit():
    with pytest.raises(BodyTooLargeError) as caught:
        receive_all(None, [b"x" * 6] * 9)
    assert caught.value.asked == 2


@pytest.mark.parametrize("declared", [10, None])
def test_a_body_up_to_the_limit_is_read(declared):
    assert receive_all(declared, [b"x" * 5] * 2) == 2
