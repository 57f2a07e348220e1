"""What ``make hostile`` sends, and how it measures what that costs."""

import gzip
import http.server
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from benchmarks.hostile import __main__ as command
from benchmarks.hostile import files
from benchmarks.hostile.cases import CASES, IMAGES
from benchmarks.hostile.requests import at_once, exchange, form, head, held, message
from benchmarks.hostile.upstream import HONEST_PATH, HOSTILE_PATH, Upstream, answered
from benchmarks.hostile.watch import Watch, cpu_s, family, seconds_until_idle
from service.errors import ServiceError, UnsupportedMediaError
from service.images.containers import walk
from service.images.limits import Limits

MOST_BODY_BYTES = 32 * 1024 * 1024
SLOW = ("noise: ", "png: a profile of 256 MB", "tiff: 25 megapixels, lzma", "webp: frames")


@pytest.mark.parametrize("name", [name for name in IMAGES if not name.startswith(SLOW)])
def test_a_hostile_file_is_of_its_format_and_fits_into_a_body(name):
    body = IMAGES[name]()
    assert len(body) <= MOST_BODY_BYTES
    assert len(gzip.compress(body, 6)) < 1_500_000
    try:
        said = walk(body, Limits(max_pixels=25_000_000, min_side_px=8)).kind
    except ServiceError as error:
        said = "" if isinstance(error, UnsupportedMediaError) else error.message
    assert name.split(":")[0].upper() in said


def test_the_files_have_as_many_records_as_their_names_say():
    assert IMAGES["jpeg: 8 million empty APP5"]().count(b"\xff\xe5\0\2") > 8_000_000
    assert IMAGES["gif: blocks of 1 byte"]().count(b"\1a") > 16_000_000
    assert IMAGES["jpeg: a thousand scans"]().count(b"\xff\xda") > 1000
    body = files.png_zeros(8, 2, interlace=1, side_px=100)
    assert walk(body, Limits(max_pixels=10_000, min_side_px=8)).width == 100


@pytest.fixture
def server():
    """A server that answers every whole request with 204, and nothing to half a request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.client_address[0], self.rfile.read(int(self.headers["length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    seen = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        serving.daemon_threads = True
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield SimpleNamespace(port=serving.server_port, seen=seen)
        serving.shutdown()


def test_requests_come_from_an_address_of_their_own_and_their_answers_count(server):
    request = [head("/", "length: 5"), b"hel", b"lo"]
    assert at_once(server.port, [request] * 3) == {204: 3}
    assert server.seen == [("127.0.0.2", b"hello")] * 3


def test_a_connection_without_an_answer_counts_as_0():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        closing = threading.Thread(target=lambda: listening.accept()[0].close())
        closing.start()
        assert exchange(listening.getsockname()[1], [head("/", "length: 0")]) == 0
        closing.join()


def test_held_connections_ask_again_or_stay_silent(server):
    request = head("/", "length: 0")
    assert held(server.port, [request] * 2, 0.1) == {}
    assert len(server.seen) == 2
    assert held(server.port, [request] * 2, 0.1, then=request)[204] == 2


def test_a_body_is_packed_where_that_makes_it_shorter():
    fields, packed = message("/", bytes(10_000)).split(b"\r\n\r\n", 1)
    assert b"Content-Encoding: gzip" in fields
    assert gzip.decompress(packed) == bytes(10_000)
    assert message("/", b"abc").endswith(b"Content-Length: 3\r\n\r\nabc")
    content_type, body = form(b"one", b"two")
    assert content_type.endswith("boundary=b")
    assert body.count(b"--b\r\n") == 2


WORKS_IN_A_CHILD = """
import subprocess, sys
child = "import time; data = bytearray(200_000_000); data[::4096] = bytes(len(data[::4096]))\\n"
child += "while time.process_time() < 1.5: pass\\nprint(1, flush=True)\\ninput()"
subprocess.run([sys.executable, "-c", child])
"""


def test_memory_and_time_of_children_count():
    with subprocess.Popen(
        [sys.executable, "-c", WORKS_IN_A_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        watch = Watch(process.pid)
        watch.start()
        process.stdout.readline()
        time.sleep(0.1)
        watch.stop()
        assert len(family(process.pid)) == 2
        assert 200 < watch.peak_mb < 300
        assert cpu_s(process.pid) > 1.4
        assert seconds_until_idle(process.pid, 30) < 30
        process.communicate(b"\n")


def test_work_that_goes_on_is_noticed():
    work = "import time\nprint(1, flush=True)\nwhile time.process_time() < 1: pass\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert seconds_until_idle(process.pid, 60) > 0.5
        process.communicate(b"\n")


def test_an_upstream_gives_hostile_requests_the_case_s_answer():
    with Upstream(lambda: [answered(b"x", status="418 Odd")]) as upstream:
        port = upstream.server_address[1]
        assert exchange(port, [head("/v2", method="GET")]) == 200
        assert exchange(port, [head(HONEST_PATH, "Content-Length: 2"), b"{}"]) == 200
        assert exchange(port, [head(HOSTILE_PATH, "Content-Length: 2"), b"{}"]) == 418


def test_the_cases_are_listed_by_pattern(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["hostile", "--list", "--only", "gif:*", "--only", "baseline"])
    assert command.main() == 0
    names = capsys.readouterr().out.splitlines()
    assert names == [name for name in CASES if name.startswith(("baseline", "gif"))]
    monkeypatch.setattr(sys, "argv", ["hostile", "--only", "nonsense"])
    with pytest.raises(SystemExit):
        command.main()


@pytest.mark.slow
def test_one_case_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["hostile", "--only", "jpeg: fill bytes"])
    command.main()
    printed = capsys.readouterr().out
    assert "x 400" in printed
    assert "jpeg: fill bytes" in printed
