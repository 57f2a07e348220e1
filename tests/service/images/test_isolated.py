"""Decoding in a child process: its limits, its end, and what is left of it."""

import gc
import logging
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import AvifImagePlugin

from service.errors import BadImageError, DeadlineError, NotReadyError, OutOfMemoryError
from service.images import isolated
from service.images.children import Child, Pool
from service.images.containers import walk
from service.images.decode import decode
from service.images.limits import Limits
from service.images.pixels import load

MEGABYTE = 1 << 20
LIMITS = Limits(25_000_000, 8)


@pytest.fixture(autouse=True)
def no_children():
    """Every test begins and ends without a child."""
    isolated.close()
    yield
    isolated.close()


def children(parent=None):
    """The processes that decode, by the parent that their status names."""
    parent = parent or os.getpid()
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text, line = status.read_text(), (status.parent / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if f"\nPPid:\t{parent}\n" in text and b"service.images.child" in line:
            found.append(int(status.parent.name))
    return found


def decoded(container, until_s=None):
    return isolated.decode(container, reduce_to_px=None, until_s=until_s)


@pytest.fixture
def tiff(files):
    return walk(files.tiff(files.photograph()), LIMITS)


def stop_children():
    for child in children():
        os.kill(child, signal.SIGSTOP)


def test_one_child_decodes_one_file_after_another(files, tiff):
    for _ in range(5):
        np.testing.assert_array_equal(decoded(tiff), files.photograph())
    assert len(children()) == 1


def test_files_of_ordinary_form_need_no_child(files):
    pixels = files.photograph()
    for kind, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("BMP", {}),
    ):
        decode(files.saved(pixels, kind, **options), max_pixels=10_000)
    assert children() == []


def test_large_files_and_large_profiles_are_decoded_in_a_child(files):
    large = files.saved(np.zeros((4200, 4200, 3), np.uint8), "PNG")
    assert decode(large, max_pixels=25_000_000).shape == (4200, 4200, 3)
    assert len(children()) == 1
    isolated.close()
    profile = files.saved(files.photograph(), "JPEG", icc_profile=bytes(100_000))
    assert decode(profile, max_pixels=10_000).shape == (60, 80, 3)
    assert len(children()) == 1


def test_a_large_jpeg_is_reduced_without_a_child(files):
    body = files.saved(np.zeros((4900, 5000, 3), np.uint8), "JPEG")
    reduced = decode(body, max_pixels=25_000_000, reduce_to_px=300)
    assert reduced.shape[0] < 1000
    assert children() == []


def test_a_child_is_killed_at_the_deadline_and_replaced(files, tiff):
    decoded(tiff)
    (stopped,) = children()
    stop_children()
    until_s = time.monotonic() + 0.3
    with pytest.raises(DeadlineError):
        decoded(tiff, until_s=until_s)
    assert time.monotonic() >= until_s
    assert children() == []
    np.testing.assert_array_equal(decoded(tiff), files.photograph())
    (other,) = children()
    assert other != stopped


def test_nobody_waits_for_a_child_past_the_deadline(tiff):
    with pytest.raises(DeadlineError):
        decoded(tiff, until_s=time.monotonic() - 1)
    assert children() == []


def test_cpu_time_is_limited_by_the_pixels(files, monkeypatch):
    side = 5000
    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 1)
    data = zlib.compress(bytes(8 * side * side + 200_000), 1)
    chunks = files.chunk(b"IHDR", header) + files.chunk(b"IDAT", data) + files.chunk(b"IEND", b"")
    body = b"\x89PNG\r\n\x1a\n" + chunks

    def decode_often():  # it ends where a child's CPU time becomes a whole second during its work
        for _ in range(200):
            assert decode(body, max_pixels=25_000_000).shape == (side, side, 3)

    monkeypatch.setattr(isolated, "_CPU_S", 0.0)
    monkeypatch.setattr(isolated, "_CPU_S_PER_PIXEL", 0.0)
    with pytest.raises(BadImageError, match="more time to decode than its pixels explain"):
        decode_often()
    assert children() == []


def test_a_child_that_sleeps_is_ended(tiff, monkeypatch):
    decoded(tiff)
    stop_children()
    monkeypatch.setattr(isolated, "_WALL_S", 0.0)
    monkeypatch.setattr(isolated, "_WALL_S_PER_CPU_S", 0.2)
    with pytest.raises(BadImageError, match="more time to decode than its pixels explain"):
        decoded(tiff)
    assert children() == []


def test_memory_is_limited_by_the_pixels(files, monkeypatch, caplog):
    body = files.saved(np.zeros((4000, 4000, 3), np.uint8), "TIFF", compression="tiff_deflate")
    container = replace(walk(body, LIMITS), memory_bytes=0)
    monkeypatch.setattr(isolated, "_SPARE_MEMORY_BYTES", 8 * MEGABYTE)
    with pytest.raises(MemoryError):
        decoded(container)

    monkeypatch.setattr("service.images.decode.walk", lambda *_: container)
    with caplog.at_level(logging.ERROR), pytest.raises(OutOfMemoryError) as caught:
        decode(body, max_pixels=25_000_000)
    assert caught.value.status == 503
    assert "not enough memory" in caplog.text


