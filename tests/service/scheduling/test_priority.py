"""The priority of computing threads: below the event loop's, and never higher than it was."""

import json
import os
import subprocess
import sys
import threading

import pytest

from service.scheduling.priority import LOWEST, STEP, lower_thread_priority

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux has a niceness for each thread"
)

ALREADY = "11"
"""A niceness above :data:`STEP`, which the threads must not lower. A higher one would wait long."""


def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def in_a_thread(work):
    """The result of some work in a thread of its own, whose niceness ends with it."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    (result,) = results
    return result


def lowered():
    lower_thread_priority()
    return niceness()


@pytest.fixture
def loop():
    """The niceness of the main thread, which is the event loop's."""
    return os.getpriority(os.PRIO_PROCESS, os.getpid())


def test_a_thread_gets_a_lower_priority_than_the_event_loop(loop):
    assert in_a_thread(lowered) == min(loop + STEP, LOWEST)
    assert niceness() == loop


@pytest.mark.parametrize(
    ("of_loop", "of_thread", "wanted"),
    [(0, 0, 10), (5, 5, 15), (0, 15, 15), (15, 15, 19), (0, 19, 19), (-10, -10, 0)],
)
def test_a_priority_is_never_raised(monkeypatch, of_loop, of_thread, wanted):
    """A higher niceness is a lower priority, and 19 is the highest niceness."""
    changes = []
    monkeypatch.setattr(
        os, "getpriority", lambda _, who: of_loop if who == os.getpid() else of_thread
    )
    monkeypatch.setattr(os, "setpriority", lambda *change: changes.append(change))
    thread = in_a_thread(lambda: (threading.get_native_id(), lower_thread_priority())[0])
    assert changes == [(os.PRIO_PROCESS, thread, wanted)]


@pytest.mark.parametrize("call", ["getpriority", "setpriority"])
def test_a_refusal_leaves_the_thread_as_it_is(monkeypatch, call):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    before = in_a_thread(niceness)

    def work():
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            lower_thread_priority()
        return niceness()

    assert in_a_thread(work) == before


NICENESS_OF_THREADS = """
import asyncio, json, os, threading
from service.scheduling.scheduler import Scheduler

def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

async def main():
    scheduler = Scheduler(threads=2, preprocess_threads=2)
    scheduler.start()
    both = threading.Barrier(2, timeout=60)
    work = [scheduler.run(lambda: (both.wait(), niceness())[1]) for _ in range(2)]
    print(json.dumps([niceness(), *await asyncio.gather(*work)]))
    scheduler.stop()

asyncio.run(main())
"""


@pytest.mark.parametrize("nice", [0, 5, 15])
@pytest.mark.parametrize("rights", ["root or the user", "no rights"])
def test_computing_threads_are_below_the_loop_however_nice_the_process_is(
    loop, without_rights, nice, rights
):
    prefix = without_rights if rights == "no rights" else []
    command = [*prefix, "nice", "-n", str(nice), sys.executable, "-c", NICENESS_OF_THREADS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    own = min(loop + nice, LOWEST)
    assert json.loads(done.stdout) == [own, *[min(own + STEP, LOWEST)] * 2]


def test_a_server_that_is_nice_already_serves(spawn, without_rights, make_photograph):
    server = spawn(prefix=[*without_rights, "nice", "-n", ALREADY])
    assert server.ask("/v1/predict", make_photograph()).status == 200
    stats = [(task / "stat").read_text() for task in (server.proc / "task").iterdir()]
    of_tasks = [int(stat.rpartition(")")[2].split()[16]) for stat in stats]
    assert min(of_tasks) >= int(ALREADY)
    assert max(of_tasks) == LOWEST
    server.signal()
    assert server.exit_code() == 0
    assert "Traceback" not in server.log


def test_predict_that_is_nice_already_answers(
    colour_store, without_rights, tmp_path, make_photograph
):
    (tmp_path / "red.png").write_bytes(make_photograph("red"))
    command = [*without_rights, "nice", "-n", ALREADY, sys.executable, "-m", "service", "predict"]
    options = ["--store", str(colour_store), "--model", "colours", "--json"]
    done = subprocess.run(
        [*command, *options, str(tmp_path / "red.png")],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    assert answer["predictions"][0]["label"] == "red"
