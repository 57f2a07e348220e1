"""The documentation is true: its settings, commands, answers, tables and links."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

import harness.signals
from harness.attacks import parse_attack
from harness.cli import main as warpguard_harness
from harness.cli.main import REPRODUCED
from harness.cli.main import parser as harness_parser
from harness.reproduce import Reproduction, markdown
from harness.signals import Measurement
from models import Manifest
from service import errors as errors_module
from service.cli import main as warpguard
from service.errors import ServiceError
from service.evaluate.recommendation import recommend
from service.evaluate.report import Report
from service.evaluate.text import markdown as evaluation
from service.settings import Settings, flag
from service.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLE = "imagenet_16_251.jpg"


PROGRAMS = {"warpguard": warpguard, "warpguard-harness": warpguard_harness}
LONG = ("quick", "reproduce", "signals")
"""The harness's commands that are only parsed here; tests/harness runs them."""


def blocks(language):
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)):
            found.append(pytest.param(block, id=f"{page.name}-{number}"))
    return found


def lines(block):
    return block.values[0].replace("\\\n", " ").splitlines()


def runs_in_process(block):
    """Whether a block outside the README has only commands of warpguard, none in the background.

    They run in this process, because a process of their own would mostly import modules.
    """
    own = all(line.startswith(tuple(PROGRAMS)) and not line.endswith("&") for line in lines(block))
    return own and not block.id.startswith("README")


SCRIPTS = blocks("sh")
IN_PROCESS = list(filter(runs_in_process, SCRIPTS))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, server):
    """A folder with the photographs that the examples use."""
    folder = tmp_path_factory.mktemp("examples")
    source = Path(find_spec("foolbox").origin).parent / "data" / EXAMPLE
    (folder / "photo.jpg").write_bytes(source.read_bytes())
    Image.open(source).save(folder / "photo.png")
    return folder


def port_of(server):
    """Return the address in the examples, and the address of the test's server."""
    return "127.0.0.1:8080", server.removeprefix("http://")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def shell(script, folder, server):
    """Run an example as a reader would, except for the ports and for work that takes long.

    Other tests do the long work: CONTRIBUTING.md lists the commands that are not run here.
    """
    script = script.replace(*port_of(server)).replace("8081", str(free_port()))
    script = script.replace(".venv/lib", f"{Path(sys.prefix) / 'lib'}")
    script = re.sub(r"^make ", f"make -n -C {ROOT} ", script, flags=re.MULTILINE)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("script", [each for each in SCRIPTS if each not in IN_PROCESS])
def test_commands_run(script, workplace, server):
    output = shell(script, workplace, server)
    assert '"error"' not in output.replace('"error":null', "")


@pytest.mark.parametrize(
    "commands", [pytest.param(lines(block), id=block.id) for block in IN_PROCESS]
)
def test_warpguard_s_own_commands_run(commands, workplace, server, monkeypatch):
    monkeypatch.chdir(workplace)
    for command in commands:
        name, *arguments = shlex.split(command.replace(*port_of(server)))
        if arguments[0] in LONG:
            continue
        try:
            code = PROGRAMS[name](arguments)
        except SystemExit as ended:
            code = ended.code
        assert code == 0, arguments


