"""``warpguard evaluate`` on folders whose accuracy is known."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from service.evaluate.report import Report
from service.evaluate.text import markdown

LIMIT_S = 600
COLOURS = ("red", "green", "blue")
STRONG = ((200, 30, 30), (30, 200, 30), (30, 30, 200))
FAINT_GREEN = (90, 105, 20)
"""Green to the model, and black, which is red to it, once each value has one bit."""


def save(path, colour, seed, right_part=None):
    pixels = np.random.default_rng(seed).normal(0, 4, (32, 32, 3)) + colour
    if right_part is not None:
        pixels[:, 20:] += np.array(right_part) - colour
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="session")
def by_folder(tmp_path_factory):
    """120 images in three folders, of which the bare model gets 108 right, exactly 90 %.

    30 of those are faint: ``bitdepth(bits=1)`` makes them wrong. 20 have a part of another colour,
    so that the answer to a small crop depends on the draw.
    """
    folder = tmp_path_factory.mktemp("by-folder")
    for seed in range(120):
        label = seed % 3
        if seed < 12:  # mislabelled
            save(folder / COLOURS[label] / f"{seed}.png", STRONG[(label + 1) % 3], seed)
        elif seed < 102 and label == 1:
            save(folder / "green" / f"{seed}.png", FAINT_GREEN, seed)
        elif label == 0 and seed >= 60:
            save(folder / "red" / f"{seed}.png", STRONG[0], seed, right_part=STRONG[1])
        else:
            save(folder / COLOURS[label] / f"{seed}.png", STRONG[label], seed)
    return folder


@pytest.fixture(scope="session")
def by_table(by_folder):
    """The same images with a table beside them, in another order and under other names."""
    folder = by_folder.with_name("by-table")
    folder.mkdir()
    rows = []
    for file in by_folder.rglob("*.png"):
        label = COLOURS.index(file.parent.name)
        (folder / f"{file.stem}-{label}.png").write_bytes(file.read_bytes())
        rows.append(f"{file.stem}-{label}.png,{label}")
    (folder / "labels.csv").write_text("\n".join(["file,label", *sorted(rows)]) + "\n")
    return folder


@pytest.fixture
def colours(colour_store):
    return ("--store", colour_store, "--model", "colours")


@pytest.fixture
def evaluate(warpguard, colours, tmp_path):
    """Run the command; returns its figures and what it printed."""

    def run(data, *options, local=True, code=0):
        file = tmp_path / "figures.json"
        chosen = colours if local else colours[:2]
        printed = warpguard(
            "evaluate", "--data", data, *chosen, "--json", file, *options, code=code
        )
        return Report.model_validate_json(file.read_bytes()) if code == 0 else None, printed

    return run


def figures(report):
    """All figures but the times."""
    return [row.model_copy(update={"ms": 0.0, "images_per_s": 0.0}) for row in report.rows]


DEFENSES = ("--defense", "bitdepth(bits=1)+rdg", "--defense", "rdg", "--defense", "fd")


def test_the_accuracies_are_the_known_ones(evaluate, by_folder):
    report, printed = evaluate(by_folder, *DEFENSES, "--draws", "1,4")
    assert report.images == 120
    assert report.row("none").top1.share == 108 / 120
    assert report.row("rdg", 4).top1.share == 108 / 120
    assert report.row("fd").top1.share == 108 / 120
    assert report.row("bitdepth(bits=1)+rdg", 4).top1.share == 78 / 120
    assert report.row("bitdepth(bits=1)+rdg", 4).difference.share == pytest.approx(-0.25)
    assert report.row("JPEG 50").top1.share == pytest.approx(0.9, abs=0.05)
    assert "120 images of by-folder" in printed.out
    lines = printed.out.split("Recommended: ")[1]
    assert lines.startswith("rdg with 1 draw. It keeps 100 % [")
    assert "warpguard serve --model colours --defense rdg" in lines


def test_the_page_may_be_in_the_folder_that_the_run_makes(evaluate, by_folder, tmp_path):
    out = tmp_path / "results"
    options = ("--limit", "3", "--defense", "rdg", "--draws", "1")
    evaluate(by_folder, *options, "--out", out, "--html", out / "report.html")
    assert (out / "report.html").exists()


def test_a_program_gets_the_advice_too(evaluate, by_folder, tmp_path):
    evaluate(by_folder, "--defense", "rdg", "--draws", "1,4")
    advice = json.loads((tmp_path / "figures.json").read_text("utf-8"))["recommendation"]
    assert advice.pop("sentence").startswith("Recommended: rdg with 1 draw.")
    assert advice == {
        "defense": "rdg", "draws": 1, "flags": "--model colours --defense rdg"
    }  # fmt: skip


def test_folders_and_a_table_give_the_same_figures(evaluate, by_folder, by_table):
    one, other = (evaluate(each, *DEFENSES)[0] for each in (by_folder, by_table))
    assert figures(one) == figures(other)
    assert len(markdown(one).splitlines()) == len(one.rows) + 2


def test_the_advice_is_the_same_with_three_seeds(evaluate, by_folder):
    """Other draws give other figures, which the advice does not follow."""
    preferred = ("--defense", "bitdepth(bits=1)+rdg", "--defense", "crop(fraction=0.3)")
    advice, shares = set(), set()
    for seed in (0, 1, 2):
        report, printed = evaluate(by_folder, *preferred, "--seed", seed)
        advice.add(printed.out.split("Recommended: ")[1].split(" It keeps")[0])
        shares.add(report.row("crop(fraction=0.3)").top1.share)
    assert advice == {"crop(fraction=0.3) with 1 draw."}
    assert len(shares) == 3


def test_a_killed_run_goes_on_without_double_work(evaluate, colours, by_folder, tmp_path):
    out = tmp_path / "out"
    answers = out / "answers.jsonl"
    # 300 draws an image are slow enough to be interrupted.
    options = [*DEFENSES, "--draws", "1,16", "--out", out]
    command = [sys.executable, "-m", "service", "evaluate", "--data", by_folder, *colours, *options]
    running = subprocess.Popen([str(each) for each in command], stderr=subprocess.DEVNULL)
    give_up_s = time.monotonic() + LIMIT_S
    while not answers.exists() or len(answers.read_bytes().splitlines()) < 6:
        assert running.poll() is None
        assert time.monotonic() < give_up_s
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = answers.read_bytes().splitlines()
    assert len(done) < 121
    resumed, _ = evaluate(by_folder, *options)
    lines = answers.read_bytes().splitlines()
    assert lines[: len(done) - 1] == done[:-1]  # the last one may have been cut short
    assert len(lines) == 121
    assert len({json.loads(line)["image"] for line in lines[1:]}) == 120
    fresh, _ = evaluate(by_folder, *options[:-2])
    assert figures(resumed) == figures(fresh)
    before = answers.read_bytes()
    again, printed = evaluate(by_folder, *options)
    assert again.rows == resumed.rows  # the times as well, because nothing was measured
    assert answers.read_bytes() == before
    assert "This takes about" not in printed.err


def test_a_defence_can_be_added_to_a_run(evaluate, by_folder, tmp_path):
    out = ("--out", tmp_path / "out", "--limit", 100)
    evaluate(by_folder, "--defense", "rdg", *out)
    report, _ = evaluate(by_folder, "--defense", "rdg", "--defense", "fd", *out)
    assert [row.name for row in report.rows][:4] == ["none", "rdg", "rdg", "fd"]
    evaluate(by_folder, "--defense", "rdg", *out, "--seed", 1, code=1)


def test_an_endpoint_agrees_with_the_model_here(evaluate, by_folder, spawn_for_all):
    allowed = [word for name in ("none", *DEFENSES[1::2]) for word in ("--allow-defense", name)]
    url = f"http://127.0.0.1:{spawn_for_all(*allowed).port}"
    options = (*DEFENSES, "--draws", "1,4")
    there, _ = evaluate(by_folder, *options, "--endpoint", url, local=False)
    here, _ = evaluate(by_folder, *options)
    assert there.endpoint == url
    for row in there.rows:
        same = here.row(row.name, row.draws)
        assert same.top1.low <= row.top1.share <= same.top1.high
        assert row.agreement == pytest.approx(same.agreement, abs=0.1)
    assert [row.kind for row in there.rows].count("corruption") == 0
    assert there.seed is None


def test_files_that_are_not_images_are_listed(evaluate, by_folder, tmp_path):
    folder = tmp_path / "photos"
    for file in sorted(by_folder.rglob("*.png"))[:40]:
        copy = folder / file.relative_to(by_folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    (folder / "blue" / "Thumbs.db").write_bytes(b"nothing")
    (folder / "readme.txt").write_text("about")
    report, printed = evaluate(folder, "--html", tmp_path / "page.html")
    assert [each.file for each in report.unreadable] == ["blue/Thumbs.db"]
    assert report.images == 40
    assert "1 file is left out, because it cannot be classified: blue/Thumbs.db (" in printed.out
    assert "1 file beside the classes' folders is left out" in printed.out
    assert "40 images are too few" in printed.out
    assert "Thumbs.db" in (tmp_path / "page.html").read_text("utf-8")


def test_labels_from_1_are_recognised(evaluate, by_folder, tmp_path):
    rows = [
        f"{file},{COLOURS.index(file.parent.name) + 1}"
        for file in by_folder.rglob("*.png")
        if file.parent.name != "blue"
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    _, printed = evaluate(tmp_path, code=1)
    assert "its class is the label minus 1. Classes count from 0" in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--draws 0", 2, "--draws must be numbers from 1 to 16, such as 1,4,8"),
        ("--draws 1,x", 2, "--draws must be numbers"),
        ("--draws 17", 2, "--draws must be numbers"),
        ("--limit 0", 2, "--limit must be 1 or more"),
        ("--keep 1.5", 2, "--keep must be more than 0 and at most 1"),
        ("--keep nan", 2, "--keep must be more than 0"),
        ("--defense fd+webp", 2, "Defences: fd, rdg, rand"),
        ("--html missing/page.html", 1, "missing"),
        ("--endpoint http://127.0.0.1:1", 1, "cannot be reached"),
        ("--endpoint http://127.0.0.1:1 --api-key-file missing", 1, "must be a file with the key"),
        ("--endpoint http://127.0.0.1:1 --model colours", 2, "--model"),
        ("--data missing", 1, "missing is not a folder"),
    ],
)
def test_what_is_wrong_is_reported_before_anything_is_done(
    warpguard, by_folder, colour_store, options, code, message, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    chosen = () if "--endpoint" in options else ("--model", "colours")
    printed = warpguard(
        "evaluate",
        "--data",
        by_folder,
        "--store",
        colour_store,
        *chosen,
        *options.split(),
        code=code,
    )
    assert message in printed.err
    assert "This takes about" not in printed.err
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_in_a_process_of_its_own(colours, by_folder):
    command = [sys.executable, "-W", "error", "-m", "service", "evaluate", "--data", by_folder]
    command += [*colours, "--defense", "rdg", "--limit", "100"]
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, check=True
    )
    assert "Recommended: rdg with 1 draw." in done.stdout
    assert done.stderr.startswith("This takes about")
