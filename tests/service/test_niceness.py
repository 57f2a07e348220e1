"""Started with a low priority, by a user who cannot raise it again."""

import json
import os
import shutil
import subprocess
import sys

import pytest

NICENESS = ("nice", "-n", "15")


@pytest.fixture
def unprivileged():
    """The words before a command that take its rights and lower its priority."""
    if os.geteuid() != 0:
        return NICENESS
    if shutil.which("setpriv") is None:
        pytest.skip("root can raise priorities, and there is no setpriv to take this right")
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", *NICENESS)


def test_predict(unprivileged, colour_store, make_photograph, tmp_path):
    (tmp_path / "red.png").write_bytes(make_photograph("red"))
    command = [*unprivileged, sys.executable, "-m", "service", "predict", tmp_path / "red.png"]
    done = subprocess.run(
        [*command, "--store", colour_store, "--model", "colours", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["predictions"][0]["label"] == "red"


def test_serve(unprivileged, spawn, make_photograph):
    server = spawn(prefix=unprivileged)
    assert os.getpriority(os.PRIO_PROCESS, server.process.pid) >= 15
    answer = server.ask("/v1/predict", make_photograph("red"))
    assert answer.status == 200
    assert json.loads(answer.content)["predictions"][0]["label"] == "red"
    server.signal()
    assert server.exit_code() == 0, server.log
    assert "Traceback" not in server.log
