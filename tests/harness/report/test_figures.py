from io import BytesIO

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from harness import report
from harness.report.figures import DARK, LIGHT, describe, figure
from harness.report.groups import grouped
from harness.results import Check

FAILED = (Check(name="noise", passed=False, detail=""),)


def shown(drawn):
    (axes,) = drawn.axes
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


def test_a_run_of_one_round_is_a_point(make_run):
    (group,) = grouped([make_run(), make_run("noise", successes={0: 0, 1: 1})])
    axes, lines = shown(figure(group, "asr"))
    point = lines["fd+rdg · noise"]
    assert point.get_xydata().tolist() == [[1, 10]]
    assert point.get_linestyle() == "None"
    assert axes.get_xscale() == "linear"


def test_points_at_one_round_are_next_to_each_other_and_inside_the_axes(make_run):
    runs = [make_run(name, successes={0: 0, 9: 1}) for name in ("a", "b")]
    runs += [make_run(name, successes={0: 0, 1: 1}) for name in ("c", "d")]
    drawn = figure(grouped(runs)[0], "asr")
    drawn.draw_without_rendering()
    axes, lines = shown(drawn)
    at = [line.get_transform().transform(line.get_xydata())[0][0] for line in lines.values()]
    left, right = axes.get_window_extent().x0, axes.get_window_extent().x1
    assert all(left <= x <= right for x in at)
    assert len(set(at)) == 4


def test_very_different_numbers_of_rounds_make_the_axis_logarithmic(make_run):
    (group,) = grouped([make_run(), make_run("square", successes={0: 0, 5000: 1})])
    axes, _ = shown(figure(group, "asr"))
    assert axes.get_xscale() == "symlog"


def test_a_colour_means_a_defence_and_a_dash_an_attack(make_run):
    (group,) = grouped([make_run(a, d) for d in ("fd", "rdg") for a in ("bpda", "eot")])
    _, lines = shown(figure(group, "acc"))
    one, two, other = (lines[name] for name in ("fd · bpda", "fd · eot", "rdg · bpda"))
    assert one.get_color() == two.get_color() != other.get_color()
    assert one.get_linestyle() == other.get_linestyle() != two.get_linestyle()
    assert one.get_marker() != two.get_marker()


def test_with_one_defence_a_colour_means_an_attack(make_run):
    _, lines = shown(figure(grouped([make_run("bpda"), make_run("eot")])[0], "acc"))
    assert len({line.get_color() for line in lines.values()}) == 2


def test_a_failed_check_is_marked_by_more_than_a_colour(make_run):
    (group,) = grouped([make_run(), make_run("eot", checks=FAILED), make_run("x", checks=())])
    drawn = figure(group, "acc")
    _, lines = shown(drawn)
    assert lines["fd+rdg · eot  ✗ checks failed"].get_marker() == "X"
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "fd+rdg · bpda",
        "fd+rdg · eot  ✗ checks failed",
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


def test_plots_are_the_same_each_time(make_run):
    runs = [make_run(), make_run("noise", "none", successes={0: 0, 1: 0}, checks=FAILED)]
    files = report.plots(runs)
    assert list(files) == ["acc-by-round.png", "asr-by-round.png"]
    for content in files.values():
        with Image.open(BytesIO(content)) as image:
            image.load()
            assert image.format == "PNG"
            assert image.width > 1000
            assert set(image.info) == {"dpi"}
    assert report.plots(runs) == files
    assert plt.get_fignums() == []


def test_each_group_has_its_own_plots(make_run):
    assert list(report.plots([make_run(), make_run(model="v3")])) == [
        "acc-by-round-1.png",
        "asr-by-round-1.png",
        "acc-by-round-2.png",
        "asr-by-round-2.png",
    ]


def test_a_run_of_the_clean_image_alone_and_names_with_dollars_can_be_drawn(make_run):
    (group,) = grouped([make_run("a$x^$", dataset="$\\frac", successes={0: 1})])
    figure(group, "acc").draw_without_rendering()


def test_backgrounds_are_light_or_dark(make_run):
    (group,) = grouped([make_run()])
    light, dark = (figure(group, "acc", theme).get_facecolor() for theme in (LIGHT, DARK))
    assert light == (1, 1, 1, 1)
    assert max(dark[:3]) < 0.2