def test_too_little_memory_in_this_process_is_no_fault_of_the_file(files, monkeypatch, caplog):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("service.images.decode.load", fail)
    with caplog.at_level(logging.ERROR), pytest.raises(OutOfMemoryError):
        decode(files.saved(files.photograph(), "PNG"), max_pixels=10_000)
    assert "not enough memory" in caplog.text


def test_the_memory_of_all_children_is_limited():
    pool, most = Pool(4, "too late"), isolated.MOST_MEMORY_BYTES
    with pool.lent(most - 10, math.inf, most):
        with (
            pytest.raises(DeadlineError, match="too late"),
            pool.lent(11, time.monotonic() + 0.1, most),
        ):
            pass
        with pool.lent(10, time.monotonic() + 1, most):
            pass
    with pool.lent(10 * most, math.inf, most):  # alone, one image may need more
        pass
    pool.close()


def test_children_are_lent_in_the_order_of_the_callers():
    pool = Pool(1, "too late")
    order = []

    def use(number):
        with pool.lent(1, math.inf, 1):
            order.append(number)

    with pool.lent(1, math.inf, 1):
        threads = []
        for number in range(5):
            threads.append(threading.Thread(target=use, args=(number,)))
            threads[-1].start()
            while len(pool._waiting) < number + 1:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    pool.close()
    assert order == list(range(5))


def test_many_threads_share_few_children(files, monkeypatch):
    monkeypatch.setattr(isolated._decoding, "most_children", 2)
    pictures = [np.roll(files.photograph(), i, axis=1) for i in range(24)]
    with ThreadPoolExecutor(8) as threads:
        results = threads.map(
            lambda picture: decode(files.tiff(picture), max_pixels=10_000), pictures
        )
        for result, picture in zip(results, pictures, strict=True):
            np.testing.assert_array_equal(result, picture)
    assert 1 <= len(children()) <= 2


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_file_that_ends_the_decoder_is_a_bad_image_and_a_line_in_the_log(
    files, tiff, number, caplog, monkeypatch
):
    ask = Child.ask

    def asked(self, *job, **options):
        self._process.send_signal(number)
        self._process.wait()
        return ask(self, *job, **options)

    monkeypatch.setattr(Child, "ask", asked)
    with pytest.raises(BadImageError, match="ended the decoder"):
        decoded(tiff)
    assert f"exit code {-number}" in caplog.text
    monkeypatch.undo()
    np.testing.assert_array_equal(decoded(tiff), files.photograph())


def test_a_child_that_the_kernel_kills_is_missing_memory(tiff, monkeypatch):
    ask = Child.ask

    def asked(self, *job, **options):
        self._process.kill()
        self._process.wait()
        return ask(self, *job, **options)

    monkeypatch.setattr(Child, "ask", asked)
    with pytest.raises(MemoryError, match="exit code -9"):
        decoded(tiff)


def test_a_child_that_ended_while_it_waited_is_replaced(files, tiff):
    decoded(tiff)
    (child,) = children()
    os.kill(child, signal.SIGKILL)
    while "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
        time.sleep(0.01)
    np.testing.assert_array_equal(decoded(tiff), files.photograph())
    assert children() != [child]


def test_closing_ends_the_children_and_those_who_wait_for_them(tiff):
    decoded(tiff)
    stop_children()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(decoded, tiff)
        while not isolated._decoding._lent:
            time.sleep(0.01)
        isolated.close()
        with pytest.raises(NotReadyError, match="stopping"):
            waiting.result(timeout=5)
    assert children() == []


