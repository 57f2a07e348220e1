"""What the targets of the Makefile install, with programs that only write down that they ran."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def make(tmp_path):
    """Run targets in an empty copy; returns the arguments of each run of pip, and the output."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "pip", "warpguard", "warpguard-harness", "ruff", "mypy"):
        (programs / name).write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.log\n')
        (programs / name).chmod(0o755)
    (tmp_path / ".venv-clients").mkdir()

    def run(*targets):
        log = tmp_path / "pip.log"
        log.unlink(missing_ok=True)
        clients = ["-o", ".venv-clients/.ready", f"PYTHON={sys.executable}"]
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        done = subprocess.run(
            ["make", *clients, *targets],
            cwd=tmp_path,
            env=outside,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return log.read_text().splitlines() if log.exists() else [], done.stdout

    return run


def test_a_first_run_says_what_it_installs_and_lets_pip_show_its_progress(make):
    (installed,), shown = make("demo")
    assert installed.endswith("--editable .[demo]")
    assert "--quiet" not in installed
    assert "320 MB" in shown.splitlines()[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("demo", "serve"),
        ("attack", "demo"),
        ("test", "serve"),
        ("test", "demo"),
        ("test", "attack"),
        ("lint", "serve"),
        ("serve", "serve"),
    ],
)
def test_nothing_is_installed_twice(make, first, second):
    assert make(first)[0]
    assert make(second) == ([], "")


def test_what_is_missing_is_still_installed(make):
    make("serve")
    assert len(make("demo")[0]) == 1
    assert len(make("test")[0]) == 1
