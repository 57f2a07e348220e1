import pytest
from rich.console import Console

from harness import report
from harness.errors import RunError
from harness.report.text import escape
from harness.results import Check

FAILED = (
    Check(name="fixed-draw", passed=False, detail="it succeeds on 1 of 4 photographs"),
    Check(name="noise", passed=True, detail="noise does nothing"),
)


def printed(table):
    console = Console(width=160, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_markdown_has_results_worst_cases_and_checks(make_run):
    text = report.markdown(
        [make_run(), make_run("noise", "fd*2", successes={0: 0, 1: 0}, checks=FAILED)]
    )
    lines = text.splitlines()
    assert lines[:3] == [
        "## Verdict: lite2 · fd+rdg",
        "",
        "**An attacker who takes gradients as if there were no defence (BPDA) gets 80 % [34…97] of "
        "the answers after 10 rounds, at 40 % of the budget (l2 ≤ 0.05).**",
    ]
    assert "## lite2 · nips · 4 images" in lines
    assert (
        "| fd+rdg | bpda | 10 | l2 ≤ 0.05 (8-bit) | 20 % [3…66] (clean 100 %) | "
        "80 % [34…97] (clean 0 %) | 100 % (clean 0 %) | 100 % (clean 0 %) | 0.02 (l∞ 8/255) | "
        "1,500 gradients (0.25 s) | 1 met, 1 not done |"
    ) in lines
    assert (
        "| fd\\*2 | noise | l2 ≤ 0.05 (8-bit) | 100 % [51…100] | 0 % [0…49] | 0 % | 0 % | "
        "**! a check not met in 1 of 1** |"
    ) in lines
    assert (
        sum(line.endswith("| **! check `fixed-draw` not met: says little** |") for line in lines)
        == 1
    )
    assert lines[-6:] == [
        "- fd+rdg · bpda:",
        "  - ✓ fixed-draw met: it succeeds on 4 of 4 photographs",
        "  - – gradients not done: It takes no gradients.",
        "- fd\\*2 · noise:",
        "  - **! check fixed-draw not met**: it succeeds on 1 of 4 photographs",
        "  - ✓ noise met: noise does nothing",
    ]


def test_all_rows_of_a_table_have_the_same_number_of_columns(make_run):
    text = report.markdown([make_run("x|y", "fd", model="a|b")])
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 2
    for rows in tables:
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_markdown_shows_foreign_text_unchanged(make_run):
    text = report.markdown([make_run(dataset="<script>[x](y)\n## |`*_")])
    assert [x for x in text.splitlines() if x.startswith("## lite2")] == [
        "## lite2 · \\<script\\>\\[x](y) \\#\\# \\|\\`\\*\\_ · 4 images"
    ]


def test_an_interval_is_not_escaped():
    assert escape("20 % [3…66]") == "20 % [3…66]"


def test_the_name_of_a_check_is_code():
    assert escape("check `fixed-draw` not met, `a*b`") == "check `fixed-draw` not met, \\`a\\*b\\`"


def test_the_verdict_has_a_row_for_clean_images_and_for_each_run(make_run):
    text = printed(
        report.terminal(
            [
                make_run(),
                make_run("noise", targeted=False, checks=FAILED),
                make_run("[red]x", checks=()),
            ]
        )
    )
    assert "lite2 · nips · 4 images" in text
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    assert "80 % [34…97]" in rows["bpda"]
    assert "✓ 1 met, 1 not done" in rows["bpda"]
    assert "100 %" in rows["clean"]
    assert "! check `fixed-draw` not met: at least this much" in rows["noise, untargeted"]
    assert "? not checked" in rows["[red]x"]


def test_the_terminal_begins_with_the_verdict(make_run):
    lines = printed(report.terminal([make_run(), make_run("square", checks=FAILED)])).splitlines()
    assert lines[0].strip() == "lite2 · fd+rdg"
    assert lines[1].startswith("An attacker who sees only the probabilities")
    assert any(line.startswith("│ no stripes control") for line in lines)


def test_the_verdict_has_a_table_for_each_group(make_run):
    text = printed(report.terminal([make_run(), make_run(model="v3")]))
    assert "lite2 · nips · 4 images" in text
    assert "v3 · nips · 4 images" in text


@pytest.mark.parametrize("form", [report.html, report.markdown, report.plots, report.terminal])
def test_an_empty_list_of_runs_is_refused(form):
    with pytest.raises(RunError):
        form([])
