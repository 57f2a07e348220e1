"""``warpguard watch`` beside real servers, with the events that they raise."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.auth.key_file import new
from tests.service.conftest import free_port
from tests.service.signals.test_event import event
from tests.service.signals.test_watch import in_ball, picture, png

LIMIT_S = 300
FAST = ("--interval-seconds", "0.2")


class Attacked:
    """A server of whose pictures the 21st has raised an event, its files and its admin port."""

    def __init__(self, spawn, folder, port=None):
        self.admin_port = port or free_port()
        self.url = f"http://127.0.0.1:{self.admin_port}"
        self.events = folder / "events.jsonl"
        key, line = new("shop")
        (folder / "keys.txt").write_text(line)
        self.server = spawn(
            *("--admin-port", str(self.admin_port), "--api-keys", str(folder / "keys.txt")),
            *("--alarm", "same-picture", "--events-file", str(self.events)),
            *("--log-format", "json"),
            ready=False,
        )
        self.log = self.server._log
        self.server.wait_until(self.server.is_listening)
        self.server.wait_until(lambda: self.server.ask("/v2/health/ready").status == 200)
        self._headers = {"X-API-Key": key}
        for _ in range(21):
            self.post()
        self.server.wait_until(self.events.read_text)

    def post(self):
        image = png(in_ball(picture(size=32)))
        assert self.server.ask("/v1/predict?draws=2", image, self._headers).status == 200


@pytest.fixture(scope="module")
def attacked(spawn_for_all, tmp_path_factory):
    return Attacked(spawn_for_all, tmp_path_factory.mktemp("attacked"))


def test_both_sources_show_the_server_its_clients_and_their_events(attacked, warpguard):
    shown = warpguard("watch", attacked.url, attacked.events, "--once").out
    assert f"{attacked.url}  ready" in shown
    assert "colours on CPUExecutionProvider, defended with: fd+rdg" in shown
    assert re.search(
        r"since the start: [\d.]+ images/s, [\d.]+ draws/s, p50 \d+ ms, p99 \d+", shown
    )
    assert "0 of 256 in flight" in shown
    assert re.search(r"same-picture +21 +1 +1\n", shown)
    assert re.search(r"shop +– +1 +same-picture 20 ", shown)
    assert "Medium: shop has posted 20 versions of one picture (same-picture)." in shown


def test_the_log_shows_the_images_of_each_key_too(attacked, warpguard):
    attacked.post()
    attacked.server.wait_until(lambda: attacked.log.read_text("utf-8").count('"key": "shop"') > 21)
    shown = warpguard("watch", attacked.log, "--once").out
    assert re.search(r"shop +[\d.]+ +1 +same-picture 20 ", shown)
    assert "in flight" not in shown


def test_each_source_alone_says_what_is_missing(attacked, warpguard):
    assert "The clients are in the events" in warpguard("watch", attacked.url, "--once").out
    assert "images/s" not in warpguard("watch", os.devnull, "--once", code=1).out


@pytest.mark.parametrize(
    ("sources", "code", "said"),
    [
        (["http://127.0.0.1:9"], 1, "http://127.0.0.1:9 cannot be reached: "),
        (["http://[::1"], 1, "is not a valid address"),
        (["http://"], 1, "has no host"),
        (["127.0.0.1:9090"], 2, "an address begins with http://"),
        (["missing.jsonl"], 2, "missing.jsonl is not a file"),
        (["http://a", "http://b"], 2, "give one URL, one FILE, or one of each"),
        (["http://a", "--interval-seconds", "0"], 2, "must be between 0.1 and 3600"),
        (["http://a", "--interval-seconds", "nan"], 2, "must be between 0.1 and 3600"),
        (["http://a", "--api-key-file", "missing"], 2, "--api-key-file: "),
    ],
)
def test_what_cannot_be_watched_is_one_clear_error(warpguard, sources, code, said):
    printed = warpguard("watch", *sources, "--once", code=code)
    assert said in printed.err
    assert printed.out == ""


def test_the_public_port_is_not_the_admin_port(attacked, warpguard):
    public = f"http://127.0.0.1:{attacked.server.port}"
    said = warpguard("watch", public, "--once", code=1).err
    assert "give the address of its admin port" in said
    tls = f"https://127.0.0.1:{attacked.admin_port}"
    assert "The admin port has no TLS" in warpguard("watch", tls, "--once", code=1).err


class _Front(BaseHTTPRequestHandler):
    """Something in front of the admin port that requires a key."""

    def do_GET(self):
        allowed = self.headers["Authorization"] == "Bearer the-key"
        body = b"warpguard_build_info 1\nwarpguard_ready 1\n" if self.path == "/metrics" else b"{}"
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def front():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Front)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_key_is_sent(front, warpguard, tmp_path):
    key = tmp_path / "key"
    key.write_text("the-key\n")
    assert "--api-key-file" in warpguard("watch", front, "--once", code=1).err
    ready = warpguard("watch", f"{front}/metrics", "--once", "--api-key-file", key).out
    assert f"{front}  ready" in ready
    key.write_text("two words\n")
    assert "the key alone" in warpguard("watch", front, "--once", "--api-key-file", key, code=2).err


def watching(*arguments, **options):
    command = [sys.executable, "-m", "service", "watch", *map(str, arguments), *FAST]
    # A shell starts what runs in the background with SIGINT ignored, and so do its children.
    return subprocess.Popen(
        command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options
    )


class Blocks:
    """The output of a command without a terminal."""

    def __init__(self, *arguments):
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        environment = os.environ | {"COLUMNS": "300"}
        self.process = watching(*arguments, env=environment, **streams)
        self.text = ""

    def wait_for(self, pattern):
        """Read until something new matches."""
        start, give_up = len(self.text), time.monotonic() + LIMIT_S
        while not re.search(pattern, self.text[start:]):
            assert time.monotonic() < give_up, self.text
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, self.text
            self.text += piece.decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.stdout.read()
        assert self.process.wait(LIMIT_S) == 130
        self.process.stdout.close()


def test_without_a_terminal_block_follows_block(attacked):
    with Blocks(attacked.url, attacked.events) as blocks:
        for _ in range(2):
            blocks.wait_for(r"last [\d.]+ s: 0\.0 images/s")
            blocks.wait_for("last events")
    assert "\x1b" not in blocks.text
    assert blocks.text.count("\nlast events\n") >= 2


def test_a_server_that_goes_away_is_waited_for(spawn, tmp_path):
    first = Attacked(spawn, tmp_path)
    with Blocks(first.url, first.events) as blocks:
        blocks.wait_for("ready")
        first.server.signal(signal.SIGKILL)
        first.server.process.wait(LIMIT_S)
        blocks.wait_for(r"cannot be reached: .* It last answered \d+ s ago\. Trying again\.")
        blocks.wait_for("shop")  # the file is still there
        Attacked(spawn, tmp_path, first.admin_port)
        blocks.wait_for(r"since the start: ")
        blocks.wait_for(r"same-picture +21 +1 +1\n")
        first.events.unlink()
        blocks.wait_for(r"events\.jsonl cannot be read: No such file")


def test_a_terminal_shows_one_table_that_changes(tmp_path, attacked):
    """Control characters of a stream do not reach it."""
    ours, theirs = pty.openpty()
    events = tmp_path / "events.jsonl"
    events.write_text(json.dumps(event("one\x1b[31m\x07")) + "\n")
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = watching(attacked.url, events, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown, give_up = "", time.monotonic() + LIMIT_S
    try:
        while "two" not in shown:
            assert time.monotonic() < give_up, shown
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 65536).decode("utf-8", "replace")
            if "one" in shown and "two" not in events.read_text():
                with events.open("a") as opened:
                    opened.write(json.dumps(event("two")) + "\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert "one\\x1b[31m\\x07" in shown
    assert "\x07" not in shown
    frame = re.split(r"(?:\x1b\[1A\x1b\[2K)+", shown)[-1]
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).splitlines()
    assert "two" in frame
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
