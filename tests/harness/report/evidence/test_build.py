"""A dossier as a whole: its subject, its digests, what it refuses, and that it is reproducible."""

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import RunError
from harness.report.evidence import Dossier, build, files
from harness.results import Run
from tests.harness.report.evidence.conftest import EVERYTHING, NOTHING, OTHER

ROOT = Path(__file__).parents[4]
RUNS = sorted((ROOT / "docs" / "robustness").glob("*.json"))
PROGRAM = """
import sys
from pathlib import Path
from harness.report.evidence import build, files
from harness.results import Run
texts = files(build([Run.read_with_digest(Path(file)) for file in sys.argv[1:]]))
sys.stdout.buffer.write("".join(texts.values()).encode())
"""


@pytest.fixture(scope="module")
def dossier():
    """The dossier of the runs in the documentation."""
    return build([Run.read_with_digest(file) for file in RUNS])


def in_a_process(seed, paths):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, paths)],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": str(seed), "TZ": ("UTC", "Asia/Tokyo")[seed % 2]},
        capture_output=True,
        check=True,
    ).stdout


def test_the_same_runs_give_the_same_bytes(dossier):
    shuffled = random.Random(0).sample(RUNS, len(RUNS))
    first, second = in_a_process(1, RUNS), in_a_process(2, shuffled)
    assert first == second == "".join(files(dossier).values()).encode()


def test_the_published_runs_have_their_verdict(dossier):
    stopped, not_stopped = dossier.verdict
    assert stopped.startswith("Ready-made adversarial images are stopped")
    assert not_stopped.startswith("An attacker who knows the model and the code of the defence")
    assert dossier.service.defense == "fd+rdg"
    assert dossier.service.compared == ("none", "rand", "rdg")
    assert {row.id: row.answer for row in dossier.requirements if row.answer != "not measured"} == {
        "11.1.3": "yes",
        "11.1.4": "no",
        "11.3.2": "no",
        "11.4.2": "no",
    }
    assert dossier.robustbench.accepted is False
    outcomes = {each.attacker: each.outcome for each in dossier.attackers}
    assert outcomes["an attacker who knows the model and the code of the defence"] == "not stopped"
    assert outcomes["ready-made adversarial images"] == "stopped"


def test_every_digest_can_be_recomputed(dossier):
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in RUNS}
    assert {run.file_sha256 for run in dossier.runs} == digests
    for data in dossier.data_sets:
        listed = [[each.file, each.sha256, each.label] for each in data.photographs]
        assert hashlib.sha256(json.dumps(sorted(listed)).encode()).hexdigest() == data.sha256
    assert {run.data_set for run in dossier.runs} == {data.sha256 for data in dossier.data_sets}


def test_the_json_follows_its_schema(dossier):
    schema = (ROOT / "docs" / "evidence.schema.json").read_text("utf-8")
    assert json.loads(schema) == Dossier.model_json_schema()
    assert Dossier.model_validate_json(dossier.json_text()) == dossier


def test_the_subject_is_the_defence_with_the_most_attacks(make, with_digests):
    runs = [
        make("i-fgsm", defense="none", successes=EVERYTHING),
        make("noise", defense="none"),
        make("bpda", defense="rdg", successes=NOTHING),
    ]
    dossier = build(with_digests(*runs))
    assert (dossier.service.defense, dossier.service.compared) == ("rdg", ("none",))
    assert [run.defense for run in dossier.runs] == ["rdg", "none", "none"]
    assert [run.number for run in dossier.runs] == [1, 2, 3]
    row = next(row for row in dossier.requirements if row.id == "11.1.4")
    assert row.answer == "not measured"  # although the undefended model is broken


def test_a_defence_that_is_assumed_is_marked(make, with_digests):
    run = make()
    endpoint = run.endpoint.model_copy(
        update={"defense_assumed": True, "model_sha256": None, "model_version": "3"}
    )
    service = build(with_digests(run.model_copy(update={"endpoint": endpoint}))).service
    assert (service.defense_assumed, service.model_sha256) == (True, None)
    assert service.model_version == "3"


def change(run, **changes):
    return run.model_copy(update=changes)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: [change(run, versions={})], "it has no versions of packages"),
        (
            lambda run: [change(run, images=(change(run.images[0], sha256=""), *run.images[1:]))],
            "a photograph has no SHA-256",
        ),
        (
            lambda run: [change(run, endpoint=change(run.endpoint, model_sha256="ab"))],
            "the SHA-256 of its model is not valid",
        ),
        (
            lambda run: [run, change(run, endpoint=change(run.endpoint, model_sha256=OTHER))],
            "A dossier is about one model, but the runs are on 2: lite2 (abab",
        ),
        (lambda run: [run, run], "Run 2, 'adaptive', is the same as run 1"),
        (lambda _: [], "A dossier needs at least one run"),
    ],
)
def test_runs_that_lack_what_a_dossier_needs_are_refused(make, with_digests, spoil, message):
    with pytest.raises(RunError) as error:
        build(with_digests(*spoil(make())))
    assert message in str(error.value)
