import hashlib
import json
import logging
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from models import ChecksumError, PullError, StoreError, hub
from models.catalog import HubFile

ROOT = Path(__file__).parents[2]
DATA = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(DATA).hexdigest()
COMMIT = "c0ffee" * 6 + "c0ff"
FILE = HubFile("inception-v3", "timm/inception_v3.tv_in1k", "model.safetensors", SHA256)
PATH = f"/{FILE.repository}/resolve/{{}}/{FILE.name}"


class Hub(ThreadingHTTPServer):
    """Answers like the hub for one file, and misbehaves on request.

    Attributes:
        script: the outcomes of the next GETs: "cut N" or "stall N" after N bytes, a status, or
            "ok". Every later GET has the outcome "ok".
        gets: the path, Range and Authorization of each GET.
        sent: how many bytes of the file have been sent.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = DATA
        self.head_headers = {"ETag": f'"{SHA256}"', "X-Repo-Commit": COMMIT}
        self.head_status = 200
        self.storage = None
        self.ranges = True
        self.script = []
        self.gets = []
        self.sent = 0
        self.released = threading.Event()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass  # these tests make clients hang up


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(self.server.head_status, self.server.head_headers, len(self.server.data))

    def do_GET(self):
        server = self.server
        server.gets.append((self.path, self.headers["Range"], self.headers["Authorization"]))
        if server.storage and not self.path.startswith("/storage"):
            self.answer(302, {"Location": f"{server.storage}/storage?signature=1"}, 0)
            return
        action, _, count = (server.script.pop(0) if server.script else "ok").partition(" ")
        if count == "flood":
            self.flood(int(action))
            return
        if action.isdigit():
            self.answer(int(action), {}, 0)
            return
        start = 0
        if server.ranges and self.headers["Range"]:
            start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
        if action == "flood":
            self.flood()
            return
        body = server.data[start:]
        if start and not body:
            self.answer(416, {"Content-Range": f"bytes */{len(server.data)}"}, 0)
            return
        size = len(server.data)
        content_range = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
        self.answer(206 if start else 200, content_range, len(body))
        if action != "ok":
            body = body[: int(count)]
            self.close_connection = True
        server.sent += len(body)  # before the client can have read it
        self.wfile.write(body)
        self.wfile.flush()
        if action == "stall":
            server.released.wait(20)

    def flood(self, status=200):
        """Send more than was declared, without an end."""
        self.send_response(status)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(self.server.data)
            while not self.server.released.is_set():
                self.wfile.write(bytes(100_000))
                self.server.sent += 100_000
        self.close_connection = True

    def answer(self, status, headers, length):
        self.send_response(status)
        for name, value in {"Accept-Ranges": "bytes", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


@pytest.fixture
def server():
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def client(monkeypatch):
    monkeypatch.setattr(hub, "RETRY_PAUSE_S", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()


def pull(server, folder, file=FILE, **options):
    return hub.pull(file, folder, endpoint=server.endpoint, **options)


def start_pull(server, folder, **variables):
    """Start a pull in another process."""
    code = (
        "import sys; from pathlib import Path; from models import catalog, hub\n"
        "file = catalog.HubFile(*sys.argv[1:5])\n"
        "print(hub.pull(file, Path(sys.argv[5]), endpoint=sys.argv[6]).sha256)"
    )
    arguments = [FILE.model, FILE.repository, FILE.name, SHA256, str(folder), server.endpoint]
    environment = os.environ | variables
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment)


def assert_says_what_to_do(message, digest=SHA256):
    for part in (
        "timm/inception_v3.tv_in1k",
        "https://huggingface.co/timm/inception_v3.tv_in1k/resolve/main/model.safetensors",
        digest,
        "`warpguard models pull inception-v3 --weights FILE`",
        "efficientnet-lite2",
    ):
        assert part in message
    assert "\n" not in message


def test_pull(server, tmp_path, capfd):
    download = pull(server, tmp_path / "made")
    assert download == hub.Download(tmp_path / "made" / f"{SHA256}.part", SHA256, COMMIT)
    assert download.path.read_bytes() == DATA
    assert server.gets == [(PATH.format(COMMIT), None, "Bearer hf_secret")]
    assert capfd.readouterr() == ("", "")  # stderr is not a terminal


def test_a_second_pull_sends_nothing(server, tmp_path):
    pull(server, tmp_path)
    pull(server, tmp_path)
    assert len(server.gets) == 1


@pytest.mark.parametrize("right", [True, False])
def test_a_pull_stops_at_the_declared_size(server, tmp_path, right):
    server.script = ["flood"]
    if right:
        assert pull(server, tmp_path).path.read_bytes() == DATA
    else:
        server.data = b"x" + DATA[1:]
        with pytest.raises(ChecksumError, match="has the SHA-256"):
            pull(server, tmp_path)
        assert not list(tmp_path.glob("*.part"))
    assert server.sent < 40 * len(DATA), "this much fits into the sockets"


def test_the_text_of_an_error_is_not_read(server, tmp_path):
    server.script = ["404 flood"]
    with pytest.raises(PullError, match="answered 404"):
        pull(server, tmp_path)
    assert server.sent < 40 * len(DATA), "this much fits into the sockets"


def test_a_hub_that_declares_no_size(server, tmp_path, monkeypatch):
    declared = hub.get_hf_file_metadata

    def without(*arguments, **options):
        return replace(declared(*arguments, **options), size=None)

    monkeypatch.setattr(hub, "get_hf_file_metadata", without)
    with pytest.raises(PullError, match="declares no size") as caught:
        pull(server, tmp_path)
    assert_says_what_to_do(str(caught.value))
    assert not server.gets


def test_progress_on_a_terminal(server, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    pull(server, tmp_path / "quiet", quiet=True)
    assert capfd.readouterr().err == ""
    pull(server, tmp_path / "loud")
    assert "model.safetensors: 100%" in capfd.readouterr().err


def test_nothing_but_the_file_is_fetched(server, tmp_path):
    """The library would read a list of programs from the hub, however long it is."""
    variables = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": server.endpoint}
    process = start_pull(server, tmp_path, NO_PROXY="127.0.0.1", **variables)
    assert process.wait(120) == 0
    assert [path for path, _, _ in server.gets] == [PATH.format(COMMIT)]


def test_the_digest_that_the_hub_declares(server, tmp_path):
    unknown = HubFile(FILE.model, FILE.repository, FILE.name)
    server.head_headers["ETag"] = '"of-the-storage"'
    with pytest.raises(PullError, match=r"declares no SHA-256.*of-the-storage"):
        pull(server, tmp_path, unknown)
    server.head_headers["X-Linked-Etag"] = f'"{SHA256}"'
    assert pull(server, tmp_path, unknown).sha256 == SHA256


def test_the_token_is_not_sent_to_the_storage(server, tmp_path):
    server.storage = f"http://localhost:{server.server_port}"
    server.script = ["cut 1000"]
    assert pull(server, tmp_path).path.read_bytes() == DATA
    storage = "/storage?signature=1"
    assert server.gets == [
        (PATH.format(COMMIT), None, "Bearer hf_secret"),
        (storage, None, None),
        (PATH.format(COMMIT), "bytes=1000-", "Bearer hf_secret"),  # for a new signature
        (storage, "bytes=1000-", None),
    ]


def test_a_pull_resumes_after_a_lost_connection(server, tmp_path, caplog):
    caplog.set_level(logging.INFO, "models.hub")
    server.script = ["cut 100", "503", "cut 200000", "429"]
    assert pull(server, tmp_path).path.read_bytes() == DATA
    starts = [start for _, start, _ in server.gets]
    assert starts == [None, "bytes=100-", "bytes=100-", "bytes=200100-", "bytes=200100-"]
    assert server.sent == len(DATA)
    assert "was interrupted at byte 100" in caplog.text


def test_the_next_pull_resumes_after_repeated_failures(server, tmp_path):
    server.script = ["cut 5000", *["cut 0"] * 5]
    with pytest.raises(PullError, match="Run the command again to resume") as caught:
        pull(server, tmp_path)
    assert_says_what_to_do(str(caught.value))
    assert len(server.gets) == 6
    assert pull(server, tmp_path).path.read_bytes() == DATA
    assert server.gets[-1][1] == "bytes=5000-"
    assert server.sent == len(DATA)


def test_another_process_resumes_after_a_kill(server, tmp_path):
    server.script = ["stall 123456"]
    part = tmp_path / f"{SHA256}.part"
    process = start_pull(server, tmp_path)
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size == 123456):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(PullError, match="another process is pulling it"):
        pull(server, tmp_path)
    process.kill()
    process.wait()
    assert start_pull(server, tmp_path).wait() == 0
    assert [start for _, start, _ in server.gets] == [None, "bytes=123456-"]
    assert server.sent == len(DATA)
    assert part.read_bytes() == DATA


def test_a_pull_starts_over_if_the_server_has_no_ranges(server, tmp_path):
    server.ranges = False
    server.script = ["cut 100"]
    assert pull(server, tmp_path).path.read_bytes() == DATA
    assert server.sent == 100 + len(DATA)


def test_a_pull_starts_over_if_the_local_part_is_too_long(server, tmp_path):
    (tmp_path / f"{SHA256}.part").write_bytes(DATA + b"more")
    assert pull(server, tmp_path).path.read_bytes() == DATA
    assert [start for _, start, _ in server.gets] == [f"bytes={len(DATA) + 4}-", None]


@pytest.mark.parametrize("begun", [b"", b"of another file"])
def test_a_wrong_file_is_deleted_and_the_next_pull_is_fresh(server, tmp_path, begun):
    if begun:
        (tmp_path / f"{SHA256}.part").write_bytes(begun)
    else:
        server.data = b"x" + DATA[1:]
    with pytest.raises(ChecksumError) as caught:
        pull(server, tmp_path)
    assert_says_what_to_do(str(caught.value))
    assert "It has been deleted" in str(caught.value)
    assert not list(tmp_path.glob("*.part"))
    server.data = DATA
    assert pull(server, tmp_path).path.read_bytes() == DATA


def test_a_file_with_a_different_declared_digest_is_not_downloaded(server, tmp_path):
    server.head_headers["ETag"] = f'"{"0" * 64}"'
    with pytest.raises(ChecksumError, match="declares the SHA-256 0000") as caught:
        pull(server, tmp_path)
    assert_says_what_to_do(str(caught.value))
    assert not server.gets


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_an_error_status_of_the_hub(server, tmp_path, status):
    server.head_status = status
    with pytest.raises(PullError, match=f"answered {status}") as caught:
        pull(server, tmp_path)
    assert_says_what_to_do(str(caught.value))
    assert not server.gets


def test_an_error_status_of_the_storage(server, tmp_path):
    server.script = ["404"]
    with pytest.raises(PullError, match="answered 404"):
        pull(server, tmp_path)
    server.script = ["503"] * 9
    with pytest.raises(PullError, match="answered 503"):
        pull(server, tmp_path)
    assert len(server.gets) == 1 + 5


def test_no_connection(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(PullError, match=f"the connection to {endpoint} failed") as caught:
            hub.pull(FILE, tmp_path, endpoint=endpoint + "/")
    assert_says_what_to_do(str(caught.value))


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://127.0.0.1", "http://[::1"])
def test_an_endpoint_that_is_not_a_url(tmp_path, endpoint):
    with pytest.raises(PullError, match="failed"):
        hub.pull(FILE, tmp_path, endpoint=endpoint)


def test_a_server_that_stops_sending(server, tmp_path):
    server.script = ["stall 10", *["stall 0"] * 5]
    with pytest.raises(PullError, match="timed out"):
        pull(server, tmp_path, timeout_s=0.5)
    assert pull(server, tmp_path).path.read_bytes() == DATA
    assert server.gets[-1][1] == "bytes=10-"


def test_offline_mode(server, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PullError, match="HF_HUB_OFFLINE") as caught:
        pull(server, tmp_path)
    assert_says_what_to_do(str(caught.value))


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="WARPGUARD_STORE"):
        pull(server, tmp_path / "file" / "downloads")


def test_a_file_that_cannot_grow_keeps_what_has_come(server, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    server.script = ["cut 40000"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StoreError, match=r"File too large.*Make room"):
            pull(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = (tmp_path / f"{SHA256}.part").stat().st_size
    assert kept >= 40_000
    assert pull(server, tmp_path).path.read_bytes() == DATA
    assert server.gets[-1][1] == f"bytes={kept}-"


def test_the_endpoint_of_the_environment(server, tmp_path):
    code = (
        "import json, sys; from pathlib import Path; from models import catalog, hub\n"
        "file = catalog.HubFile(*json.loads(sys.argv[1]))\n"
        "print(hub.pull(file, Path(sys.argv[2])).commit)"
    )
    arguments = [json.dumps([FILE.model, FILE.repository, FILE.name, SHA256]), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_ENDPOINT": server.endpoint},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == COMMIT + "\n"
    assert done.stderr == ""
