"""A server of our own: it starts with our settings alone, and never outlives us."""

import subprocess
import sys
import time

import httpx2
import pytest

from harness.errors import EndpointError
from harness.server import Server


def test_settings_of_another_server_do_not_apply(monkeypatch, tmp_path):
    monkeypatch.setenv("WARPGUARD_DEFENSE", "rdg")
    monkeypatch.setenv("WARPGUARD_API_KEYS", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "__main__.py").write_text("raise SystemExit('another service')")
    variables = {"WARPGUARD_ALLOW_DEFENSE": "fd"}
    with Server("--log-level", "debug", log=tmp_path / "a" / "log", variables=variables) as server:
        answer = httpx2.get(f"{server.url}/v1/defenses").json()
    assert answer["default"] == "fd+rdg"
    assert {each["name"] for each in answer["defenses"]} == {"fd+rdg", "fd"}
    assert server.returncode == 0
    assert "Serving" in server.log.read_text()


def test_a_server_that_does_not_start_is_reported_with_its_last_line(tmp_path):
    with (
        pytest.raises(EndpointError, match="no-such-model"),
        Server("--model", "no-such-model", log=tmp_path / "log"),
    ):
        pass


def test_a_server_without_a_log_is_reported_with_its_exit_code():
    with pytest.raises(EndpointError, match="warpguard serve stopped: exit 2"), Server("--nothing"):
        pass


def answers(url):
    try:
        httpx2.get(f"{url}/livez", timeout=60)
    except httpx2.TransportError:
        return False
    return True


def test_the_server_of_a_killed_process_stops(tmp_path):
    code = (
        "import sys; from pathlib import Path; from harness.server import Server\n"
        "with Server(log=Path(sys.argv[1])) as server:\n"
        "    print(server.url, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    url = process.stdout.readline().strip()
    assert answers(url)
    process.kill()
    process.communicate()
    while answers(url):  # pytest's own limit ends the wait
        time.sleep(0.1)


def test_it_needs_nothing_of_the_harness_s_extra():
    """The demonstration is installed without it."""
    code = (
        "import sys; before = set(sys.modules); import harness.server\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "httpx2" in loaded
    assert not loaded & {"art", "jinja2", "matplotlib", "numpy", "scipy", "skimage", "torch"}
