"""The folder of a run: one process at a time, and files that are whole or named."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from harness.errors import RunError
from harness.results import Score, image_name
from harness.runs.states import ImageProgress
from harness.runs.storage import opened
from harness.types import Case, State

PLAN = {
    "attack": {"parameters": {"rounds": 5}},
    "seed": 0,
    "photographs": [{"file": "a/p.png", "label": 1, "target": 0}],
}
IMAGE = np.zeros((8, 8, 3), np.float32)
CASE = Case("a/p.png", IMAGE, 1, 0)
OF = {"draws": 4}


def progress(value=0.5):
    state = State(np.full_like(IMAGE, value), round=3, memory={"momentum": IMAGE}, queries=7)
    return ImageProgress(state, [Score(round=0, classes=(1, 2), l2_rms=0, linf=0)], 1.5, 1, 2)


def state_file(folder):
    return folder / "states" / (image_name(CASE.file) + ".npz")


@pytest.fixture
def stored(tmp_path):
    with opened(tmp_path, PLAN) as storage:
        storage.save(CASE, progress())
        assert storage.cached("noise", OF, lambda: [0.25]) == [0.25]
    return tmp_path


def test_what_was_stored_is_read_back(stored):
    with opened(stored, PLAN) as storage:
        read = storage.load(CASE)
        assert storage.cached("noise", OF, pytest.fail) == [0.25]
    np.testing.assert_array_equal(read.state.adversarial, progress().state.adversarial)
    np.testing.assert_array_equal(read.state.memory["momentum"], IMAGE)
    assert (read.state.round, read.state.queries) == (3, 7)
    assert read.scores == progress().scores
    assert (read.seconds, read.outside_budget, read.first_success_round) == (1.5, 1, 2)


def test_a_measurement_of_something_else_is_replaced(stored):
    with opened(stored, PLAN) as storage:
        assert storage.cached("noise", {"draws": 8}, lambda: [1.0]) == [1.0]
        assert storage.cached("noise", {"draws": 8}, pytest.fail) == [1.0]


def cut(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        lambda _: b"",
        lambda _: b"nothing",
        lambda _: b"PK\x03\x04" + bytes(100),
        lambda content: content[:200] + bytes(200) + content[400:],
        lambda content: content.replace("round".encode("utf-32-le"), "found".encode("utf-32-le")),
        lambda content: content[:-100],
    ],
)
def test_a_damaged_state_is_named(stored, damage):
    file = state_file(stored)
    file.write_bytes(damage(file.read_bytes()))
    with (
        opened(stored, PLAN) as storage,
        pytest.raises(RunError, match=r"\.npz cannot be read, because it is damaged: .*Remove it"),
    ):
        storage.load(CASE)


def test_no_damaged_byte_is_read_as_a_result(stored):
    file = state_file(stored)
    whole = file.read_bytes()
    expected = progress()
    with opened(stored, PLAN) as storage:
        for position in range(0, len(whole), 37):
            changed = bytearray(whole)
            changed[position] ^= 0x55
            file.write_bytes(changed)
            try:
                read = storage.load(CASE)
            except RunError:
                continue
            np.testing.assert_array_equal(read.state.adversarial, expected.state.adversarial)
            assert read.scores == expected.scores


def test_a_state_of_another_run_is_refused(stored, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    with opened(other, {**PLAN, "seed": 1}) as storage:
        storage.save(CASE, progress(0.75))
    state_file(stored).write_bytes(state_file(other).read_bytes())
    with opened(stored, PLAN) as storage, pytest.raises(RunError, match="belongs to another run"):
        storage.load(CASE)


def test_a_state_of_another_photograph_is_refused(stored):
    other = Case("b.png", IMAGE, 1, 0)
    target = stored / "states" / (image_name(other.file) + ".npz")
    target.write_bytes(state_file(stored).read_bytes())
    with (
        opened(stored, PLAN) as storage,
        pytest.raises(RunError, match=r"another run or photograph.*to attack b\.png"),
    ):
        storage.load(other)


@pytest.mark.parametrize("content", ["", "{", "[0.5]", '{"of": {}}', '{"of": 1, "successes": []}'])
def test_a_damaged_measurement_is_named(stored, content):
    (stored / "checks" / "noise.json").write_text(content)
    with opened(stored, PLAN) as storage, pytest.raises(RunError, match=r"noise\.json cannot be"):
        storage.cached("noise", OF, pytest.fail)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000])
def test_a_damaged_plan_is_named(stored, content):
    (stored / "plan.json").write_text(content)
    with (
        pytest.raises(RunError, match=r"plan\.json cannot be read"),
        opened(stored, PLAN),
    ):
        pass


def test_a_plan_of_an_older_version_is_another_run(stored):
    old = {"attack": PLAN["attack"], "seed": 0, "images": {"a/p.png": "ab"}}
    (stored / "plan.json").write_text(json.dumps(old))
    with (
        pytest.raises(RunError, match=r"holds another run, which differs in its photographs, ima"),
        opened(stored, PLAN),
    ):
        pass


def test_a_folder_that_is_in_use_is_refused(stored):
    with (
        opened(stored, PLAN),
        pytest.raises(RunError, match=r"Another process works in .*Wait until it has ended"),
        opened(stored, PLAN),
    ):
        pass
    with opened(stored, PLAN):
        pass  # it is free again


def test_a_killed_process_leaves_the_folder_free(stored):
    program = (
        "import os, sys; from pathlib import Path; from harness.runs.storage import opened\n"
        f"with opened(Path(sys.argv[1]), {PLAN!r}): print('open', flush=True); os.read(0, 1)"
    )
    command = [sys.executable, "-c", program, str(stored)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    ) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(RunError, match="Another process works in"), opened(stored, PLAN):
            pass
        other.kill()
    with opened(stored, PLAN) as storage:
        assert storage.load(CASE) is not None


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with opened(tmp_path, PLAN) as storage:
        (tmp_path / "states").write_text("a file in place of the folder")
        with pytest.raises(RunError, match=r"states/.*\.npz cannot be written: "):
            storage.save(CASE, progress())


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="run cannot hold a run"), opened(tmp_path / "run", PLAN):
        pass


def test_nothing_is_stored_that_is_not_confirmed(tmp_path):
    def refuse():
        raise RunError("not confirmed")

    with opened(tmp_path, PLAN, refuse) as storage:
        with pytest.raises(RunError, match="not confirmed"):
            storage.save(CASE, progress())
        with pytest.raises(RunError, match="not confirmed"):
            storage.cached("noise", OF, lambda: [0.5])
    assert {file.name for file in tmp_path.iterdir()} <= {"plan.json", ".lock"}
