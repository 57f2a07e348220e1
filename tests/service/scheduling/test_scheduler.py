"""How images are prepared and inferred in batches across requests, and what their callers get."""

import asyncio
import logging
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InferenceError, NotReadyError
from service.scheduling.scheduler import Scheduler
from service.telemetry.metrics import Metrics
from service.telemetry.timings import Timings

METRICS = Metrics("0")


class Model:
    """Returns each item doubled; records its batches, and when each began and ended."""

    def __init__(self, seconds=0.0):
        self.batches = []
        self.began_s = []
        self.ended_s = []
        self.most_running = 0
        self._seconds = seconds
        self._running = 0
        self._lock = threading.Lock()

    def __call__(self, batch):
        with self._lock:
            self.began_s.append(time.perf_counter())
            self.batches.append(len(batch))
            self._running += 1
            self.most_running = max(self.most_running, self._running)
        self.work()
        with self._lock:
            self._running -= 1
            self.ended_s.append(time.perf_counter())
        return batch * 2

    def work(self):
        time.sleep(self._seconds)


class Held(Model):
    """Ends each batch when it is released."""

    def __init__(self):
        super().__init__()
        self.release = threading.Semaphore(0)

    def work(self):
        assert self.release.acquire(timeout=60)


class Recorded(Timings):
    """Keeps the start and the end of each stage."""

    def __init__(self):
        super().__init__(METRICS)
        self.stages = {}

    def record(self, name, started_s, ended_s):
        super().record(name, started_s, ended_s)
        assert name not in self.stages
        self.stages[name] = started_s, ended_s


def rows(*values):
    return np.array(values, np.float32)[:, None]


def submit(scheduler, values, timings=None):
    return scheduler.submit(lambda: values, len(values), timings or Recorded())


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def run(model, scenario, *, inference_streams=1, preprocess_threads=1, max_batch=4, **options):
    async def main():
        threads = options.pop("threads", inference_streams + preprocess_threads)
        scheduler = Scheduler(
            model,
            threads=threads,
            preprocess_threads=preprocess_threads,
            max_batch=max_batch,
            inference_streams=inference_streams,
            **options,
        )
        scheduler.start()
        try:
            return await scenario(scheduler)
        finally:
            scheduler.stop()

    return asyncio.run(main())


@settings(max_examples=60)
@given(
    callers=st.lists(st.tuples(st.integers(1, 7), st.floats(0, 0.01)), min_size=1, max_size=30),
    max_batch=st.integers(1, 9),
    inference_streams=st.integers(1, 3),
    window_s=st.sampled_from([0.0, 0.002]),
)
def test_each_caller_gets_the_scores_of_its_own_items(
    callers, max_batch, inference_streams, window_s
):
    model = Model(0.0005)
    counted = []

    async def scenario(scheduler):
        async def call(number, count, delay):
            await asyncio.sleep(delay)
            own, timings = rows(*(100 * number + i for i in range(count))), Recorded()
            np.testing.assert_array_equal(await submit(scheduler, own, timings), 2 * own)
            assert list(timings.stages) == ["queue", "infer"]
            (prepared_s, queued_s), (started_s, ended_s) = timings.stages.values()
            assert prepared_s <= queued_s == started_s <= ended_s

        await asyncio.gather(*(call(i, *caller) for i, caller in enumerate(callers)))
        assert scheduler.queued_images == 0

    run(
        model,
        scenario,
        max_batch=max_batch,
        inference_streams=inference_streams,
        window_s=window_s,
        on_batch=counted.append,
    )
    assert sum(model.batches) == sum(count for count, _ in callers)
    assert max(model.batches) <= max_batch
    assert sorted(counted) == sorted(model.batches)
    assert model.most_running <= inference_streams


def test_the_items_that_arrive_while_the_model_runs_are_the_next_batch():
    model = Held()

    async def scenario(scheduler):
        first = asyncio.create_task(submit(scheduler, rows(0)))
        await until(lambda: model.batches == [1])
        others = [asyncio.create_task(submit(scheduler, rows(i))) for i in range(3)]
        await asyncio.sleep(0)  # the tasks begin, and their jobs come before the next one
        await scheduler.run(lambda: None)  # by now the one preparing thread has enqueued all three
        model.release.release(2)
        await asyncio.gather(first, *others)

    run(model, scenario)
    assert model.batches == [1, 3]