def test_a_process_that_cannot_be_started_is_missing_memory(tiff, monkeypatch):
    def fail(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", fail)
    with pytest.raises(MemoryError, match="no more processes"):
        decoded(tiff)


def test_a_system_that_allows_only_small_pipes_gives_small_ones(files, tiff, monkeypatch):
    start = subprocess.Popen

    def refuse(*arguments, pipesize, **options):
        if pipesize > 0:
            raise PermissionError("F_SETPIPE_SZ")
        return start(*arguments, pipesize=pipesize, **options)

    monkeypatch.setattr(subprocess, "Popen", refuse)
    np.testing.assert_array_equal(decoded(tiff), files.photograph())


NONSENSE = {
    "no JSON": b"\0\0\0\4nope",
    "no object": b"\0\0\0\2[]",
    "no size": b"\0\0\0\2{}",
    "a length that is not a number": b'\0\0\0\x0e{"bytes":null}',
    "more bytes than pixels": b'\0\0\0\x0f{"bytes":99999}',
    "fewer bytes than pixels": b'\0\0\0\x19{"bytes":3,"size":[5, 5]}xyz',
    "an unknown error": b'\0\0\0\x1d{"error":"Odd","message":"a"}',
    "a length of an answer that never comes": b"\0\0\0\x09{",
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_a_child_that_answers_nonsense_is_replaced(files, tiff, monkeypatch, caplog, answer):
    """It goes on living, unlike a child that a file ends."""
    ends = "\nsys.stdout.buffer.close()\nos.close(1)" if answer.endswith(b"{") else ""
    program = (
        f"import os, sys, time\nsys.stdout.buffer.write({answer!r})\nsys.stdout.flush(){ends}\n"
        "time.sleep(600)"
    )
    start = subprocess.Popen
    with monkeypatch.context() as patched:
        patched.setattr(
            subprocess, "Popen", lambda command, **more: start([command[0], "-c", program], **more)
        )
        with pytest.raises(NotReadyError, match="The process that decodes images failed; try"):
            decoded(tiff)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "decodes images failed: its answer is not valid" in line
    np.testing.assert_array_equal(decoded(tiff), files.photograph())


def test_a_process_that_does_not_run_is_a_failure_of_the_server(tiff, monkeypatch, caplog):
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **more: start([command[0], "-c", "exit(3)"], **more)
    )
    with pytest.raises(NotReadyError, match="failed; try again"):
        decoded(tiff)
    assert "it ended with exit code 3" in caplog.text


def test_a_child_that_waits_holds_little_memory():
    header = struct.pack("<IiiHHIIiiII", 40, 5000, 5000, 1, 8, 1, 0, 0, 0, 256, 0)
    head = b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + header + bytes(1024)
    assert decode(head + b"\1\7\0\0" * 5000, max_pixels=25_000_000).shape == (5000, 5000, 3)
    (child,) = children()
    for _ in range(1000):  # it answers first
        resident = int(Path(f"/proc/{child}/statm").read_text().split()[1]) * 4096
        if resident < 60 * MEGABYTE:
            break
        time.sleep(0.05)
    assert resident < 60 * MEGABYTE


def test_a_job_has_its_whole_time_whatever_those_before_it_took(files, tiff, monkeypatch):
    """The limit of one job must not hold while the next one is read."""
    decoded(tiff)
    (child,) = children()
    for _ in range(1000):  # it answers first
        limits = Path(f"/proc/{child}/limits").read_text()
        (line,) = (line for line in limits.splitlines() if line.startswith("Max cpu time"))
        soft, hard = line.split()[3:5]
        if soft == hard:
            break
        time.sleep(0.05)
    assert soft == hard


def test_an_avif_is_decoded_in_one_thread_on_a_machine_of_many_cores(files, monkeypatch):
    """The memory of a thread for each of 64 cores is more than a small image may take."""
    container = walk(files.saved(files.photograph(), "AVIF"), LIMITS)
    threads = []
    decoder = AvifImagePlugin._avif.AvifDecoder
    spy = SimpleNamespace(AvifDecoder=lambda *given: threads.append(given[2]) or decoder(*given))
    monkeypatch.setattr(AvifImagePlugin, "_avif", spy)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
    load(container, None)
    assert threads == [1]


def test_a_child_holds_no_secret_and_no_file_of_the_server(tiff, monkeypatch, tmp_path):
    monkeypatch.setenv("WARPGUARD_API_KEYS", "secret")
    with (tmp_path / "open").open("w"):
        decoded(tiff)
        (child,) = children()
        environment = Path(f"/proc/{child}/environ").read_bytes()
        assert b"secret" not in environment
        opened = [str(each.readlink()) for each in Path(f"/proc/{child}/fd").iterdir()]
    assert not [name for name in opened if str(tmp_path) in name]
    assert len(opened) < 10


def test_a_child_ends_with_its_parent(files, tmp_path):
    """Even with one that is killed: then the child's input ends."""
    (tmp_path / "a.tiff").write_bytes(files.tiff(files.photograph()))
    script = (
        "import sys, time; from service.images.decode import decode\n"
        f"decode(open({str(tmp_path / 'a.tiff')!r}, 'rb').read(), max_pixels=10**6)\n"
        "from service.images import isolated\n"
        "print(isolated._decoding._idle[0]._process.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert Path(f"/proc/{child}").exists()
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


def test_a_child_answers_with_no_more_pixels_than_the_file_declares(tiff):
    lying = replace(tiff, width=9, height=9)
    with pytest.raises(BadImageError, match="two different sizes"):
        decoded(lying)


def test_nothing_is_left_open(tiff, recwarn):
    decoded(tiff)
    isolated.close()
    gc.collect()
    assert not [each for each in recwarn if each.category is ResourceWarning]


def test_a_server_that_stops_leaves_no_child(spawn, files):
    server = spawn("--deadline-ms", "8000")
    body = files.tiff(files.photograph())
    assert server.ask("/v1/predict", body).status == 200
    (child,) = children(server.process.pid)
    os.kill(child, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(server.ask, "/v1/predict", body)
        time.sleep(0.3)
        server.process.terminate()
        assert waiting.result(timeout=20).status == 504
    assert server.process.wait(20) == 0
    assert not Path(f"/proc/{child}").exists()
