"""How many answers are unsure, and how many of the others are wrong."""

from hypothesis import given
from hypothesis import strategies as st

from service.signals.coverage import coverage


def test_a_table_whose_figures_are_known():
    agreements = [1.0] * 6 + [0.875] * 2 + [0.5] * 2
    right = [True] * 6 + [True, False] + [False, None]
    rows = [(row.min_agreement, row.unsure, row.wrong) for row in coverage(agreements, right)]
    assert rows == [(0.5, 0.0, round(2 / 9, 6)), (0.875, 0.2, 0.125), (1.0, 0.4, 0.0)]


def test_without_labels_there_is_no_error():
    assert [row.wrong for row in coverage([0.5, 1.0], [None, None])] == [None, None]


def test_the_row_of_full_agreement_is_there_even_if_no_image_has_it():
    (_, last) = coverage([0.5, 0.5], [True, True])
    assert (last.min_agreement, last.unsure, last.wrong) == (1.0, 1.0, None)


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), min_size=1))
def test_a_higher_least_agreement_makes_more_answers_unsure(images):
    rows = coverage([each / 8 for each, _ in images], [right for _, right in images])
    assert rows[0].unsure == 0
    assert rows[0].wrong == round(sum(not right for _, right in images) / len(images), 6)
    assert [row.unsure for row in rows] == sorted(row.unsure for row in rows)
    assert rows[-1].min_agreement == 1