@pytest.mark.parametrize("inference_streams", [1, 2])
def test_no_more_items_are_prepared_ahead_than_one_batch_for_each_stream(inference_streams):
    ahead = 3 * inference_streams
    release = threading.Semaphore(0)
    steps = []

    def prepare():
        steps.append("prepare")
        return rows(1)

    def model(batch):
        steps.append("infer")
        assert release.acquire(timeout=60)
        return batch

    async def scenario(scheduler):
        tasks = []
        for number in range(inference_streams):  # each stream has a batch of one
            tasks.append(asyncio.create_task(submit(scheduler, rows(0))))
            await until(lambda n=number: len(steps) > n)
        calls = (scheduler.submit(prepare, 1, Recorded()) for _ in range(20))
        tasks += [asyncio.create_task(call) for call in calls]
        await until(lambda: steps.count("prepare") == ahead)
        assert scheduler.queued_images == 20
        release.release(99)
        await asyncio.gather(*tasks)

    run(model, scenario, inference_streams=inference_streams, max_batch=3)
    busy = ["infer"] * inference_streams
    assert steps[: len(busy) + ahead + 1] == [*busy, *["prepare"] * ahead, "infer"]


def test_the_window_counts_from_the_arrival_of_the_first_item(monkeypatch):
    """The clock stands still unless the test moves it, so a busy machine changes nothing."""
    clock = SimpleNamespace(now_s=0.0)
    stopped = SimpleNamespace(perf_counter=lambda: clock.now_s)
    monkeypatch.setattr("service.scheduling.scheduler.time", stopped)
    model = Model()
    model.work = lambda: None

    async def scenario(scheduler):
        async def call(value):
            timings = Recorded()
            await submit(scheduler, rows(value), timings)
            prepared_s, started_s = timings.stages["queue"]
            return started_s - prepared_s

        tasks = []
        for arrival_s in (0.0, 0.03, 0.045):
            clock.now_s = arrival_s
            tasks.append(asyncio.create_task(call(arrival_s)))
            await asyncio.sleep(0)
            # The only thread does this job after it prepared the item and looked for a batch.
            await scheduler.run(lambda: None)
            assert model.batches == []
        clock.now_s = 0.05
        return await asyncio.gather(*tasks)

    waits_s = run(model, scenario, threads=1, window_s=0.05)
    assert model.batches == [3]
    assert waits_s == pytest.approx([0.05, 0.02, 0.005])


def test_a_full_batch_does_not_wait_for_its_window():
    model = Model()

    async def scenario(scheduler):
        await asyncio.gather(*(submit(scheduler, rows(i)) for i in range(4)))

    run(model, scenario, window_s=3600.0)
    assert model.batches == [4]


def test_items_above_the_maximum_are_several_batches():
    model = Model()

    async def scenario(scheduler):
        return await submit(scheduler, rows(*range(9)))

    np.testing.assert_array_equal(run(model, scenario), 2 * rows(*range(9)))
    assert model.batches == [4, 4, 1]


def test_inference_streams_run_side_by_side():
    """A batch ends only when three run at once, so one after the other they would never end."""
    model, timings = Model(), Recorded()
    model.work = threading.Barrier(3, timeout=60).wait

    async def scenario(scheduler):
        return await submit(scheduler, rows(*range(6)), timings)

    run(model, scenario, max_batch=1, inference_streams=3)
    assert model.batches == [1] * 6
    assert model.most_running == 3
    started_s, ended_s = timings.stages["infer"]
    assert started_s <= min(model.began_s)
    assert ended_s >= max(model.ended_s)


