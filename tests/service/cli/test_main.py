"""The program as a whole; each command's tests are in a file of its own."""

import os
import subprocess
import sys

import pytest

import service.server.run


def process(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_python_runs_it_as_a_module():
    done = process("-m", "service", "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("warpguard 0.")


def test_a_wrong_command_is_reported_by_a_process():
    done = process("-m", "service", "juggle")
    assert (done.returncode, done.stdout) == (2, "")
    assert "juggle" in done.stderr


@pytest.mark.parametrize("group", [[], ["models"], ["keys"]])
def test_a_group_of_commands_without_a_command_prints_its_help(warpguard, group):
    assert warpguard(*group) == warpguard(*group, "--help")
    assert "positional" not in warpguard(*group).out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("serv", "did you mean 'serve'?"),
        ("models lst", "did you mean 'list'?"),
        ("keys revok shop", "did you mean 'revoke'?"),
        ("--verison", "did you mean --version?"),
        ("serve --defence fd", "unrecognized arguments: --defence fd; did you mean --defense?"),
        ("serve --max_batches=8", "did you mean --max-batch?"),
        ("serve --no-defence-endpoint", "did you mean --no-defend-endpoint?"),
        ("predict x.jpg --topk 3 --draw 4", "did you mean --top-k?"),
        ("models show auto --jsn", "did you mean --json?"),
        ("serve --zzz", "'warpguard serve --help' lists the options"),
        ("version now", "unrecognized arguments: now;"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest(warpguard, line, message):
    printed = warpguard(*line.split(), code=2)
    assert message in printed.err
    assert len(printed.err.splitlines()) < 6
    assert printed.out == ""


def test_version(warpguard):
    assert warpguard("version").out == warpguard("--version").out


def test_help_and_version_load_nothing_heavy():
    """All in one interpreter, in which nothing else has run."""
    code = """
import sys
from service.cli.main import main
for line in ("--version", "version", "--help", "predict --help", "defend --help", "defenses --help",
             "quilt-bank --help", "models --help", "models pull --help", "keys new --help",
             "watch --help"):
    try:
        main(line.split())
    except SystemExit as error:
        assert error.code == 0
heavy = {"cv2", "fastapi", "huggingface_hub", "numpy", "onnx", "onnxruntime", "pydantic", "rich",
         "torch", "uvicorn"}
sys.exit(", ".join(heavy & sys.modules.keys()) or 0)
"""
    done = process("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["serve"],
        ["predict"],
        ["defend"],
        ["defenses"],
        ["quilt-bank"],
        ["version"],
        ["models"],
        ["models", "list"],
        ["models", "show"],
        ["models", "pull"],
        ["models", "add"],
        ["models", "remove"],
        ["keys"],
        ["keys", "new"],
    ],
)
def test_every_command_s_help_has_an_example(warpguard, command):
    text = warpguard(*command, "--help").out
    assert f"For example: warpguard {' '.join(command)}" in text


def test_flags_may_have_underscores(warpguard, colour_store, make_photograph, tmp_path):
    (tmp_path / "red.png").write_bytes(make_photograph("red"))
    arguments = [tmp_path / "red.png", "--store", colour_store, "--model=colours", "--json"]
    assert "green" not in warpguard("predict", *arguments, "--top_k=1").out


def test_an_interrupt_is_130(warpguard, monkeypatch):
    def interrupted(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(service.server.run, "serve", interrupted)
    warpguard("serve", code=130)


def test_a_bug_is_not_reported_as_a_wrong_setting(warpguard, monkeypatch):
    def buggy(settings):
        raise ValueError("a bug")

    monkeypatch.setattr(service.server.run, "serve", buggy)
    with pytest.raises(ValueError, match="a bug"):
        warpguard("serve")
