"""Who is refused when the bytes of all bodies and answers are used up."""

import asyncio
import json
import zlib

import pytest
from starlette.requests import Request
from starlette.responses import Response

from service.error_response import ErrorResponder
from service.middleware.byte_budget import ByteBudget
from service.middleware.pacing import Pacing

MOST = 1_000_000


class Client:
    """A request whose body arrives as the test says, and whose answer is fetched or not."""

    def __init__(self, budget, address="1.1.1.1", key=None, fetches=True):
        self.arriving = asyncio.Queue()
        self.fetching = asyncio.Event()
        if fetches:
            self.fetching.set()
        self.messages = []
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": [],
            "client": (address, 1),
            "state": {"key": key} if key else {},
        }
        self.task = asyncio.create_task(budget(self.scope, self.arriving.get, self._send))

    async def _send(self, message):
        self.messages.append(message)
        if message["type"] == "http.response.body":
            await self.fetching.wait()

    async def body(self, size, *, more=True):
        self.arriving.put_nowait({"type": "http.request", "body": bytes(size), "more_body": more})
        for _ in range(10):
            await asyncio.sleep(0)
        return self

    @property
    def status(self):
        return self.messages[0]["status"] if self.messages else None

    @property
    def answer(self):
        return b"".join(message.get("body", b"") for message in self.messages)


@pytest.fixture
def budget():
    """A budget before an application that answers with as many bytes as the body has."""

    async def app(scope, receive, send):
        request = Request(scope, receive)
        try:
            body = await request.body()
            if scope["state"].get("reserved"):
                scope["state"]["holder"].reserve(scope["state"]["reserved"])
            if scope["state"].get("works"):
                await scope["state"]["works"].wait()
        except Exception as error:  # noqa: BLE001  # the application's own handler
            await Response("refused", error.status)(scope, receive, send)
            return
        await Response(bytes(scope["state"].get("answers", 1)) or body)(scope, receive, send)

    return Pacing(ByteBudget(app, MOST, ErrorResponder(lambda _: None)))


def run(test):
    """Run an asynchronous test."""

    def ran(budget):
        asyncio.run(test(budget))

    ran.__name__ = test.__name__
    return ran


@run
async def test_the_largest_body_is_refused_and_not_the_newcomer(budget):
    small = await Client(budget).body(300_000)
    large = await Client(budget).body(600_000)
    newcomer = await Client(budget).body(200_000, more=False)
    await asyncio.wait_for(large.task, 60)
    assert (small.status, large.status, newcomer.status) == (None, 429, 200)
    assert json.loads(large.answer)["error"]["code"] == "busy"
    await small.body(0, more=False)
    assert small.status == 200


@run
async def test_a_newcomer_that_is_itself_the_largest_is_refused(budget):
    holding = await Client(budget).body(400_000)
    newcomer = await Client(budget).body(700_000)
    assert (holding.status, newcomer.status) == (None, 429)
    after = await Client(budget).body(500_000, more=False)
    assert after.status == 200
    holding.task.cancel()


@pytest.mark.parametrize("by", ["address", "key"])
def test_a_client_of_many_small_bodies_does_not_crowd_out_another(budget, by):
    async def test():
        flood = [await Client(budget, **{by: "flood"}).body(100_000) for _ in range(10)]
        other = await Client(budget, **{by: "other"}).body(350_000, more=False)
        assert other.status == 200
        assert sorted(str(each.status) for each in flood) == ["429"] * 4 + ["None"] * 6
        for each in flood:
            each.task.cancel()

    asyncio.run(test())


@run
async def test_requests_at_work_are_spared_while_their_client_has_others(budget):
    working = Client(budget)
    working.scope["state"]["works"] = asyncio.Event()
    await working.body(800_000, more=False)
    idle = await Client(budget).body(150_000)
    newcomer = await Client(budget).body(100_000, more=False)
    assert (working.status, idle.status, newcomer.status) == (None, 429, 200)
    other = await Client(budget, address="2.2.2.2").body(300_000, more=False)
    assert (working.status, other.status) == (429, 200)


@run
async def test_an_answer_that_is_not_fetched_is_dropped_for_others(budget):
    unread = Client(budget, fetches=False)
    unread.scope["state"]["answers"] = 900_000
    await unread.body(10, more=False)
    assert unread.status == 200
    newcomer = await Client(budget).body(200_000, more=False)
    assert newcomer.status == 200
    await asyncio.wait([unread.task], timeout=60)
    assert unread.task.cancelled()
    assert len(unread.answer) < 300_000  # one piece


@run
async def test_an_answer_without_room_is_a_429(budget):
    holding = [await Client(budget, address=str(i)).body(300_000) for i in range(3)]
    asking = Client(budget)
    asking.scope["state"]["answers"] = 500_000
    await asking.body(10, more=False)
    assert asking.status == 429
    assert len(asking.answer) < 1000
    asking = Client(budget)
    asking.scope["state"]["reserved"] = 500_000
    await asking.body(10, more=False)
    assert asking.status == 429
    assert [each.status for each in holding] == [None] * 3
    for each in holding:
        each.task.cancel()


@run
async def test_what_was_reserved_is_not_counted_twice(budget):
    for _ in range(5):
        asking = Client(budget)
        asking.scope["state"] |= {"reserved": 900_000, "answers": 700_000}
        await asking.body(100_000, more=False)
        await asyncio.wait_for(asking.task, 60)
        assert asking.status == 200
        assert len(asking.answer) == 700_000


def test_a_few_kilobytes_of_gzip_do_not_hold_the_budget(spawn, make_photograph):
    server = spawn("--max-body-bytes", "4000000", "--max-buffered-bytes", "8000000")
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(bytes(3_900_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    head = (
        "POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n"
        f"content-encoding: gzip\r\ncontent-length: {len(body) + 1}\r\n\r\n"
    ).encode()
    connections = [server.connect() for _ in range(2)]
    for connection in connections:
        connection.sendall(head + body)
    received = 'warpguard_requests_total{route="/v1/predict",status="429"}'
    for _ in range(20):
        large = make_photograph(size=(400, 500))
        assert server.ask("/v1/predict", large).status == 200
    assert server.metric(received) >= 1
    for connection in connections:
        connection.close()