@pytest.mark.parametrize("fault", ["raises", "returns too few scores"])
def test_a_failing_model_fails_its_batch_and_the_next_batch_is_served(fault):
    def model(batch):
        if batch[0, 0] >= 0:
            return batch
        if fault == "raises":
            raise RuntimeError("/secret/path")
        return batch[1:]

    async def scenario(scheduler):
        with pytest.raises(InferenceError) as caught:
            await submit(scheduler, rows(-1))
        assert "secret" not in caught.value.message
        assert scheduler.is_open
        return await submit(scheduler, rows(3))

    np.testing.assert_array_equal(run(model, scenario), rows(3))


def test_the_items_of_a_cancelled_caller_are_not_inferred():
    model = Held()

    async def scenario(scheduler):
        first = asyncio.create_task(submit(scheduler, rows(0)))
        await until(lambda: model.batches == [1])
        gone = asyncio.create_task(submit(scheduler, rows(1, 2)))
        stays = asyncio.create_task(submit(scheduler, rows(3)))
        await until(lambda: scheduler.queued_images == 3)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert scheduler.queued_images == 1
        model.release.release(2)
        await first
        np.testing.assert_array_equal(await stays, rows(6))

    run(model, scenario)
    assert model.batches == [1, 1]


def test_the_event_loop_runs_while_the_model_does():
    model = Held()

    async def scenario(scheduler):
        task = asyncio.create_task(submit(scheduler, rows(0)))
        await until(lambda: model.batches == [1])
        for _ in range(10):
            await asyncio.sleep(0)
        model.release.release()  # this line is not reached if the model holds the loop
        await task

    run(model, scenario)


def test_callers_that_wait_at_the_stop_get_an_error():
    model = Held()

    async def scenario(scheduler):
        tasks = [asyncio.create_task(submit(scheduler, rows(i))) for i in range(3)]
        await until(lambda: model.batches == [1])
        assert scheduler.is_open
        scheduler.stop()
        assert not scheduler.is_open
        results = await asyncio.gather(*tasks, return_exceptions=True)
        model.release.release()
        return results

    for error in run(model, scenario, max_batch=1):
        assert isinstance(error, NotReadyError)
        assert error.message == "The server is stopping."


def test_one_thread_infers_the_items_that_it_has_before_it_prepares_more():
    """So a thread goes on with its own image, and few images wait with their tensors."""
    steps, threads = [], set()

    def prepare(number):
        steps.append(f"prepare {number}")
        threads.add(threading.get_ident())
        return rows(number)

    def model(batch):
        steps.append(f"infer {batch[0, 0]:.0f}")
        threads.add(threading.get_ident())
        return batch

    async def scenario(scheduler):
        await asyncio.gather(
            *(scheduler.submit(lambda n=n: prepare(n), 1, Recorded()) for n in range(3))
        )

    run(model, scenario, threads=1)
    assert len(threads) == 1
    assert steps == [f"{what} {n}" for n in range(3) for what in ("prepare", "infer")]


@pytest.mark.parametrize(("threads", "at_once"), [(1, 1), (2, 2), (4, 3)])
def test_threads_preparers_and_streams_bound_the_work_at_once(threads, at_once):
    changed = threading.Condition()
    busy = {"prepare": 0, "infer": 0}
    most = {"prepare": 0, "infer": 0, "all": 0}
    free = iter(["the first item, without which nothing could be inferred"])

    def work(kind):
        with changed:
            busy[kind] += 1
            most[kind] = max(most[kind], busy[kind])
            most["all"] = max(most["all"], sum(busy.values()))
            changed.notify_all()
            if next(free, None) is None:  # hold the others until the bound is reached
                assert changed.wait_for(lambda: most["all"] >= at_once, timeout=60)
        time.sleep(0.002)  # without a bound, more threads would be busy now
        with changed:
            busy[kind] -= 1

    def prepare():
        work("prepare")
        return rows(1)

    def model(batch):
        work("infer")
        return batch

    async def scenario(scheduler):
        await asyncio.gather(*(scheduler.submit(prepare, 1, Recorded()) for _ in range(20)))

    run(model, scenario, threads=threads, preprocess_threads=2, max_batch=1)
    assert most["all"] == at_once
    assert most["prepare"] <= 2
    assert most["infer"] == 1


