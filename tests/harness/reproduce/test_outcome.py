import json

import pytest

from harness.rates import Rate
from harness.reproduce.outcome import Figure
from harness.reproduce.text import cell


def figure(ours, paper, photographs=20):
    shares = [1.0] * round(ours * photographs) + [0.0] * round((1 - ours) * photographs)
    return Figure.share("row", "column", "ACC", Rate.of(shares), paper)


def test_shares_differ_if_their_intervals_do_not_overlap():
    assert not figure(0.95, 0.97).differs
    assert not figure(0.75, 0.87).differs
    assert figure(0.1, 0.9).differs
    assert figure(0.9, 0.1).differs


def test_words_are_bounds_and_a_missing_figure_does_not_differ():
    assert figure(0.1, "≈ 70").differs
    assert not figure(0.6, "≈ 70").differs
    assert figure(0.9, "< 20").differs
    assert not figure(0.1, "< 20").differs
    assert figure(0.1, "> 90").differs
    assert not figure(1.0, "> 90").differs
    assert not figure(0.1, None).differs
    assert not Figure(row="r", column="l2", measure="l2", ours=0.02, paper=0.13).differs


def test_a_cell_has_our_figure_its_interval_and_the_papers_figure():
    assert cell(figure(0.95, 0.97)) == "95 [76…99] / 97"
    assert cell(figure(0.1, 0.9)) == "10 [3…30] / 90 ≠"
    assert cell(figure(0.5, None)) == "50 [30…70] / –"
    assert cell(Figure(row="r", column="l2", measure="l2", ours=0.0207, paper=0.1343)) == (
        "0.0207 / 0.1343"
    )
    assert cell(Figure(row="r", column="10%", measure="rounds", ours="100+", paper="14")) == (
        "100+ / 14"
    )


def test_a_figure_is_read_as_it_was_written():
    one = figure(0.95, 0.97)
    assert Figure.model_validate(json.loads(one.model_dump_json())) == one
    with pytest.raises(ValueError, match="extra"):
        Figure.model_validate({**one.model_dump(), "more": 1})
