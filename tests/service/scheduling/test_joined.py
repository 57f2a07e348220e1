"""Work that is done once for all who ask for it."""

import asyncio

import pytest

from service.scheduling.joined import Joined


class Work:
    """Counts its runs; each waits until it is released."""

    def __init__(self):
        self.begun = 0
        self.release = asyncio.Semaphore(0)

    async def __call__(self):
        self.begun += 1
        number = self.begun
        await self.release.acquire()
        if number == 3:
            raise ZeroDivisionError
        return number


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


def test_all_who_call_while_it_runs_share_the_next_run():
    async def main():
        work = Work()
        joined = Joined(work)
        first = asyncio.create_task(joined())
        await turns()
        later = [asyncio.create_task(joined()) for _ in range(300)]
        await turns()
        assert work.begun == 1
        work.release.release()
        await turns()
        assert work.begun == 2
        last = [asyncio.create_task(joined()) for _ in range(2)]
        work.release.release()
        work.release.release()
        assert await first == 1
        assert set(await asyncio.gather(*later)) == {2}
        for task in last:
            with pytest.raises(ZeroDivisionError):
                await task
        work.release.release()
        assert await joined() == 4

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_caller_that_leaves_does_not_end_the_run_of_the_others():
    async def main():
        work = Work()
        joined = Joined(work)
        gone, stays = (asyncio.create_task(joined()) for _ in range(2))
        await turns()
        gone.cancel()
        await turns()
        work.release.release()
        assert await stays == 1
        assert gone.cancelled()

    asyncio.run(asyncio.wait_for(main(), 60))
