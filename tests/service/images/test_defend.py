"""Defending image files: small ones in a thread, others in a process that ends with the request."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defenses import DefenseError, Pipeline
from service.errors import BadImageError, DeadlineError, TooManyPixelsError
from service.images import isolated
from service.images.defend import defend_file
from service.scheduling.deadline import Until
from service.telemetry.metrics import Metrics
from service.telemetry.timings import Timings
from tests.service.images.test_isolated import children

SIZE = (600, 500)


@pytest.fixture(autouse=True)
def no_children():
    isolated.close()
    yield
    isolated.close()


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def body(pixels):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def defended(body, defense="none", *, memory=1 << 28, until=None, timings=None):
    return defend_file(
        body,
        Pipeline.parse(defense),
        max_pixels=10**7,
        max_memory_bytes=memory,
        on_pixels=lambda _: None,
        until=until or Until(time.monotonic() + 100),
        timings=timings or Timings(Metrics("1")),
    )


def stopped_at_work(body, until, defense="none"):
    """Start defending in a child that stands still; gives the child and the result to come."""
    defended(body, defense)
    (child,) = children()
    os.kill(child, signal.SIGSTOP)
    pool = ThreadPoolExecutor(1)
    result = pool.submit(defended, body, defense, until=until)
    pool.shutdown(wait=False)
    return child, result


def test_small_images_need_no_child(files):
    body = files.saved(files.photograph(), "PNG")
    np.testing.assert_array_equal(
        np.asarray(Image.open(BytesIO(defended(body)))), files.photograph()
    )
    assert children() == []


def test_larger_images_are_defended_in_a_child(body, pixels):
    timings = Timings(Metrics("1"))
    for _ in range(3):
        answer = defended(body, timings=timings)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(answer))), pixels)
    assert len(children()) == 1
    assert {"decode", "defend"} <= set(timings.finish())
    assert defended(body, "rdg") != defended(body, "rdg")


@pytest.mark.parametrize("defense", ["tvm", "fd+tvm", "deflect"])
def test_what_needs_more_memory_than_allowed_is_refused_before_it_begins(body, defense):
    with pytest.raises(TooManyPixelsError, match=r"at most [0-9]+ pixels of this shape") as caught:
        defended(body, defense, memory=20_000_000)
    assert children() == []
    most = int(caught.value.message.split("at most ")[1].split()[0])
    height = int((most * SIZE[0] / SIZE[1]) ** 0.5)
    buffer = BytesIO()
    size = (height * SIZE[1] // SIZE[0], height)
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(buffer, "PNG")
    defended(buffer.getvalue(), defense, memory=20_000_000)


def test_work_ends_at_the_deadline(body):
    child, result = stopped_at_work(body, Until(time.monotonic() + 20))
    with pytest.raises(DeadlineError, match="not defended within the deadline"):
        result.result(timeout=60)
    assert not Path(f"/proc/{child}").exists()
    defended(body)


def test_work_ends_when_nobody_waits_for_it(body):
    until = Until(time.monotonic() + 1000)
    child, result = stopped_at_work(body, until)
    while not isolated._defending._lent:
        time.sleep(0.01)
    until.end()
    with pytest.raises(DeadlineError):
        result.result(timeout=60)
    assert not Path(f"/proc/{child}").exists()
    with pytest.raises(DeadlineError):  # it does not begin again
        defended(body, until=until)


def test_what_a_child_cannot_do_is_an_error_here(body, files):
    with pytest.raises(DefenseError, match="cell is 550 px"):
        defended(body, "rdg(cell=550)")
    with pytest.raises(BadImageError, match="corrupted"):
        defended(body[: len(body) // 2])
    assert len(children()) == 1


def test_too_little_memory_is_not_the_images_fault(body, monkeypatch):
    monkeypatch.setattr(isolated, "_SPARE_MEMORY_BYTES", 0)
    monkeypatch.setattr(Pipeline, "memory_bytes", lambda *_: 0)
    with pytest.raises(MemoryError):
        defended(body, "tvm")


def test_a_network_gets_the_memory_that_is_allowed(body, tmp_path, monkeypatch):
    from tests.defenses.conftest import network

    (tmp_path / "blur.onnx").write_bytes(network(np.full((3, 3), 1 / 9)))
    defense = f"onnx(file={tmp_path}/blur.onnx)"
    defended(body, defense)
    monkeypatch.setattr(isolated, "_SPARE_MEMORY_BYTES", 0)
    with pytest.raises(TooManyPixelsError, match="needs more memory than this server gives"):
        defended(body, defense, memory=1 << 20)


def test_a_file_that_changed_is_not_used_in_silence(body, tmp_path):
    from tests.defenses.conftest import network

    file = tmp_path / "blur.onnx"
    file.write_bytes(network(np.full((3, 3), 1 / 9)))
    pipeline = Pipeline.parse(f"onnx(file={file})")
    file.write_bytes(network(np.full((5, 5), 1 / 25)))
    with pytest.raises(RuntimeError, match="has changed: restart"):
        defend_file(
            body,
            pipeline,
            max_pixels=10**7,
            max_memory_bytes=1 << 28,
            on_pixels=lambda _: None,
            until=Until(time.monotonic() + 100),
            timings=Timings(Metrics("1")),
        )


def test_four_long_defences_leave_nothing_that_computes(spawn, body):
    server = spawn("--allow-defense", "tvm(rounds=1000)", "--deadline-ms", "3000")
    with ThreadPoolExecutor(4) as clients:
        asked = [
            clients.submit(server.ask, "/v1/defend?defense=tvm(rounds=1000)", body)
            for _ in range(4)
        ]
        answers = [each.result() for each in asked]
    assert [answer.status for answer in answers] == [504] * 4
    server.wait_until(lambda: not children(server.process.pid))
    assert server.ask("/v1/defend", body).status in (200, 504)


def test_a_client_that_leaves_ends_its_defence(spawn, body):
    server = spawn("--allow-defense", "tvm(rounds=1000)")
    path = "/v1/defend?defense=tvm(rounds=1000)"
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head.encode() + body)
        server.wait_until(lambda: children(server.process.pid))
    server.wait_until(lambda: not children(server.process.pid))
