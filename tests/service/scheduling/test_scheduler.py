import asyncio
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InferenceError, NotReadyError
from service.scheduling.scheduler import Scheduler


class Model:
    """Answers each row with its own value, doubled, and remembers the batches."""

    def __init__(self, seconds=0.0):
        self.batches = []
        self.seconds = seconds
        self.running = 0
        self.most_running = 0

    def __call__(self, rows):
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.batches.append(len(rows))
        time.sleep(self.seconds)
        self.running -= 1
        return rows * 2


class Held(Model):
    """Ends each batch when it is released."""

    def __init__(self):
        super().__init__()
        self.release = threading.Semaphore(0)

    def __call__(self, rows):
        answer = super().__call__(rows)
        assert self.release.acquire(timeout=60)
        return answer


def rows(*values):
    return np.array(values, np.float32)[:, None]


async def infer(scheduler, values):
    prepared, inferred = await scheduler.infer(lambda: (len(values), values), len(values))
    assert prepared == len(values)
    return inferred


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def run(model, scenario, **options):
    async def main():
        lanes, workers = options.get("lanes", 1), options.get("workers", 1)
        defaults = {"max_rows": 4, "workers": workers, "threads": lanes + workers}
        scheduler = Scheduler(model, **{**defaults, **options})
        scheduler.start()
        try:
            return await scenario(scheduler)
        finally:
            scheduler.stop()

    return asyncio.run(main())


@settings(max_examples=60)
@given(
    callers=st.lists(st.tuples(st.integers(1, 7), st.floats(0, 0.01)), min_size=1, max_size=30),
    max_rows=st.integers(1, 9),
    lanes=st.integers(1, 3),
    window_s=st.sampled_from([0.0, 0.002]),
)
def test_each_caller_gets_its_own_rows(callers, max_rows, lanes, window_s):
    model = Model(0.0005)

    async def scenario(scheduler):
        async def call(number, count, delay):
            await asyncio.sleep(delay)
            own = rows(*(100 * number + i for i in range(count)))
            inferred = await infer(scheduler, own)
            np.testing.assert_array_equal(inferred.scores, 2 * own)
            assert inferred.queue_ms >= 0
            assert inferred.infer_ms > 0

        await asyncio.gather(*(call(i, *caller) for i, caller in enumerate(callers)))

    run(model, scenario, max_rows=max_rows, lanes=lanes, window_s=window_s)
    assert sum(model.batches) == sum(count for count, _ in callers)
    assert max(model.batches) <= max_rows
    assert model.most_running <= lanes


def test_what_arrives_while_the_model_runs_is_the_next_batch():
    model = Held()

    async def scenario(scheduler):
        first = asyncio.create_task(infer(scheduler, rows(0)))
        await until(lambda: model.batches == [1])
        others = [asyncio.create_task(infer(scheduler, rows(i))) for i in range(6)]
        await until(lambda: len(scheduler._rows) == 4)  # as many as are prepared ahead
        model.release.release()
        await until(lambda: model.batches == [1, 4] and len(scheduler._rows) == 2)
        model.release.release(2)
        await asyncio.gather(first, *others)

    run(model, scenario)
    assert model.batches == [1, 4, 2]


def test_the_window_counts_from_the_first_row():
    model = Model()
    window_s = 1.0

    async def scenario(scheduler):
        started = time.perf_counter()

        async def call(delay):
            await asyncio.sleep(delay)
            await infer(scheduler, rows(1))
            return time.perf_counter() - started

        return await asyncio.gather(call(0), call(0.3), call(0.6))

    answered = run(model, scenario, window_s=window_s)
    assert model.batches == [3]
    assert all(window_s <= at < window_s + 0.1 for at in answered)


def test_a_full_batch_does_not_wait_for_its_window():
    model = Model()

    async def scenario(scheduler):
        started = time.perf_counter()
        await asyncio.gather(*(infer(scheduler, rows(i)) for i in range(4)))
        return time.perf_counter() - started

    assert run(model, scenario, window_s=5.0) < 1.0


def test_rows_above_the_maximum_are_several_batches():
    model = Model()

    async def scenario(scheduler):
        return await infer(scheduler, rows(*range(9)))

    np.testing.assert_array_equal(run(model, scenario).scores, 2 * rows(*range(9)))
    assert model.batches == [4, 4, 1]


def test_lanes_run_side_by_side():
    model = Model(0.05)

    async def scenario(scheduler):
        return await infer(scheduler, rows(*range(6)))

    inferred = run(model, scenario, max_rows=1, lanes=3)
    assert model.batches == [1] * 6
    assert model.most_running == 3
    assert 90 < inferred.infer_ms < 200  # one after the other they take 300


