"""The command line as a user types it: mostly in this process, and three times in a new one."""

import json
import os
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO

import pytest

from harness.attacks import ATTACKS, described, parse_attack
from harness.cli.main import main
from harness.errors import EndpointError, SurrogateError
from harness.rates import rates
from harness.report.evidence import Dossier
from harness.results import Run

NAMES = ("noise", "i-fgsm", "bpda", "bpda-eot", "square", "adaptive")
SHORT = (
    "noise",
    "i-fgsm",
    "bpda(rounds=3)",
    "bpda-eot(rounds=2,draws=2)",
    "square(queries=12,draws=1,rounds=2)",
    "adaptive(rounds=2,draws=4)",
)
"""The attacks of ``quick`` with fewer rounds."""


def process(program, *arguments, **variables):
    """Run a program of Python in a new process, and return its output."""
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        env=os.environ | variables,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout


def quick(server, folder, *, short):
    """Run ``quick`` on one photograph, and return its output."""
    with redirect_stdout(StringIO()) as output, pytest.MonkeyPatch.context() as patch:
        if short:
            patch.setattr("harness.cli.quick._SPECIFICATIONS", SHORT)
            patch.setattr("harness.cli.quick.CHECKED_IMAGES", 0)
        command = ["quick", "--endpoint", server, "--limit", "1", "--out", str(folder)]
        assert main(command) == 0
    return output.getvalue()