class Turns:
    """Records which client's work is done; the first work waits until it is released."""

    def __init__(self):
        self.taken = []
        self.release = threading.Event()

    def prepare(self, client, images=1):
        self.taken.append(f"prepare {client}")
        assert self.release.wait(60)
        return rows(*[len(client)] * images)

    def model(self, batch):
        names = {len(name): name for name in ("flood", "honest")}
        self.taken.append("infer " + "+".join(names[int(value)] for value in batch[:, 0]))
        return batch

    def submit(self, scheduler, client, images=1):
        call = scheduler.submit(
            lambda: self.prepare(client, images), images, Recorded(), client=client
        )
        return asyncio.create_task(call)


@pytest.mark.parametrize("kind", ["images", "jobs"])
def test_a_client_s_work_goes_ahead_of_another_one_s_flood(kind):
    turns = Turns()

    async def scenario(scheduler):
        def begin(client):
            if kind == "images":
                return turns.submit(scheduler, client)
            work = scheduler.run(lambda: turns.prepare(client), client=client)
            return asyncio.create_task(work)

        flood = [begin("flood") for _ in range(80)]
        await until(lambda: turns.taken == ["prepare flood"])
        assert scheduler.queued_images == 79
        honest = begin("honest")
        await until(lambda: scheduler.queued_images == 80)
        turns.release.set()
        await honest
        await asyncio.gather(*flood)

    run(turns.model, scenario, threads=1, max_batch=1)
    begun = [each for each in turns.taken if each.startswith("prepare")]
    assert begun.index("prepare honest") == 1
    assert len(begun) == 81


def test_a_client_s_items_go_ahead_of_another_one_s_draws():
    """The flood's items fill the queue for batches, and yet another client's job may begin."""
    turns, held = Turns(), Held()
    turns.release.set()

    def model(batch):
        turns.model(batch)
        return held(batch)

    async def scenario(scheduler):
        flood = [turns.submit(scheduler, "flood", images=16) for _ in range(3)]
        await until(lambda: len(held.batches) == 1)
        honest = [turns.submit(scheduler, "honest") for _ in range(2)]
        await until(lambda: scheduler.queued_images == 15 + 32 + 2)
        await until(lambda: turns.taken.count("prepare honest") == 1)
        held.release.release(99)
        await asyncio.gather(*honest, *flood)

    run(model, scenario, threads=2, max_batch=1)
    order = [each for each in turns.taken if each != "prepare flood"]
    assert order[:3] == ["infer flood", "prepare honest", "infer honest"]
    assert turns.taken.index("infer honest") < 6
    assert len(order) == 48 + 2 * 2


def test_a_batch_has_items_of_all_clients():
    turns, held = Turns(), Held()
    turns.release.set()

    def model(batch):
        turns.model(batch)
        return held(batch)

    async def scenario(scheduler):
        first = turns.submit(scheduler, "flood")
        await until(lambda: len(held.batches) == 1)
        flood = turns.submit(scheduler, "flood", images=9)
        await until(lambda: turns.taken.count("prepare flood") == 2)
        honest = turns.submit(scheduler, "honest", images=2)
        await until(lambda: turns.taken.count("prepare honest") == 1)
        await scheduler.run(lambda: None)  # by now the one preparing thread has enqueued all
        held.release.release(99)
        await asyncio.gather(first, flood, honest)

    run(model, scenario, threads=2, max_batch=4)
    batches = [each for each in turns.taken if each.startswith("infer")]
    assert batches[0] == "infer flood"
    assert batches[1].count("honest") == 2
    assert batches[1].count("flood") == 2


def test_an_error_of_a_job_is_its_caller_s_and_the_next_job_is_done():
    def fail():
        raise ZeroDivisionError

    async def scenario(scheduler):
        with pytest.raises(ZeroDivisionError):
            await scheduler.submit(fail, 1, Recorded())
        with pytest.raises(ZeroDivisionError):
            await scheduler.run(fail)
        return await scheduler.run(lambda: 3), await submit(scheduler, rows(3))

    number, scores = run(Model(), scenario)
    assert number == 3
    np.testing.assert_array_equal(scores, rows(6))


