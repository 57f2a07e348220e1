"""The stock clients, each in a process of its own, against a real server."""

import json
import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "clients"
PYTHON = Path(__file__).parents[3] / ".venv-clients" / "bin" / "python"
CLIENTS = ("triton", "triton_aio", "kserve_rest")


def checks():
    for client in CLIENTS:
        source = (HERE / f"{client}.py").read_text("utf-8")
        for name in re.findall(r"^(?:async )?def (check_\w+)", source, re.MULTILINE):
            yield pytest.param(client, name, id=f"{client}-{name.removeprefix('check_')}")


@pytest.fixture(scope="module")
def address(spawn_for_all):
    server = spawn_for_all("--defense", "none", "--allow-defense", "fd+rdg(delta=1.0)")
    return f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def run(address):
    """Run a client; returns the problem of each of its checks, or None."""
    done = {}

    def results(client):
        if client not in done:
            assert PYTHON.exists(), "make test sets up the clients' environment"
            process = subprocess.run(
                [PYTHON, "-W", "error", HERE / f"{client}.py", address],
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
            assert process.returncode == 0, process.stderr
            done[client] = json.loads(process.stdout)
        return done[client]

    return results


@pytest.mark.parametrize(("client", "check"), list(checks()))
def test_a_stock_client_is_served(run, client, check):
    problem = run(client)[check]
    assert problem is None, problem