@pytest.mark.parametrize("fault", ["raises", "answers too few rows"])
def test_a_failing_model_is_its_batch_s_error_and_the_next_batch_is_served(fault):
    def model(batch):
        if batch[0, 0] >= 0:
            return batch
        if fault == "raises":
            raise RuntimeError("/secret/path")
        return batch[1:]

    async def scenario(scheduler):
        with pytest.raises(InferenceError) as caught:
            await infer(scheduler, rows(-1))
        assert "secret" not in caught.value.message
        return await infer(scheduler, rows(3))

    np.testing.assert_array_equal(run(model, scenario).scores, rows(3))


def test_a_cancelled_caller_s_rows_are_not_inferred():
    model = Held()

    async def scenario(scheduler):
        first = asyncio.create_task(infer(scheduler, rows(0)))
        await until(lambda: model.batches == [1])
        gone = asyncio.create_task(infer(scheduler, rows(1, 2)))
        stays = asyncio.create_task(infer(scheduler, rows(3)))
        await until(lambda: scheduler.queued_rows == 3)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert scheduler.queued_rows == 1
        model.release.release(2)
        await first
        np.testing.assert_array_equal((await stays).scores, rows(6))

    run(model, scenario)
    assert model.batches == [1, 1]


def test_the_event_loop_runs_while_the_model_does():
    model = Held()

    async def scenario(scheduler):
        task = asyncio.create_task(infer(scheduler, rows(0)))
        await until(lambda: model.batches == [1])
        for _ in range(11):
            await asyncio.sleep(0.005)
        model.release.release()  # never, if the model held the loop
        await task

    run(model, scenario)


def test_who_waits_when_it_stops_is_told():
    release = threading.Event()

    def model(batch):
        release.wait(10)
        return batch

    async def main():
        scheduler = Scheduler(model, threads=2, workers=1, max_rows=1)
        scheduler.start()
        tasks = [asyncio.create_task(infer(scheduler, rows(i))) for i in range(3)]
        await asyncio.sleep(0.05)
        scheduler.stop()
        release.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(classification) for classification in asyncio.run(main())] == [NotReadyError] * 3


def test_one_thread_takes_what_is_prepared_before_it_prepares_more():
    """So one thread goes on with the image that it has, and few images wait with their tensors."""
    steps = []

    def prepare(number):
        steps.append(f"prepare {number}")
        return threading.get_ident(), rows(number)

    def model(batch):
        steps.append(f"infer {batch[0, 0]:.0f}")
        seen.add(threading.get_ident())
        return batch

    async def scenario(scheduler):
        calls = (scheduler.infer(lambda number=number: prepare(number)) for number in range(3))
        return [prepared_in for prepared_in, _ in await asyncio.gather(*calls)]

    seen = set()
    assert set(run(model, scenario, threads=1)) == seen
    assert steps == [f"{what} {n}" for n in range(3) for what in ("prepare", "infer")]


@pytest.mark.parametrize(("threads", "at_once"), [(1, 1), (2, 2), (4, 3)])
def test_no_more_is_done_at_once_than_there_are_threads_workers_and_lanes(threads, at_once):
    lock = threading.Lock()
    busy = {"prepare": 0, "infer": 0}
    most = {"prepare": 0, "infer": 0, "all": 0}

    def work(kind):
        with lock:
            busy[kind] += 1
            most[kind] = max(most[kind], busy[kind])
            most["all"] = max(most["all"], sum(busy.values()))
        time.sleep(0.005)
        with lock:
            busy[kind] -= 1

    def model(batch):
        work("infer")
        return batch

    async def scenario(scheduler):
        await asyncio.gather(
            *(scheduler.infer(lambda: (work("prepare"), rows(1))) for _ in range(20)),
        )

    run(model, scenario, threads=threads, workers=2, lanes=1, max_rows=1)
    assert most["all"] == at_once
    assert most["prepare"] <= 2
    assert most["infer"] == 1


def test_what_cannot_be_prepared_is_raised_and_the_next_is_served():
    def prepare():
        raise ZeroDivisionError

    async def scenario(scheduler):
        with pytest.raises(ZeroDivisionError):
            await scheduler.infer(prepare)
        with pytest.raises(ZeroDivisionError):
            await scheduler.run(prepare)
        return await scheduler.run(lambda: 3), await infer(scheduler, rows(3))

    number, inferred = run(Model(), scenario)
    assert number == 3
    np.testing.assert_array_equal(inferred.scores, rows(6))


def test_what_a_cancelled_caller_waits_for_is_not_prepared():
    prepared = []
    release = threading.Event()

    async def scenario(scheduler):
        first = asyncio.create_task(scheduler.run(lambda: release.wait(5)))
        await until(lambda: scheduler.queued_rows == 0)
        gone = asyncio.create_task(scheduler.infer(lambda: prepared.append(1), 4))
        await until(lambda: scheduler.queued_rows == 4)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert scheduler.queued_rows == 0
        release.set()
        await first
        await infer(scheduler, rows(0))

    run(Model(), scenario)
    assert prepared == []


def test_nothing_is_taken_after_the_stop():
    async def scenario(scheduler):
        scheduler.stop()
        with pytest.raises(NotReadyError):
            await infer(scheduler, rows(0))

    run(Model(), scenario)
