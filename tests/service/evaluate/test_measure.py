from dataclasses import dataclass, field
from hashlib import sha256

import pytest

from service.evaluate.conditions import conditions
from service.evaluate.data import Data, LabelledImage
from service.evaluate.labels import DataError
from service.evaluate.measure import measure
from service.evaluate.outcomes import Answer, Outcome, UnreadableError
from service.evaluate.state import State

CONDITIONS = conditions(["fd", "rdg"], corruptions=False)


@dataclass
class Subject:
    """Answers with the first byte of a file; a file that begins with x cannot be read."""

    workers: int = 2
    asked: list = field(default_factory=list)

    def answer(self, body, wanted):
        if body.startswith(b"x"):
            raise UnreadableError("It begins with an x.")
        self.asked += [(body, condition.name) for condition in wanted]
        answer = Answer(top=(int(body[:1]),), agreement=1.0)
        return {each.name: Outcome(answers={1: (answer,)}, ms={1: 1.0}) for each in wanted}


@pytest.fixture
def make_data(tmp_path):
    def made(*labelled):
        images = []
        for number, (content, label) in enumerate(labelled):
            path = tmp_path / f"{number}.png"
            path.write_text(f"{content} {number}" if content else "")
            images.append(LabelledImage(path, path.name, label))
        return Data("photos", tuple(images))

    return made


def test_each_image_is_classified_once_under_each_condition(make_data):
    subject, state = Subject(), State()
    data = make_data(*(["1", 1] for _ in range(30)))
    seen = []
    found = measure(data, subject, CONDITIONS, state, on_image=seen.append)
    assert [image for image, _ in found] == list(data.images)
    assert len(subject.asked) == len(set(subject.asked)) == 90
    assert seen == list(range(1, 31))
    assert measure(data, subject, CONDITIONS, state) == found
    assert len(subject.asked) == 90


def test_what_a_state_lacks_is_added(make_data):
    subject, state = Subject(), State()
    data = make_data(["1", 1], ["2", 2])
    measure(data, subject, CONDITIONS[:2], state)
    del subject.asked[:]
    found = measure(data, subject, CONDITIONS, state)
    assert {name for _, name in subject.asked} == {"rdg"}
    assert all(set(record.outcomes) == {"none", "fd", "rdg"} for _, record in found)


def test_an_image_is_known_by_its_bytes(make_data, tmp_path):
    subject, state = Subject(), State()
    data = make_data(["1", 1])
    measure(data, subject, CONDITIONS, state)
    renamed = data.images[0].path.rename(tmp_path / "other.png")
    assert measure(Data("x", (LabelledImage(renamed, "o", 1),)), subject, CONDITIONS, state)
    assert len(subject.asked) == 3
    assert list(state.records) == [sha256(b"1 0").hexdigest()]


def test_the_estimate_comes_once_and_only_if_there_is_work(make_data):
    subject, state, estimates = Subject(), State(), []
    data = make_data(["x", 1], ["1", 1], ["1", 1])
    measure(data, subject, CONDITIONS, state, on_first=estimates.append)
    assert len(estimates) == 1
    measure(data, subject, CONDITIONS, state, on_first=estimates.append)
    assert len(estimates) == 1


def test_a_file_that_cannot_be_read_does_not_end_the_run(make_data):
    state = State()
    found = measure(make_data(["1", 1], ["x", 1], ["1", 1]), Subject(), CONDITIONS, state)
    assert [record.error for _, record in found] == [None, "It begins with an x.", None]


def test_files_that_all_cannot_be_read_are_an_error(make_data):
    with pytest.raises(DataError, match=r"None of the 2 files .* 0\.png: It begins with an x"):
        measure(make_data(["x", 1], ["x", 1]), Subject(), CONDITIONS, State())


@pytest.mark.parametrize(("images", "asked_at_most"), [(8, 8), (500, 60)])
def test_labels_that_count_from_1_end_the_run_early(make_data, images, asked_at_most):
    subject = Subject()
    data = make_data(*(["4", 5] for _ in range(images)))
    with pytest.raises(
        DataError, match=r"gets 0 of (8|20) images of photos right, and for \1 of .* label minus 1"
    ):
        measure(data, subject, CONDITIONS, State())
    assert len({body for body, _ in subject.asked}) <= asked_at_most


def test_labels_with_a_0_do_not_count_from_1(make_data):
    """The labels of two classes that are in the wrong order look alike."""
    data = make_data(*(["0", 1] for _ in range(6)), *(["1", 0] for _ in range(6)))
    with pytest.raises(DataError, match=r"gets none of the 12 .* labels in the model's manifest"):
        measure(data, Subject(), CONDITIONS, State())


def test_a_model_that_gets_nothing_right_is_an_error(make_data):
    with pytest.raises(DataError, match="gets none of the 9 images of photos right"):
        measure(make_data(*(["1", 5] for _ in range(9))), Subject(), CONDITIONS, State())


def test_an_error_of_the_subject_ends_the_run(make_data):
    class Failing(Subject):
        def answer(self, body, wanted):
            if body.endswith(b"7"):
                raise OSError("gone")
            return super().answer(body, wanted)

    with pytest.raises(OSError, match="gone"):
        measure(make_data(*(["1", 1] for _ in range(30))), Failing(), CONDITIONS, State())
