"""Every table and Fig. 3 at the smallest scale: one command, on a server that it starts itself."""

import json
import os
import subprocess
import sys

import pytest

from harness.reproduce.items import ITEMS
from harness.reproduce.outcome import Reproduction
from harness.reproduce.scale import SCALES

LONGEST_S = 60


def command(*arguments, timeout_s):
    return subprocess.run(
        [sys.executable, "-m", "harness", "reproduce", *arguments],
        # Two threads wait for each other at every layer: with other work beside them, for long.
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("reproduce")
    done = command("all", "--scale", "smoke", "--out", str(out), timeout_s=290)
    assert done.returncode == 0, done.stderr
    return out / "smoke"


@pytest.fixture(scope="module")
def results(folder):
    return {
        name: Reproduction.model_validate_json((folder / f"{name}.json").read_bytes())
        for name in ITEMS
    }


@pytest.mark.parametrize("name", ITEMS)
def test_each_is_done_within_a_minute_and_has_the_papers_figures_beside_ours(results, name):
    done = results[name]
    assert done.last_call_seconds < LONGEST_S
    assert any(figure.paper is not None for figure in done.figures)
    assert all(0 <= f.low <= f.ours <= f.high <= 1 for f in done.figures if f.is_share)
    assert done.scale[0] == "smoke"
    assert done.dataset.selected <= SCALES["smoke"].photographs


@pytest.mark.parametrize("name", ITEMS)
def test_each_is_a_table_in_markdown(folder, name):
    lines = (folder / f"{name}.md").read_text().splitlines()
    assert lines[0] == f"### {ITEMS[name].title}"
    cells = {line.count(" | ") for line in lines if line.startswith("| ")}
    assert len(cells) == 1  # every row as long as the headings


def test_the_standard_attacks_were_made_once_and_posted_everywhere(results):
    by_file = {}
    for run in (*results["table6"].runs, *results["table7"].runs):
        if run.attack.name == "i-fgsm" and run.attack.epsilon == 0.03:
            for image in run.images:
                by_file.setdefault(image.file, set()).add(round(image.scores[-1].l2_rms, 6))
    assert all(len(sizes) == 1 for sizes in by_file.values())
    defenses = {run.endpoint.defense for run in results["table6"].runs}
    assert defenses == set(ITEMS["table6"].defenses.values())


def test_the_shift_and_not_the_quantisation_is_what_table_1_has_of_fd(results):
    l2 = {f.row: f.ours for f in results["table1"].figures if f.measure == "l2"}
    assert l2["fd, moved by 2 px"] > 3 * l2["fd"]
    assert l2["bitdepth, bits cut off"] == pytest.approx(0.0709, abs=0.005)


def test_fig_3_is_drawn(folder):
    assert len(list(folder.glob("fig3*.png"))) == 6


def test_what_was_done_is_not_done_again(folder, results):
    again = command("table8", "--scale", "smoke", "--out", str(folder.parent), timeout_s=120)
    assert again.returncode == 0, again.stderr
    before, after = (
        results["table8"],
        Reproduction.model_validate_json((folder / "table8.json").read_bytes()),
    )
    assert [run.images for run in after.runs] == [run.images for run in before.runs]
    assert after.figures == before.figures


def test_the_runs_are_kept_with_all_that_is_needed_to_repeat_them(folder):
    run = json.loads(next(folder.glob("runs/adaptive*/fd+rdg/run.json")).read_text())
    assert run["endpoint"]["quantized"] is False
    assert run["attack"]["parameters"]["knowledge"] == "exact"


def test_the_bank_is_of_photographs_that_are_not_attacked(folder, results):
    (bank,) = folder.glob("quilt-bank-*.npz")
    assert bank.stat().st_size > 0
    # The first fifteen of the twenty may be attacked, the last five are in the bank.
    names = {image.file for run in results["table4"].runs for image in run.images}
    assert all(int(name.split("_")[1]) < 15 for name in names)


def test_a_folder_that_a_defence_cannot_name_is_refused_before_the_work(tmp_path):
    done = command("table4", "--scale", "smoke", "--out", str(tmp_path / "my runs"), timeout_s=60)
    assert done.returncode == 1
    assert "--out" in done.stderr
    assert not (tmp_path / "my runs").exists()


def test_a_folder_that_cannot_be_written_is_told():
    done = command("table8", "--scale", "smoke", "--out", "/proc/none", timeout_s=60)
    assert done.returncode == 1
    assert "/proc/none" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_item_is_refused_with_those_that_there_are():
    done = command("table10", timeout_s=60)
    assert done.returncode == 2
    assert "table9" in done.stderr
