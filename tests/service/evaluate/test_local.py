from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.evaluate.conditions import conditions
from service.evaluate.local import LocalModel
from service.evaluate.outcomes import UnreadableError


@pytest.fixture
def make_model(load_colours):
    models = []

    def made(draws=(1, 4, 8), seed=0):
        models.append(LocalModel(load_colours(), draws, seed))
        return models[-1]

    yield made
    for model in models:
        model.close()


def test_all_draws_are_used_for_each_number(make_model, make_photograph):
    found = make_model().answer(make_photograph(), conditions(["rdg", "fd"], corruptions=True))
    assert list(found) == ["none", "rdg", "fd", "JPEG 50", "noise 0.08", "stripes 8/255"]
    counts = {number: len(answers) for number, answers in found["rdg"].answers.items()}
    assert counts == {1: 8, 4: 2, 8: 1}
    assert all(list(found[name].answers) == [1] for name in found if name != "rdg")
    assert all(one.answers[1][0].top[0] == 0 for one in found.values())
    assert len(found["none"].answers[1][0].top) == 3


def test_the_first_draws_of_eight_are_those_of_four(make_model):
    """With ``crop`` the answer depends on the draw: the left half is red, the right one green."""
    body = halves()
    chosen = conditions(["crop(fraction=0.4)"], corruptions=False)
    eight = make_model((1, 4, 8)).answer(body, chosen)["crop(fraction=0.4)"]
    four = make_model((1, 4)).answer(body, chosen)["crop(fraction=0.4)"]
    assert eight.answers[1][:4] == four.answers[1]
    assert eight.answers[4][0] == four.answers[4][0]
    assert len({answer.top for answer in eight.answers[1]}) > 1


def test_the_draws_are_those_of_the_seed_and_the_image(make_model):
    chosen = conditions(["crop(fraction=0.4)"], corruptions=True)
    body = halves()
    first, again, other = (
        answers(make_model(seed=seed).answer(body, chosen)) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_a_condition_has_its_draws_whatever_else_is_measured(make_model):
    alone, others = ["crop(fraction=0.4)"], ["rdg", "crop(fraction=0.4)", "fd"]
    model = make_model()
    first, second = (
        model.answer(halves(), conditions(each, corruptions=False))["crop(fraction=0.4)"].answers
        for each in (alone, others)
    )
    assert first == second


def test_more_draws_cost_more(make_model, make_photograph):
    ms = make_model().answer(make_photograph(), conditions(["fd+rdg"], corruptions=False))
    one, four, eight = ms["fd+rdg"].ms.values()
    assert 0 < one < four < eight


def test_a_file_that_is_not_an_image_cannot_be_read(make_model, make_photograph):
    model = make_model()
    chosen = conditions([], corruptions=False)
    for body in (b"", b"nothing", make_photograph()[:300]):
        with pytest.raises(UnreadableError):
            model.answer(body, chosen)


def halves():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16], pixels[:, 16:] = (200, 20, 20), (20, 200, 20)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def answers(outcomes):
    return {name: outcome.answers for name, outcome in outcomes.items()}
