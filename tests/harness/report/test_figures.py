import pytest

from harness.report.figures import FORMATS, describe, drawn_as, figure
from harness.report.groups import grouped
from harness.report.styles import DARK, LIGHT
from harness.results import Check

FAILED = (Check(name="noise", passed=False, detail=""),)


def shown(drawn):
    axes = drawn.axes[0]
    return axes, {line.get_label(): line for line in axes.lines}


def test_each_run_is_a_line_with_its_interval(make_run):
    (group,) = grouped([make_run(), make_run("eot", successes={0: 1, 5: 5, 10: 9})])
    axes, lines = shown(figure(group, "asr"))
    assert list(lines) == ["fd+rdg · bpda", "fd+rdg · eot"]
    assert lines["fd+rdg · bpda"].get_xydata().tolist() == [[0, 0], [5, 40], [10, 80]]
    assert lines["fd+rdg · eot"].get_ydata() == pytest.approx([10, 50, 90])
    assert len(axes.collections) == 2
    low, high = (axes.collections[0].get_paths()[0].get_extents().get_points()[:, 1]).tolist()
    assert low == 0
    assert high == pytest.approx(97, abs=1)


def test_acc_falls(make_run):
    _, lines = shown(figure(grouped([make_run()])[0], "acc"))
    assert lines["fd+rdg · bpda"].get_ydata() == pytest.approx([100, 60, 20])


def test_a_run_of_one_round_is_a_bar_with_its_interval_and_its_clean_image(make_run):
    runs = [make_run(), make_run("noise", successes={0: 1, 1: 2}, checks=FAILED)]
    lines, bars = figure(grouped(runs)[0], "asr").axes
    assert [line.get_label() for line in lines.lines] == ["fd+rdg · bpda"]
    (bar,) = bars.patches
    assert bar.get_width() == pytest.approx(20)
    assert bar.get_hatch()
    assert [label.get_text() for label in bars.get_yticklabels()] == [
        "fd+rdg · noise  ! check `noise` not met"
    ]
    (clean,) = bars.lines
    assert clean.get_xdata() == pytest.approx([10])
    (interval,) = bars.collections
    assert interval.get_segments()[0][:, 0] == pytest.approx([3, 66], abs=1)
    assert [text.get_text() for text in bars.texts] == ["20 %"]


def test_runs_of_one_round_alone_have_no_lines(make_run):
    (bars,) = figure(grouped([make_run(successes={0: 0, 1: 1})])[0], "acc").axes
    assert len(bars.patches) == 1


def test_very_different_numbers_of_rounds_make_the_axis_logarithmic(make_run):
    (group,) = grouped([make_run(), make_run("square", successes={0: 0, 9: 0, 5000: 1})])
    axes, _ = shown(figure(group, "asr"))
    assert axes.get_xscale() == "symlog"


def test_a_colour_means_a_defence_and_a_dash_an_attack(make_run):
    (group,) = grouped([make_run(a, d) for d in ("fd", "rdg") for a in ("bpda", "eot")])
    _, lines = shown(figure(group, "acc"))
    one, two, other = (lines[name] for name in ("fd · bpda", "fd · eot", "rdg · bpda"))
    assert one.get_color() == two.get_color() != other.get_color()
    assert one.get_linestyle() == other.get_linestyle() != two.get_linestyle()
    assert one.get_marker() == two.get_marker() != other.get_marker()


def test_with_one_defence_a_colour_means_an_attack(make_run):
    _, lines = shown(figure(grouped([make_run("bpda"), make_run("eot")])[0], "acc"))
    assert len({line.get_color() for line in lines.values()}) == 2


def test_a_failed_check_is_marked_by_more_than_a_colour(make_run):
    (group,) = grouped([make_run(), make_run("eot", checks=FAILED), make_run("x", checks=())])
    drawn = figure(group, "acc")
    _, lines = shown(drawn)
    unmet = lines["fd+rdg · eot  ! check `noise` not met"]
    assert unmet.get_markerfacecolor() == LIGHT.ground != unmet.get_color()
    legend = drawn.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        "fd+rdg · bpda",
        "fd+rdg · eot  ! check `noise` not met",
        "fd+rdg · x  ? not checked",
    ]


def test_untargeted_runs_are_named_as_such(make_run):
    axes, lines = shown(figure(grouped([make_run(targeted=False)])[0], "asr"))
    assert list(lines) == ["fd+rdg · bpda, untargeted"]
    assert axes.get_ylabel() == "ASR (misclassified), %"


def test_a_plot_is_described_in_words(make_run):
    (group,) = grouped([make_run(), make_run("noise", successes={0: 0, 1: 1})])
    assert describe(group, "asr") == (
        "ASR by round on lite2 · nips · 4 images: fd+rdg · bpda from 0 % to 80 % at round 10; "
        "fd+rdg · noise 10 % at round 1."
    )


@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_is_the_same_each_time(make_run, format_):
    (group,) = grouped([make_run(), make_run("noise", "none", successes={0: 0, 1: 0})])
    first, second = (drawn_as(figure(group, "acc"), format_) for _ in range(2))
    assert first == second
    assert first.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[format_])


def test_a_run_of_the_clean_image_alone_and_names_with_dollars_can_be_drawn(make_run):
    (group,) = grouped([make_run("a$x^$", dataset="$\\frac", successes={0: 1})])
    figure(group, "acc").draw_without_rendering()


def test_backgrounds_are_light_or_dark(make_run):
    (group,) = grouped([make_run()])
    light, dark = (figure(group, "acc", theme).get_facecolor() for theme in (LIGHT, DARK))
    assert light == (1, 1, 1, 1)
    assert max(dark[:3]) < 0.2