@pytest.mark.parametrize("program", blocks("python"))
def test_programs_run(program, workplace, server):
    """A program of a stock client runs in the clients' environment, which has no warpguard."""
    of_a_client = re.search(r"^from (tritonclient|kserve)\b", program, re.MULTILINE)
    python = ROOT / ".venv-clients" / "bin" / "python" if of_a_client else sys.executable
    done = subprocess.run(
        [python, "-W", "error", "-c", program.replace(*port_of(server))],
        cwd=workplace,
        env=os.environ | ({} if of_a_client else {"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_harness_s_commands_are_valid():
    """Also the commands that the tests above do not run because they take long."""
    every = [line for block in SCRIPTS + blocks("text") for line in lines(block)]
    commands = [shlex.split(line)[1:] for line in every if line.startswith("warpguard-harness ")]
    assert {command[0] for command in commands} == {
        "attacks",
        "quick",
        "report",
        "reproduce",
        "run",
        "signals",
    }
    for command in commands:
        options = harness_parser().parse_args(command)
        if options.command == "run":
            parse_attack(options.attack)


def test_the_tables_of_the_reproduction_match_its_files():
    page = (ROOT / "docs" / "reproduction.md").read_text("utf-8")
    files = sorted((ROOT / "docs" / "reproduction").glob("*.json"))
    assert {file.stem for file in files} == set(REPRODUCED)
    for file in files:
        done = Reproduction.model_validate_json(file.read_bytes())
        assert markdown(done) in page, file.name


def test_the_tables_of_the_signals_match_their_file():
    page = (ROOT / "docs" / "signals.md").read_text("utf-8")
    done = Measurement.read(ROOT / "docs" / "signals" / "signals.json")
    for table in harness.signals.markdown(done).split("\n\n"):
        assert table.strip() in page


def test_the_table_of_an_evaluation_matches_its_file():
    file = ROOT / "docs" / "evaluate" / "nips2017.json"
    report = Report.model_validate_json(file.read_bytes())
    assert evaluation(report) in (ROOT / "README.md").read_text("utf-8")
    assert recommend(report).sentence in (ROOT / "docs" / "evaluate.md").read_text("utf-8")


def test_the_manifest_in_the_documentation_is_valid():
    ((block,),) = [param.values for param in blocks("json") if "models.md" in param.id]
    assert Manifest.parse(block, "docs/models.md").name == "mine"


def test_the_readme_s_answer_is_real(workplace, server):
    """The fields and the classes are equal; probabilities and timings differ from run to run."""
    text = (ROOT / "README.md").read_text("utf-8")
    example = re.search(r"```sh\n(curl .*?)```\n+```json\n(.*?)```", text, re.DOTALL)
    command, answer = example.groups()
    shown = json.loads(answer)
    real = json.loads(shell(command, workplace, server))
    assert list(real) == list(shown)
    assert real["predictions"][0]["index"] == shown["predictions"][0]["index"]
    assert real["predictions"][0]["label"] == shown["predictions"][0]["label"]
    assert real["predictions"][0]["probability"] == pytest.approx(
        shown["predictions"][0]["probability"], abs=0.1
    )
    assert real["agreement"] == pytest.approx(shown["agreement"], abs=0.26)
    assert set(real["timings_ms"]) == set(shown["timings_ms"])


def test_every_setting_is_documented():
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    rows = []
    for name, field in Settings.model_fields.items():
        if field.default_factory is not None:
            default = "from the CPUs"
        else:
            default = " ".join(field.default) if isinstance(field.default, tuple) else field.default
            default = f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
            default = "" if default in ("``", "`None`") else default
        meaning = " ".join(field.description.split())
        rows.append(f"| `{flag(name)}` | `WARPGUARD_{name.upper()}` | {default} | {meaning} |")
    assert sorted(re.findall(r"^\| `--.*", page, re.MULTILINE)) == sorted(rows)


def test_every_metric_is_documented():
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    suffixes = {"counter": "_total", "info": "_info"}
    exported = {
        family.name + suffixes.get(family.type, "")
        for family in Metrics("0").registry.collect()
        if not family.name.startswith("process_")
    }
    assert set(re.findall(r"^\| `(warpguard_\w+)` \|", page, re.MULTILINE)) == exported


def test_every_alert_is_documented():
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    rules = (ROOT / "docker" / "prometheus" / "rules" / "warpguard.yml").read_text("utf-8")
    alerts = re.findall(r"alert: (\w+)\n.*?severity: (\w+)\n", rules, re.DOTALL)
    assert re.findall(r"^\| `(Warpguard\w+)` \| (\w+) \|", page, re.MULTILINE) == alerts


def error_kinds():
    kinds = [each for each in vars(errors_module).values() if isinstance(each, type)]
    return [each for each in kinds if issubclass(each, ServiceError) and each is not ServiceError]


def test_each_error_leads_to_a_heading_that_says_what_to_do():
    """And no heading is for a code that does not exist. Each text begins with the status."""
    page = ROOT / "docs" / "troubleshooting.md"
    texts = dict(
        re.findall(r"^### `(\w+)`\n\n(.*(?:\n.+)*)", page.read_text("utf-8"), re.MULTILINE)
    )
    headings = re.findall(r"^### .*$", page.read_text("utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(f"### `{kind.code}`" for kind in error_kinds())
    for kind in error_kinds():
        file, _, anchor = kind("x").help.partition("#")
        assert ROOT / file == page
        assert anchor in anchors(page)
        assert texts[kind.code].startswith(f"{kind.status}. ")
        assert len(re.findall(r"[.:]\s", texts[kind.code] + " ")) > 2, (
            "what it means, and what to do"
        )


def test_every_error_is_documented():
    page = (ROOT / "docs" / "http.md").read_text("utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \| (`.*?`) \|", page, re.MULTILINE)
    documented = {
        code: statuses.split(", ")
        for statuses, codes in rows
        for code in re.findall(r"`(\w+)`", codes)
    }
    errors = {error.code: str(error.status) for error in error_kinds()}
    assert documented.keys() == errors.keys()
    assert [code for code, status in errors.items() if status not in documented[code]] == []


def anchors(page):
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page):
    for target, anchor in re.findall(
        r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", page.read_text("utf-8")
    ):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"
