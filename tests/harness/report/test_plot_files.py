import csv
from io import BytesIO, StringIO

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from harness import report
from harness.report.groups import grouped
from harness.report.plot_files import rates_csv
from harness.results import Check

FAILED = (Check(name="noise", passed=False, detail=""),)
NAMES = ("summary", "summary-dark", "acc-by-round", "asr-by-round")


def test_each_plot_is_there_in_three_formats(make_run):
    files = report.plots([make_run(), make_run("noise", "none", successes={0: 0, 1: 0})])
    assert list(files) == [
        *(f"{name}.{end}" for name in NAMES for end in ("png", "svg", "pdf")),
        "rates.csv",
    ]
    for name, content in files.items():
        if name.endswith(".png"):
            with Image.open(BytesIO(content)) as image:
                image.load()
                assert image.width > 1000
                assert set(image.info) == {"dpi"}
    assert plt.get_fignums() == []


@pytest.fixture
def instant_plots(monkeypatch):
    monkeypatch.setattr("harness.report.plot_files.drawn_as", lambda *_: b"")


@pytest.mark.usefixtures("instant_plots")
def test_each_group_has_its_own_plots(make_run):
    files = report.plots([make_run(), make_run(model="v3")])
    assert [name for name in files if name.endswith("by-round-2.svg")] == [
        "acc-by-round-2.svg",
        "asr-by-round-2.svg",
    ]
    assert "acc-by-round.svg" not in files
    assert "summary.svg" in files


def test_the_table_has_a_row_for_each_scored_round(make_run):
    (group,) = grouped([make_run(), make_run("eot", successes={0: 0, 3: 5}, checks=FAILED)])
    rows = list(csv.DictReader(StringIO(rates_csv([group]).decode())))
    assert [(row["attack"], row["round"], float(row["asr"])) for row in rows] == [
        ("bpda", "0", 0.0),
        ("bpda", "5", 0.4),
        ("bpda", "10", 0.8),
        ("eot", "0", 0.0),
        ("eot", "3", 0.5),
    ]
    last = rows[2]
    assert last["attacker"] == "identity"
    assert float(last["acc"]) == pytest.approx(0.2)
    assert float(last["asr low"]) < 0.8 < float(last["asr high"])
    assert [row["checks not met"] for row in rows[2:4]] == ["", "noise"]
