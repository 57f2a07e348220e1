from pathlib import Path
from types import SimpleNamespace

import pytest

from service.evaluate.conditions import conditions
from service.evaluate.data import Data, LabelledImage
from service.evaluate.outcomes import Answer, Outcome
from service.evaluate.report import report
from service.evaluate.state import Record

CONDITIONS = conditions(["rdg"], corruptions=False)
RIGHT, SECOND, WRONG = (7, 1, 2, 3, 4), (1, 7, 2, 3, 4), (1, 2, 3, 4, 5)


def measured(*images):
    """Make records; an image is its bare answer and its answers with 1 and 4 draws behind rdg."""
    found = []
    for number, (bare, single, four, agreement) in enumerate(images):
        outcomes = {
            "none": Outcome(answers={1: (Answer(top=bare, agreement=1.0),)}, ms={1: 10.0}),
            "rdg": Outcome(
                answers={
                    1: tuple(Answer(top=top, agreement=1.0) for top in single),
                    4: (Answer(top=four, agreement=agreement),),
                },
                ms={1: 20.0, 4: 80.0},
            ),
        }
        image = LabelledImage(Path(f"{number}.png"), f"{number}.png", 7)
        found.append((image, Record(image=str(number), outcomes=outcomes)))
    return found


def made(records, classes=10):
    subject = SimpleNamespace(
        model="m",
        endpoint=None,
        seed=0,
        cost="CPU time of one core",
        provider="CPU",
        classes=classes,
        parallel=1,
    )
    images = Data("d", tuple(image for image, _ in records), ("a note",))
    return report(images, records, CONDITIONS, subject, keep=0.95)


@pytest.fixture
def four_images():
    return measured(
        (RIGHT, [RIGHT] * 4, RIGHT, 1.0),
        (RIGHT, [RIGHT, RIGHT, SECOND, SECOND], RIGHT, 0.5),
        (RIGHT, [WRONG, WRONG, WRONG, RIGHT], WRONG, 0.75),
        (WRONG, [WRONG] * 4, WRONG, 1.0),
    )


def test_the_figures_of_four_images(four_images):
    found = made(four_images)
    bare, one, four = found.rows
    assert (bare.top1.share, bare.top5.share, bare.difference.share) == (0.75, 0.75, 0.0)
    # A mean over the four single draws of each image: 1, 1/2, 1/4 and 0.
    assert one.top1.share == pytest.approx(7 / 16)
    assert one.top5.share == pytest.approx((1 + 1 + 0.25 + 0) / 4)
    assert (four.top1.share, four.top5.share) == (0.5, 0.5)
    assert four.difference.share == pytest.approx(-0.25)
    assert four.difference.low < -0.25 < four.difference.high
    assert (one.ms, four.ms, four.images_per_s) == (20.0, 80.0, 12.5)
    assert (found.images, found.notes, found.preference) == (4, ("a note",), ("none", "rdg"))


def test_agreement_is_of_several_draws(four_images):
    bare, one, four = made(four_images).rows
    assert (bare.agreement, one.agreement, one.selective) == (None, None, ())
    assert four.agreement == pytest.approx((1 + 0.5 + 0.75 + 1) / 4)
    half, most, every = four.selective
    assert (half.agreement, half.answered, half.right) == (0.5, 1.0, 0.5)
    assert (most.agreement, most.answered, most.right) == (0.75, 0.75, pytest.approx(1 / 3))
    assert (every.agreement, every.answered, every.right) == (1.0, 0.5, 0.5)


def test_no_answer_may_agree(four_images):
    (image, record), *_ = measured((RIGHT, [RIGHT], RIGHT, 0.5))
    *_, four = made([(image, record)]).rows
    assert four.selective[2].answered == 0
    assert four.selective[2].right is None


def test_five_classes_are_in_every_top_5(four_images):
    assert all(row.top5 is None for row in made(four_images, classes=5).rows)


def test_a_reduced_answer_has_neither_top_5_nor_agreement():
    bare = Outcome(answers={1: (Answer(top=(7,), agreement=None),)}, ms={1: 1.0})
    several = Outcome(
        answers={k: (Answer(top=(7,), agreement=None),) for k in (1, 4)}, ms={1: 1.0, 4: 4.0}
    )
    record = Record(image="a", outcomes={"none": bare, "rdg": several})
    for row in made([(LabelledImage(Path("a"), "a", 7), record)]).rows:
        assert (row.top1.share, row.top5, row.agreement, row.selective) == (1.0, None, None, ())


def test_a_file_that_cannot_be_read_is_listed_and_not_counted(four_images):
    broken = (LabelledImage(Path("x"), "x.png", 7), Record(image="x", error="cut short"))
    found = made([*four_images, broken])
    assert found.images == 4
    assert [(each.file, each.message) for each in found.unreadable] == [("x.png", "cut short")]
    assert found.rows == made(four_images).rows