@pytest.fixture(scope="module")
def runs(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick")
    return folder, quick(server, folder, short=True)


def test_the_verdict_has_a_row_for_each_attack(runs):
    folder, printed = runs
    assert all(f"│ {name} " in printed for name in ("clean", *NAMES))
    assert f"The report: {folder / 'report.html'}" in printed


def test_quick_prints_the_verdict_in_sentences(runs):
    _, printed = runs
    text = " ".join(printed.split())
    assert "efficientnet-lite2 · fd+rdg" in text
    # One photograph is too few for a verdict on what is stopped.
    assert "The photographs are too few for a verdict on ready-made adversarial images: " in text
    assert "Not measured: an attacker who sees only the classes in the answers;" in text


def test_quick_leaves_out_what_needs_gradients_if_the_model_has_none(server, tmp_path, monkeypatch):
    def refuse(*_):
        raise SurrogateError("The graph has operators that cannot be differentiated here: Det.")

    monkeypatch.setattr("harness.surrogate.surrogate.Surrogate.__init__", refuse)
    printed = quick(server, tmp_path, short=True)
    assert "│ noise " in printed
    assert "│ square " in printed
    left_out = (
        "Left out: i-fgsm, bpda, bpda-eot, adaptive, because they need gradients. The graph has "
        "operators that cannot be differentiated here: Det."
    )
    assert left_out in printed
    assert left_out in (tmp_path / "report.html").read_text()


def test_a_run_records_how_to_repeat_it(runs):
    folder, _ = runs
    run = json.loads((folder / "adaptive" / "run.json").read_text())
    assert run["attack"]["parameters"]["draws"] == 4
    assert run["endpoint"]["defense"] == "fd+rdg"
    assert run["endpoint"]["model_sha256"] == run["surrogate"]["sha256"]
    assert {"python", "torch", "warpguard"} <= set(run["versions"])
    assert all(len(image["sha256"]) == 64 for image in run["images"])


def test_a_finished_run_is_not_repeated(runs, server):
    folder, _ = runs
    before = Run.read(folder / "adaptive")
    quick(server, folder, short=True)
    assert Run.read(folder / "adaptive").images == before.images


@pytest.mark.slow
def test_in_a_full_verdict_the_exact_attacker_does_most_harm_and_passes_all_checks(
    server, tmp_path
):
    quick(server, tmp_path, short=False)
    runs = {name: Run.read(tmp_path / name) for name in NAMES}
    asr = {name: rates(run).asr.share for name, run in runs.items()}
    assert asr["noise"] == asr["bpda"] == 0
    assert asr["adaptive"] > max(asr["i-fgsm"], 0.3)
    assert [check.name for check in runs["adaptive"].checks if not check.passed] == []


def test_a_report_is_made_of_runs(runs, tmp_path):
    folder, _ = runs
    command = ["report", folder / "bpda", folder / "adaptive", "-o", tmp_path / "r.html"]
    command += ["--markdown", tmp_path / "r.md", "--plots", tmp_path]
    assert main([*map(str, command)]) == 0
    assert "adaptive" in (tmp_path / "r.html").read_text()
    assert "| " in (tmp_path / "r.md").read_text()
    names = {path.name for path in tmp_path.iterdir()}
    assert {"summary-dark.svg", "acc-by-round.pdf", "asr-by-round.png", "rates.csv"} <= names


def test_a_report_is_made_of_a_folder_of_runs(runs, tmp_path, capsys):
    folder, _ = runs
    command = ["report", str(folder), str(folder / "bpda"), "-o", str(tmp_path / "r.html")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)
    assert printed.count("bpda ") == 1  # although it is named twice


def test_a_report_has_a_dossier(runs, tmp_path, capsys):
    folder, _ = runs
    page, dossier = tmp_path / "r.html", tmp_path / "dossier"
    command = ["report", str(folder), "-o", str(page), "--evidence", str(dossier)]
    assert main(command) == 0
    assert f"The dossier: {dossier / 'dossier.html'}" in capsys.readouterr().out
    written = {file.name: file.read_bytes() for file in dossier.iterdir()}
    assert set(written) == {"dossier.html", "dossier.json"}
    found = Dossier.model_validate_json(written["dossier.json"])
    commands = {run.name: shlex.split(run.command) for run in found.runs}
    attacks = [parse_attack(command[2]) for command in commands.values()]
    assert {*attacks} == {parse_attack(each) for each in SHORT}
    assert all(run.not_recorded == () for run in found.runs)
    assert main(command) == 0
    assert {file.name: file.read_bytes() for file in dossier.iterdir()} == written
    again = tmp_path / "again"
    assert main([*commands["square"][1:-1], str(again)]) == 0  # the last word is the folder
    assert (again / "plan.json").read_bytes() == (folder / "square" / "plan.json").read_bytes()


def test_a_run_that_cannot_be_in_a_dossier_leaves_nothing(runs, tmp_path, capsys):
    folder, _ = runs
    run = Run.read(folder / "noise")
    run.model_copy(update={"versions": {}}).write(tmp_path / "run")
    command = ["report", str(tmp_path / "run"), "-o", str(tmp_path / "r.html")]
    assert main([*command, "--evidence", str(tmp_path / "dossier")]) == 1
    assert "it has no versions of packages" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_run_in_its_own_process_writes_its_folder_and_prints_where(server, tmp_path):
    folder = tmp_path / ("a folder with [a] long name " * 4).strip()
    options = ["--endpoint", server, "--limit", 1, "--out", folder]
    output = process(["-m", "harness"], "run", "noise(epsilon=0.02)", *options)
    assert Run.read(folder).attack.epsilon == 0.02
    last = output.splitlines()[-1]
    assert last.startswith(f"The run: {folder}. ")
    command = shlex.split(last.partition("To make a page of it: ")[2])
    assert command[0] == "warpguard-harness"
    assert main([*command[1:], "-o", str(tmp_path / "report.html")]) == 0


def test_attacks_are_listed_and_no_value_is_wrapped_at_80_columns():
    output = process(["-m", "harness"], "attacks", COLUMNS="80")
    assert max(map(len, output.splitlines())) <= 80
    for name, kind in ATTACKS.items():
        assert name in output
        assert all(line in output for line in described(kind))
    assert "draws=10" in output


def test_help_does_not_wait_for_pytorch():
    program = (
        "import sys; from harness.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'httpx2', 'rich'} & set(sys.modules)"
    )
    assert "quick" in process(["-c", program])


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"warpguard-harness {version('warpguard')}\n"


AT = ["--endpoint", "http://127.0.0.1:9", "--out", "x"]
OIP = ["--endpoint", "http://127.0.0.1:9/v2/models/m", "--out", "x", "--protocol", "oip"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quick", *AT], "cannot be reached"),
        (["report", "no/such/run"], "no/such/run cannot be read"),
        (["report", "."], ". does not hold a finished run"),
        (["run", "magic", *AT], "magic"),
        (
            ["run", "adaptive", "--score-rounds", "1,50,51,99", *AT],
            "adaptive has no round 51, 99. The rounds of --score-rounds must be 1 to 50.",
        ),
        (["run", "square", "--source-model", "m", *AT], "square takes no gradients"),
        (["run", "noise", *AT, "--api-key-file", "none"], "--api-key-file: "),
        (["run", "noise", *AT, "--api-key-file", "two"], "--api-key-file two must have the key"),
        (["run", "noise", *AT, "--ca-file", "two"], "--ca-file two cannot be read"),
        (["run", "noise", *AT, "--api-key", "ключ"], "The header Authorization cannot be sent"),
        (["run", "noise", *AT, "--header", "a b: c"], "The header a b cannot be sent"),
        (["run", "noise", "--endpoint", "http://[::1", "--out", "x"], "is not a valid address"),
        (["run", "noise", *AT, "--assume-defense", "fd"], "--assume-defense is for --protocol oip"),
        (["quick", *AT, "--manifest", "two"], "--manifest is for --protocol oip"),
        (
            ["run", "noise", *AT, "--protocol", "v1", "--model", "m"],
            "--model is for --protocol oip",
        ),
        (["run", "noise", *OIP, "--defense", "fd"], "--protocol oip cannot choose one. Name the"),
        (["run", "noise", *OIP, "--model", "m.onnx"], "--model needs --manifest"),
        (["run", "noise", *OIP, "--manifest", "none"], "--manifest: The manifest none cannot be"),
        (["run", "noise", *OIP, "--manifest", "two"], "--manifest: The manifest two is not valid"),
        (["run", "noise", *OIP, "--assume-defense", "magic"], "--assume-defense: Unknown defence"),
        (["run", "noise", *AT, "--protocol", "oip"], "http://127.0.0.1:9 is not the address of a"),
        (["quick", *OIP, "--ca-file", "two"], "--ca-file two cannot be read"),
        (["quick", *OIP], "http://127.0.0.1:9 cannot be reached"),
    ],
)
def test_a_failure_is_reported_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two").write_text("two words")
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warpguard-harness: ")
    assert message in line


