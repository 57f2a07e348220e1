import re
import subprocess
import sys

import pytest

import service.server.run
from service.settings import Settings, flag, room


@pytest.fixture
def served(warpguard, monkeypatch):
    """The settings that arguments make; nothing is served."""

    def parse(*arguments):
        found = []
        monkeypatch.setattr(service.server.run, "serve", lambda settings: found.append(settings))
        assert warpguard("serve", *arguments) == ("", "")
        return found[0]

    return parse


def test_flags_and_variables_are_settings(served, monkeypatch):
    monkeypatch.setenv("WARPGUARD_MODEL", "inception-v3")
    monkeypatch.setenv("WARPGUARD_MAX_BATCH", "8")
    flags = ["--allow-defense", "none,fd", "--allow-defense", "rand", "--no-defend-endpoint"]
    settings = served("--model", "efficientnet-lite0", "--allow-load", *flags)
    assert (settings.model, settings.max_batch) == ("efficientnet-lite0", 8)
    assert settings.allow_defense == ("none", "fd", "rand")
    assert (settings.allow_load, settings.defend_endpoint) == (True, False)


def test_flags_as_kserve_writes_them(served):
    settings = served("--http_port", "9000", "--model_name=m", "--predictor_host", "a_b:80")
    assert (settings.port, settings.model_name) == (9000, "m")
    assert settings.predictor_host == "a_b:80"
    assert served("--port=9001").port == 9001


def test_its_help_names_kinds_of_values_and_no_types_of_python(warpguard):
    text = warpguard("serve", "--help").out
    assert "--store DIR" in text
    assert "--api-keys FILE" in text
    assert "--batch-window-ms MS" in text
    assert "{label,top1,full}" in text
    assert "(default: fd+rdg)" in text
    for unwanted in ("Path", " int ", "null", "factory", "lambda", "default: ()"):
        assert unwanted not in text


def test_its_help_has_each_option_in_the_group_of_its_room(warpguard):
    """No list by hand: an option is where its setting's class says."""
    text = warpguard("serve", "--help").out
    groups = dict(re.findall(r"^(\S.*):\n((?:  .*\n)+)", text, re.MULTILINE))
    assert {"options", "The process and its sockets"} < set(groups)
    for name in Settings.model_fields:
        (shown,) = (
            title for title, body in groups.items() if re.search(f"  {flag(name)}[ ,]", body)
        )
        assert shown == room(name)
    assert len(groups) > 8
    assert text.startswith("usage: warpguard serve [OPTION ...]\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--port x", "warpguard: --port: "),
        ("--max-batch 0", "warpguard: --max-batch: "),
        ("--max_batch=0", "warpguard: --max-batch: "),
        ("--http_port x", "--port"),
        ("--http-port=-1", "--port"),
        ("--defense fd+", "not a valid defence"),
        ("--allow-defense none,webp", "Defences: fd, rdg, rand"),
        ("--device tpu", "cuda"),
        ("--defense onnx(file=missing.onnx)", "missing.onnx cannot be read"),
        ("--allow-defense quilt", "bank has no default"),
        ("--predictor_host localhost", "--model-name"),
        ("--predictor_host=http://x --model_name=m", "HOST:PORT"),
        ("--predictor_host=x --predictor_protocol=grpc", "v1"),
        ("--predictor_use_ssl=true", "--predictor-use-ssl"),
    ],
)
def test_an_invalid_setting_is_named(warpguard, arguments, message):
    printed = warpguard("serve", *arguments.split(), code=2)
    assert message in printed.err
    assert printed.out == ""


def test_a_variable_that_is_invalid_is_named_by_its_flag(warpguard, monkeypatch):
    monkeypatch.setenv("WARPGUARD_MAX_BATCH", "0")
    assert "--max-batch" in warpguard("serve", code=2).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--model nonsense", "efficientnet-lite2"),
        ("--predictor_host=x --model_name=m --predictor_manifest=missing.json", "missing.json"),
    ],
)
def test_a_server_that_cannot_start_ends_with_1(arguments, message):
    """In a process, because a server sets the log of the process up."""
    command = [sys.executable, "-W", "error", "-m", "service", "serve", "--port", "0"]
    done = subprocess.run(
        [*command, *arguments.split()], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_variable_is_in_the_log_at_the_start(monkeypatch):
    monkeypatch.setenv("WARPGUARD_MAX_BATCHES", "8")
    command = [sys.executable, "-W", "error", "-m", "service", "serve", "--model", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.count("WARPGUARD_MAX_BATCHES") == 1
    assert "did you mean WARPGUARD_MAX_BATCH?" in done.stderr


def test_a_least_agreement_warns_that_it_needs_several_draws():
    command = [sys.executable, "-W", "error", "-m", "service", "serve", "--model", "nonsense"]
    command += ["--min-agreement", "0.8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.count("--min-agreement 0.8 needs answers of several draws") == 1


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_server_runs_without_its_standard_streams(spawn, closed):
    """As some supervisors start it. No connection may get the number of the standard error."""
    server = spawn(prefix=["sh", "-c", f'exec "$@" {closed}', "sh"])
    assert server.ask("/healthz").status == 200
    streams = {stream: (server.proc / "fd" / str(stream)).readlink() for stream in (0, 1, 2)}
    closed_streams = {2} if closed == "2>&-" else {0, 1, 2}
    assert {str(streams[stream]) for stream in closed_streams} == {"/dev/null"}
