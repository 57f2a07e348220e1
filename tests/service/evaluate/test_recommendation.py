import pytest

from service.evaluate.recommendation import recommend


def test_the_preferred_defence_is_recommended_with_the_fewest_draws(make_report):
    advice = recommend(
        make_report(rights=[("fd+rdg", 1, 185), ("fd+rdg", 8, 188), ("rdg", 1, 190)])
    )
    assert (advice.row.name, advice.row.draws) == ("fd+rdg", 1)
    assert advice.flags == "--model colours --defense fd+rdg"
    assert "fd+rdg with 1 draw. It keeps 97 % [" in advice.sentence
    assert "more images" not in advice.sentence


def test_more_draws_are_recommended_where_one_costs_too_much(make_report):
    advice = recommend(make_report(rights=[("fd+rdg", 1, 150), ("fd+rdg", 8, 186)]))
    assert (advice.row.name, advice.row.draws) == ("fd+rdg", 8)
    assert advice.flags == "--model colours --defense fd+rdg --draws 8"


def test_a_defence_that_costs_too_much_is_passed_over(make_report):
    advice = recommend(
        make_report(rights=[("fd+rdg", 1, 150), ("fd+rdg", 8, 160), ("rdg(delta=0.1)", 1, 186)])
    )
    assert advice.row.name == "rdg(delta=0.1)"
    assert advice.flags == "--model colours --defense 'rdg(delta=0.1)'"


def test_a_defence_is_passed_over_only_if_the_images_show_that_it_costs_too_much(make_report):
    """179 of 190 are 94 %: chance may explain that, and 2,000 images leave no doubt."""
    advice = recommend(make_report(rights=[("fd+rdg", 1, 179), ("rdg", 1, 190)]))
    assert advice.row.name == "fd+rdg"
    assert "95 % is within the interval; more images would narrow it." in advice.sentence
    many = make_report(images=8000, bare=7600, rights=[("fd+rdg", 1, 7160), ("rdg", 1, 7600)])
    assert recommend(many).row.name == "rdg"


def test_a_defence_without_draws_is_never_recommended(make_report):
    advice = recommend(make_report(rights=[("fd", 1, 190, False)]))
    assert advice.row is None
    assert "none of these defences draws at random" in advice.sentence


def test_nothing_is_recommended_if_all_cost_too_much(make_report):
    advice = recommend(make_report(rights=[("fd+rdg", 1, 100), ("rdg", 8, 120)]))
    assert (advice.row, advice.flags) == (None, "")
    assert "none of these defences keeps 95 %" in advice.sentence
    assert "rdg with 8 draws keeps the most, 63 % [" in advice.sentence


def test_less_may_be_asked_for(make_report):
    assert recommend(make_report(rights=[("fd+rdg", 1, 160)])).row is None
    assert recommend(make_report(rights=[("fd+rdg", 1, 160)], keep=0.8)).row.name == "fd+rdg"


@pytest.mark.parametrize("images", [1, 99])
def test_few_images_are_too_few(make_report, images):
    advice = recommend(make_report(images=images, bare=images, rights=[("fd+rdg", 1, images)]))
    assert advice.row is None
    assert f"{images} images are too few" in advice.sentence
    enough = make_report(images=100, bare=100, rights=[("fd+rdg", 1, 100)])
    assert recommend(enough).row is not None


def test_the_speed_does_not_change_the_advice(make_report):
    report = make_report(rights=[("fd+rdg", 1, 185), ("rdg", 1, 186)])
    slow = report.model_copy(
        update={"rows": tuple(row.model_copy(update={"ms": 9e9}) for row in report.rows)}
    )
    assert recommend(slow).sentence == recommend(report).sentence
