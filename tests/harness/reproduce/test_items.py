"""Every item, with made-up runs: its defences, its figures, its table and its plots."""

import pytest

from defenses import Pipeline
from harness.cli.main import REPRODUCED, main
from harness.reproduce import ITEMS, markdown, published
from harness.reproduce.items import BANK
from harness.reproduce.standard import canvas, distortion, padding


def test_the_command_line_names_every_item():
    assert set(REPRODUCED) == set(ITEMS)


@pytest.mark.parametrize("name", ITEMS)
def test_every_defence_is_valid_and_in_its_shortest_form(name):
    for specification in ITEMS[name].defenses.values():
        if BANK not in specification:
            assert str(Pipeline.parse(specification)) == specification


@pytest.mark.parametrize("name", ITEMS)
def test_each_item_has_the_papers_figures_next_to_ours(reproduced, name):
    figures = reproduced(name).figures
    assert any(figure.paper is not None for figure in figures)
    shares = [figure for figure in figures if figure.is_share]
    assert all(0 <= f.low <= f.ours <= f.high <= 1 for f in shares)
    # The made-up attacks succeed on one of two photographs, and nothing else is wrong.
    asr = {f.ours for f in shares if f.measure.startswith("ASR") and f.row != "clean"}
    assert asr <= {0.5}
    assert {f.ours for f in shares if f.measure == "ACC"} <= {0.5, 1.0}


@pytest.mark.parametrize("name", ITEMS)
def test_each_item_is_a_table_in_markdown(reproduced, name):
    lines = markdown(reproduced(name)).splitlines()
    assert lines[0] == f"### {ITEMS[name].title}"
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) >= 2 + len({figure.row for figure in reproduced(name).figures})
    assert len({line.count(" | ") for line in rows}) == 1  # every row is as long as the headings


@pytest.mark.parametrize("name", ITEMS)
def test_no_item_needs_a_run_twice(reproduced, name):
    runs = [(run.attack.name, *run.attack.parameters.items()) for run in reproduced(name).runs]
    defenses = [run.endpoint.defense for run in reproduced(name).runs]
    pairs = [*zip(map(str, runs), defenses, strict=True)]
    expected = 1 if name == "table8" else 0  # its first row is that of the clean images
    assert len(pairs) - len(set(pairs)) == expected


def test_fd_differs_from_the_papers_by_its_shift_and_bitdepth_by_its_rounding(reproduced):
    l2 = {f.row: f.ours for f in reproduced("table1").figures if f.measure == "l2"}
    assert l2["fd, moved by 2 px"] > 3 * l2["fd"]
    assert l2["bitdepth, bits cut off"] == pytest.approx(0.0709, abs=0.005)


def test_the_command_writes_and_prints_each_item(reproduced, tmp_path, monkeypatch, capsys):
    def all_reproduced(names, *_, **__):
        yield from map(reproduced, names)

    monkeypatch.setattr("harness.reproduce.reproduce", all_reproduced)
    command = ["reproduce", "fig3", "table8", "fig3", "--scale", "cpu", "--out", str(tmp_path)]
    assert main(command) == 0
    printed = capsys.readouterr()
    words = " ".join(printed.out.split())  # a title may be in several lines
    assert all(ITEMS[name].title in words for name in ("fig3", "table8"))
    assert "The default photographs are fewer than 20" in printed.err
    assert "table8 has 2 photographs instead of 20" in printed.err
    assert "fig3 has" not in printed.err  # it goes round by round, with fewer photographs
    assert (tmp_path / "cpu" / "table8.md").read_text() == markdown(reproduced("table8"))
    assert sorted(path.name for path in (tmp_path / "cpu").glob("*.png")) == [
        "fig3a-bpda-acc.png",
        "fig3b-bpda-asr.png",
        "fig3c-bpda-eot-acc.png",
        "fig3d-bpda-eot-asr.png",
        "fig3e-semi-brute-force-acc.png",
        "fig3f-semi-brute-force-asr.png",
    ]


def test_tables_1_and_4_have_every_defence_of_the_paper():
    for name in ("table1", "table4"):
        assert {*published.TABLE_1, *published.TABLE_4} <= set(ITEMS[name].defenses)


def test_a_sweep_varies_one_parameter_around_the_default():
    assert canvas(400) == padding(0.5) == "fd+rand"
    assert canvas(450) == "fd+rand(canvas=450)"
    assert canvas(300) == "fd+rand(largest=300,canvas=300)"  # 330 px do not fit
    assert padding(0) == "fd+rand(value=0)"
    assert distortion(0.15) == "fd+rdg"
    assert distortion(0.05) == "fd+rdg(delta=0.05)"
