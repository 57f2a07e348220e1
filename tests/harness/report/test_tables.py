import pytest

from harness.rates import Rate
from harness.report.groups import grouped
from harness.report.tables import linf, number, percent, rate, results, worst
from harness.results import Check


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (0.0001, "<0.1 %"),
        (0.0005, "0.1 %"),
        (0.945, "94.5 %"),
        (0.12345, "12.3 %"),
        (0.97, "97 %"),
        (0.9999, ">99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_only_none_is_0_percent_and_only_all_100_percent(share, text):
    assert percent(share) == text


def test_a_rate_has_its_interval():
    assert rate(Rate(0.945, 0.852, 0.981)) == "94.5 % [85…98]"


@pytest.mark.parametrize(
    ("measured", "text"),
    [(0, "0"), (1.2345, "1.23"), (50, "50"), (1500.4, "1,500"), (2e6, "2,000,000")],
)
def test_a_number_has_three_digits_or_all_before_the_point(measured, text):
    assert number(measured) == text


def test_linf_is_in_steps_of_an_8_bit_pixel():
    assert linf(8 / 255) == "8/255"


def cells(row):
    return [(cell.text, cell.note) if cell.note else cell.text for cell in row.cells]


def test_a_row_of_results_has_rates_changes_costs_and_checks(make_run):
    (group,) = grouped([make_run(norm="linf", epsilon=8 / 255)])
    table = results(group)
    (row,) = table.rows
    assert len(row.cells) == len(table.headings)
    assert cells(row) == [
        "fd+rdg",
        "bpda",
        "10",
        ("l∞ ≤ 8/255", "8-bit"),
        ("20 % [3…66]", "clean 100 %"),
        ("80 % [34…97]", "clean 0 %"),
        ("100 %", "clean 0 %"),
        ("100 %", "clean 0 %"),
        ("0.02", "l∞ 8/255"),
        ("1,500 gradients", "0.25 s"),
        "1 met, 1 not done",
    ]


def test_the_heading_explains_the_success_of_untargeted_runs(make_run):
    def heading(*runs):
        return results(grouped(runs)[0]).headings[5]

    targeted, untargeted = make_run(), make_run(targeted=False)
    assert heading(targeted) == "ASR, mean"
    assert heading(untargeted) == "ASR (misclassified), mean"
    assert heading(targeted, untargeted) == "ASR (untargeted runs: misclassified), mean"


def test_each_row_has_its_number_of_draws_if_the_runs_differ(make_run):
    (group,) = grouped([make_run("a"), make_run("b", successes={0: 0, 9: 1}, draws=20)])
    table = results(group)
    assert "any of N" in table.headings
    assert [row.cells[6].note for row in table.rows] == ["N = 10, clean 0 %", "N = 20, clean 0 %"]


def test_the_worst_case_is_for_one_defence_and_one_budget(make_run):
    (group,) = grouped(
        [
            make_run("bpda", successes={0: 0, 10: 2}),
            make_run("eot", successes={0: 0, 10: 7}),
            make_run("eot", epsilon=1.0, successes={0: 0, 10: 10}),
            make_run("bpda", "none", successes={0: 0, 10: 9}),
        ]
    )
    table = worst(group)
    assert len(table.rows[0].cells) == len(table.headings)
    assert [cells(row)[:5] for row in table.rows] == [
        [
            "fd+rdg",
            "bpda; eot, epsilon=0.05",
            ("l2 ≤ 0.05", "8-bit"),
            "30 % [6…73]",
            "70 % [27…94]",
        ],
        ["fd+rdg", "eot, epsilon=1", ("l2 ≤ 1", "8-bit"), "0 % [0…49]", "100 % [51…100]"],
        ["none", "bpda", ("l2 ≤ 0.05", "8-bit"), "10 % [1…58]", "90 % [42…99]"],
    ]


def test_the_worst_asr_is_over_the_targeted_attacks(make_run):
    targeted = make_run("a", successes={0: 0, 10: 1})
    untargeted = make_run("b", targeted=False, successes={0: 0, 10: 9})
    (row,) = worst(grouped([targeted, untargeted])[0]).rows
    assert cells(row)[3:5] == ["10 % [1…58]", ("10 % [1…58]", "1 targeted of 2")]
    (row,) = worst(grouped([untargeted])[0]).rows
    assert row.cells[4].note == "untargeted"


def test_the_worst_case_counts_the_runs_that_cannot_be_believed(make_run):
    failed = (Check(name="noise", passed=False, detail=""),)
    (group,) = grouped([make_run("a"), make_run("b", checks=failed), make_run("c", checks=())])
    (row,) = worst(group).rows
    assert row.state == "failed"
    assert row.cells[-1].text == "! a check not met in 1, ? not checked in 1 of 3"


def test_a_run_with_an_unmet_check_says_what_it_is_worth(make_run):
    def checks_of(name, successes):
        unmet = (Check(name=name, passed=False, detail=""), Check(name="x", passed=True, detail=""))
        (group,) = grouped([make_run(checks=unmet, successes=successes)])
        return results(group).rows[0].cells[-1].text

    assert checks_of("epsilon", {0: 0, 9: 0}) == "! check `epsilon` not met: says little"
    assert checks_of("iterations", {0: 0, 9: 9}) == (
        "! check `iterations` not met: at least this much"
    )
    assert checks_of("endpoint", {0: 0, 9: 9}) == "! check `endpoint` not met: does not count"


def test_stripes_are_beside_each_attack_without_gradients(make_run):
    measured = {"success": 0.43, "wrong": 0.43, "wrong_best": 0.46, "best_of": 10}
    control = Check(
        name="stripes", passed=None, detail="", measured=measured | {"clean_wrong": 0, "images": 4}
    )
    met = Check(name="noise", passed=True, detail="")
    runs = [
        make_run("square", checks=(met, control)),
        make_run("hopskipjump"),
        make_run("bpda"),
    ]
    rows = results(grouped(runs)[0]).rows
    assert [row.cells[4].note for row in rows] == [
        "clean 100 %; stripes, never scored: 43 % wrong; best of 10: 46 %",
        "clean 100 %; no stripes control",
        "clean 100 %",
    ]
    assert rows[0].cells[-1].text == "1 met"