@pytest.mark.parametrize(("at", "target"), [(AT, "HttpTarget"), (OIP, "OipTarget")])
def test_headers_and_the_key_of_a_file_are_sent(at, target, tmp_path, monkeypatch):
    seen = {}

    class Target:
        def __init__(self, _, **options):
            seen.update(options)
            raise EndpointError("stop")

    monkeypatch.setattr(f"harness.cli.commands.{target}", Target)
    (tmp_path / "key").write_text("secret\n")
    headers = ["--header", "X-A: 1", "--header", "X-B:2:3"]
    command = ["run", "noise", *at, "--api-key-file", str(tmp_path / "key"), *headers]
    assert main(command) == 1
    assert seen["api_key"] == "secret"
    assert seen["headers"] == [("X-A", "1"), ("X-B", "2:3")]


def test_an_error_cannot_control_the_terminal(capsys, tmp_path):
    assert main(["report", str(tmp_path / "a\x1b[31m\nb")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()


def test_a_verdict_is_printed_where_there_is_only_ascii(runs, tmp_path):
    folder, _ = runs
    options = [folder / "noise", "-o", tmp_path / "r.html"]
    printed = process(["-m", "harness"], "report", *options, PYTHONIOENCODING="ascii")
    assert "noise" in printed
    assert "The report: " in printed


def test_an_interruption_during_the_imports_is_no_traceback():
    program = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from harness.cli.main import main\n"
        "print(main(['attacks']))"
    )
    assert process(["-c", program]) == "130\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["quick"],
        ["run", "noise"],
        ["quick", "--endpoint", "u", "--limit", "0"],
        ["run", "noise", *AT, "--sanity-images", "-1"],
        ["run", "noise", *AT, "--header", "X-Team"],
        ["run", "noise", *AT, "--api-key", "k", "--api-key-file", "k"],
        ["dance"],
    ],
)
def test_a_wrong_command_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err
