"""The command as a user types it."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from harness.attacks import ATTACKS, described
from harness.cli.main import main
from harness.rates import rates
from harness.results import Run


def harness(*arguments, timeout_s=280):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture(scope="module")
def runs(server, tmp_path_factory):
    """A quick verdict on one photograph."""
    folder = tmp_path_factory.mktemp("quick")
    done = harness("quick", "--endpoint", server, "--limit", 1, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_verdict_has_a_row_for_each_attack(runs):
    _, told = runs
    for name in ("clean", "noise", "i-fgsm", "bpda", "bpda-eot", "square", "adaptive"):
        assert name in told


def test_the_exact_attacker_does_most_harm(runs):
    folder, _ = runs
    asr = {
        name: rates(Run.read(folder / name)).asr.share
        for name in ("noise", "i-fgsm", "bpda", "adaptive")
    }
    assert asr["noise"] == asr["bpda"] == 0
    assert asr["adaptive"] > max(asr["i-fgsm"], 0.3)


def test_a_run_says_how_to_repeat_it(runs):
    folder, _ = runs
    run = json.loads((folder / "adaptive" / "run.json").read_text())
    assert run["attack"]["parameters"]["draws"] == 4
    assert run["endpoint"]["defense"] == "fd+rdg"
    assert run["endpoint"]["model_sha256"] == run["surrogate"]["sha256"]
    assert {"python", "torch", "warpguard"} <= set(run["versions"])
    assert all(len(image["sha256"]) == 64 for image in run["images"])


def test_the_same_command_does_nothing_twice(runs, server):
    folder, _told = runs
    before = Run.read(folder / "adaptive")
    again = harness("quick", "--endpoint", server, "--limit", 1, "--out", folder, timeout_s=60)
    assert again.returncode == 0, again.stderr
    assert Run.read(folder / "adaptive").images == before.images


def test_a_report_is_made_of_runs(runs, tmp_path):
    folder, _ = runs
    named = [folder / name for name in ("bpda", "adaptive")]
    options = ["-o", tmp_path / "r.html", "--markdown", tmp_path / "r.md", "--plots", tmp_path]
    done = harness("report", *named, *options)
    assert done.returncode == 0, done.stderr
    assert "adaptive" in (tmp_path / "r.html").read_text()
    assert "| " in (tmp_path / "r.md").read_text()
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_a_report_is_made_of_a_folder_of_runs(runs, tmp_path, capsys):
    folder, _ = runs
    of_each = ["report", str(folder), str(folder / "bpda"), "-o", str(tmp_path / "r.html")]
    assert main(of_each) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("noise", "i-fgsm", "square", "adaptive"))
    assert told.count("bpda ") == 1  # though it is named twice


def test_a_run_of_its_own_writes_its_folder_and_says_where(server, tmp_path):
    folder = tmp_path / ("a folder with [a] long name " * 4).strip()
    done = harness(
        "run", "noise(epsilon=0.02)", "--endpoint", server, "--limit", 1, "--out", folder
    )
    assert done.returncode == 0, done.stderr
    assert Run.read(folder).attack.epsilon == 0.02
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"The run: {folder}. ")
    command = shlex.split(last.partition("To make a page of it: ")[2])
    assert command[0] == "warpguard-harness"
    assert main([*command[1:], "-o", str(tmp_path / "report.html")]) == 0


def test_attacks_are_listed_with_their_parameters(capsys):
    assert main(["attacks"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ATTACKS)
    assert "draws=10" in listed


def test_a_value_of_the_list_is_whole_at_80_columns():
    done = subprocess.run(
        [sys.executable, "-m", "harness", "attacks"],
        env=os.environ | {"COLUMNS": "80"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert max(map(len, done.stdout.splitlines())) <= 80
    for line in (line for kind in ATTACKS.values() for line in described(kind)):
        assert line in done.stdout


def test_help_does_not_wait_for_pytorch():
    program = (
        "import sys; from harness.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "quick" in done.stdout


AT = ["--endpoint", "http://127.0.0.1:9", "--out", "x"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quick", "--endpoint", "http://127.0.0.1:9"], "cannot be reached"),
        (["report", "no/such/run"], "no/such/run cannot be read"),
        (["report", "."], ". does not hold a finished run"),
        (["run", "magic", *AT], "magic"),
        (
            ["run", "adaptive", "--score-rounds", "1,50,51,99", *AT],
            "adaptive has no round 51, 99. The rounds of --score-rounds must be 1 to 50.",
        ),
        (["run", "square", "--source-model", "m", *AT], "square takes no gradients"),
    ],
)
def test_what_fails_is_told_in_a_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith("warpguard-harness: ")
    assert message in told


@pytest.mark.parametrize(
    "arguments",
    [["quick"], ["run", "noise"], ["quick", "--endpoint", "u", "--limit", "0"], ["dance"]],
)
def test_a_wrong_command_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err
