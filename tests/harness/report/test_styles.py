import pytest

from harness.report.groups import grouped
from harness.report.styles import COLOURS, DARK, LIGHT, styles

DEFENSES = ("fd", "rdg", "rand", "fd+rdg", "jpeg", "shield", "crop", "tvm", "bitdepth", "menet")


def drawn(make_run, attacks, defenses):
    runs = [make_run(a, d, name=f"{a} {d}") for d in defenses for a in attacks]
    (group,) = grouped(runs)
    return styles(group.entries)


@pytest.mark.parametrize(
    ("attacks", "defenses"),
    [
        (["bpda"], DEFENSES),
        ([f"attack {number}" for number in range(15)], ["fd"]),
        ([f"attack {number}" for number in range(12)], DEFENSES),
    ],
)
def test_no_two_runs_have_the_same_style(make_run, attacks, defenses):
    found = drawn(make_run, attacks, defenses)
    assert len(set(found.values())) == len(found) == len(attacks) * len(defenses)


def test_nine_defences_of_one_colour_differ_by_dash_and_marker(make_run):
    found = list(drawn(make_run, ["bpda"], DEFENSES[:9]).values())
    assert len({(style.colour, style.marker) for style in found}) == 9
    assert len({(style.colour, style.dash) for style in found}) == 9


def test_colours_are_seen_on_both_backgrounds():
    def brightness(colour):
        return sum(int(colour[start : start + 2], 16) for start in (1, 3, 5)) / 765

    for theme in (LIGHT, DARK):
        for colour in (*COLOURS, theme.right, theme.wrong, theme.gained):
            assert abs(brightness(colour) - brightness(theme.ground)) > 0.15
