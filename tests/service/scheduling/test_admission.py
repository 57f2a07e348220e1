"""Admission: the images that are at work at once, each client's share, and its rate limit."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from service.auth.client import Client
from service.auth.rate_limit import Bucket
from service.errors import BusyError, RateLimitedError, TooManyImagesError
from service.scheduling.admission import Admission

A, B, C = map(Client, "ABC")


def asynchronous(test):
    """A test that is a coroutine; it ends within a minute."""
    return lambda: asyncio.run(asyncio.wait_for(test(), 60))


@asynchronous
async def test_places_are_held_until_the_images_are_answered():
    admission = Admission(4)
    async with admission.admit(3, A):
        assert admission.in_flight == 3
        async with admission.admit(1, A):
            assert admission.in_flight == 4
        assert admission.in_flight == 3
        with pytest.raises(ZeroDivisionError):
            async with admission.admit(1, B):
                raise ZeroDivisionError
        assert admission.in_flight == 3
    assert admission.in_flight == 0


@asynchronous
async def test_images_over_the_limit_are_refused():
    admission = Admission(4)
    with pytest.raises(TooManyImagesError) as caught:
        await enter(admission.admit(5, A))
    assert caught.value.message == (
        "The request has 5 images, each draw counting as one; send at most 4."
    )
    async with admission.admit(3, A):
        with pytest.raises(BusyError) as caught:
            await enter(admission.admit(2, A))
        assert caught.value.message == "3 of 4 images are at work; try again."
        assert admission.in_flight == 3


async def enter(admitted):
    async with admitted:
        pass


@asynchronous
async def test_admitted_images_are_taken_from_the_bucket_of_the_request_s_key():
    admission, bucket = Admission(4), Bucket(rate=0.001, burst=4)
    async with admission.admit(3, Client("A", bucket)):
        bucket.check(1)
        with pytest.raises(RateLimitedError):
            bucket.check(2)
    with pytest.raises(RateLimitedError):
        await enter(admission.admit(2, Client("A", bucket)))
    assert admission.in_flight == 0
    await enter(admission.admit(1, Client("A", bucket)))


@asynchronous
async def test_what_a_request_has_paid_already_is_not_taken_again():
    admission, bucket = Admission(4), Bucket(rate=0.001, burst=4)
    client = Client("A", bucket)
    client.charge(1)
    await enter(admission.admit(4, client))
    with pytest.raises(RateLimitedError):
        bucket.check(1)


@asynchronous
async def test_images_that_are_not_admitted_are_not_taken_from_the_bucket():
    admission, bucket = Admission(4), Bucket(rate=0.001, burst=4)
    with pytest.raises(TooManyImagesError):
        await enter(admission.admit(5, Client("A", bucket)))
    async with admission.admit(2, A):
        with pytest.raises(BusyError):
            await enter(admission.admit(3, Client("A", bucket)))
    bucket.take(4)


class Crowd:
    """Requests that are at work until they are released; gives how each of them ended."""

    def __init__(self, max_in_flight):
        self.admission = Admission(max_in_flight)
        self._end = asyncio.Event()
        self._tasks = []

    async def begin(self, client, images=1):
        """Ask for places; returns the request, once it is at work or refused."""

        async def request():
            async with self.admission.admit(images, client):
                await self._end.wait()
                return "answered"

        self._tasks.append(asyncio.create_task(request()))
        await asyncio.sleep(0)
        return self._tasks[-1]

    async def outcomes(self):
        self._end.set()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        return [each if each == "answered" else type(each) for each in ended]


@asynchronous
async def test_a_newcomer_gets_the_places_of_the_newest_request_over_its_share():
    crowd = Crowd(4)
    for _ in range(5):
        await crowd.begin(A)
    assert crowd.admission.in_flight == 4
    await crowd.begin(B)
    assert crowd.admission.in_flight == 4
    await crowd.begin(A)
    assert await crowd.outcomes() == ["answered"] * 3 + [BusyError] * 2 + ["answered", BusyError]
    assert crowd.admission.in_flight == 0


@asynchronous
async def test_a_client_whose_places_are_given_away_is_refused_with_the_reason():
    crowd = Crowd(2)
    await crowd.begin(A)
    refused = await crowd.begin(A)
    await crowd.begin(B)
    with pytest.raises(BusyError) as caught:
        await refused
    assert caught.value.message == (
        "Other clients need some of the 2 places for images, and this client holds more than its "
        "share; try again."
    )
    assert (await crowd.outcomes()).count("answered") == 2


@asynchronous
async def test_each_client_can_have_its_share_and_no_more_of_the_others_places():
    crowd = Crowd(12)
    for _ in range(40):
        await crowd.begin(A)
    for _ in range(40):
        await crowd.begin(B)
    for _ in range(40):
        await crowd.begin(C)
    outcomes = await crowd.outcomes()
    shares = [outcomes[i : i + 40].count("answered") for i in (0, 40, 80)]
    assert shares == [4, 4, 4]


@asynchronous
async def test_a_client_within_its_share_is_left_alone():
    """Also if the newcomer would be refused for it: B has one request with all of its share."""
    crowd = Crowd(4)
    await crowd.begin(A, 2)
    await crowd.begin(B, 2)
    await crowd.begin(B, 1)
    await crowd.begin(A, 1)
    assert await crowd.outcomes() == ["answered", "answered", BusyError, BusyError]


@asynchronous
async def test_the_oldest_request_of_a_client_is_left_alone():
    crowd = Crowd(4)
    await crowd.begin(A, 4)
    await crowd.begin(B)
    assert await crowd.outcomes() == ["answered", BusyError]


@asynchronous
async def test_nothing_is_refused_for_a_request_that_is_not_admitted_after_all():
    crowd = Crowd(4)
    for _ in range(4):
        await crowd.begin(A)
    poor = Client("B", Bucket(rate=0.001, burst=1))
    poor.bucket.take(1)
    await crowd.begin(poor)
    assert await crowd.outcomes() == ["answered"] * 4 + [RateLimitedError]


@asynchronous
async def test_a_request_that_is_cancelled_from_outside_stays_cancelled():
    crowd = Crowd(2)
    await crowd.begin(A)
    gone = await crowd.begin(A)
    gone.cancel()
    await crowd.begin(B)
    assert await crowd.outcomes() == ["answered", asyncio.CancelledError, "answered"]


@asynchronous
async def test_an_error_of_the_work_is_not_taken_for_a_refusal():
    admission = Admission(2)

    @asynccontextmanager
    async def late():
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(admission.admit(1, A))
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await enter(late())
    assert admission.in_flight == 0