def test_the_job_of_a_cancelled_caller_is_not_started():
    prepared = []
    release = threading.Event()

    async def scenario(scheduler):
        first = asyncio.create_task(scheduler.run(lambda: release.wait(60)))
        await until(lambda: scheduler.queued_images == 0)
        gone = asyncio.create_task(scheduler.submit(lambda: prepared.append(1), 4, Recorded()))
        await until(lambda: scheduler.queued_images == 4)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert scheduler.queued_images == 0
        release.set()
        await first
        await submit(scheduler, rows(0))

    run(Model(), scenario)
    assert prepared == []


def test_no_work_is_taken_after_the_stop():
    async def scenario(scheduler):
        scheduler.stop()
        with pytest.raises(NotReadyError):
            await submit(scheduler, rows(0))
        with pytest.raises(NotReadyError):
            await scheduler.run(lambda: 3)

    run(Model(), scenario)


def test_a_scheduler_without_a_model_runs_jobs():
    async def main():
        scheduler = Scheduler(threads=2, preprocess_threads=2)
        scheduler.start()
        try:
            return await asyncio.gather(*(scheduler.run(lambda n=n: n) for n in range(5)))
        finally:
            scheduler.stop()

    assert asyncio.run(main()) == list(range(5))


# A thread that dies


def computing_threads():
    return [each for each in threading.enumerate() if each.name.startswith("compute_")]


@pytest.mark.parametrize("where", ["a prepared image", "a job", "the model"])
def test_the_death_of_a_thread_fails_every_waiting_caller(where, caplog):
    """Of three threads one infers, one does a job, and one dies; two more requests are queued."""
    die, release = threading.Event(), threading.Event()
    at_work = []

    def wait():
        at_work.append(1)
        release.wait(60)

    def death():
        at_work.append(1)
        die.wait(60)
        raise SystemExit(3)  # BaseException: no error of an image or a model

    def model(batch):
        (death if batch[0, 0] < 0 else wait)()
        return batch

    async def scenario(scheduler):
        fatal = {
            "a prepared image": lambda: scheduler.submit(death, 1, Recorded()),
            "a job": lambda: scheduler.run(death),
            "the model": lambda: submit(scheduler, rows(-1)),
        }[where]
        calls = [submit(scheduler, rows(0)), scheduler.run(wait), fatal()]
        tasks = []
        for number, call in enumerate(calls, 1):
            tasks.append(asyncio.create_task(call))
            await until(lambda n=number: len(at_work) == n)
        tasks.append(asyncio.create_task(submit(scheduler, rows(1, 2))))
        tasks.append(asyncio.create_task(scheduler.run(lambda: 3)))
        await until(lambda: scheduler.queued_images == 3)
        assert scheduler.is_open
        die.set()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert not scheduler.is_open
        with pytest.raises(NotReadyError, match="has failed"):
            await submit(scheduler, rows(0))
        with pytest.raises(NotReadyError, match="has failed"):
            await scheduler.run(lambda: 3)
        return errors

    try:
        errors = run(model, scenario, inference_streams=2, preprocess_threads=2, threads=3)
    finally:
        release.set()
    assert len(errors) == 5
    for error in errors:
        assert isinstance(error, NotReadyError)
        assert error.message == "The server has failed; its log says why."
    (line,) = caplog.records
    assert (line.levelno, line.exc_info[0]) == (logging.CRITICAL, SystemExit)
    assert line.getMessage() == "A computing thread died; this server is not ready"
    asyncio.run(until(lambda: not computing_threads()))


def test_a_thread_that_dies_before_its_first_job_leaves_no_caller_waiting(monkeypatch, caplog):
    def refuse():
        raise RuntimeError("no such call")

    monkeypatch.setattr("service.scheduling.scheduler.lower_thread_priority", refuse)

    async def scenario(scheduler):
        with pytest.raises(NotReadyError, match="has failed"):
            await submit(scheduler, rows(0))
        assert not scheduler.is_open

    run(Model(), scenario)
    assert caplog.records[0].levelno == logging.CRITICAL
