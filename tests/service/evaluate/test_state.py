import pytest
from filelock import FileLock

from service.evaluate.outcomes import Answer, Outcome
from service.evaluate.state import FILE, Record, State, StateError

IDENTITY = {"model": "colours", "sha256": "0" * 64, "draws": [1, 8], "seed": 0}


def outcome(top):
    return Outcome(answers={1: (Answer(top=(top,), agreement=1.0),)}, ms={1: 2.0})


def test_records_are_there_after_the_file_is_opened_again(tmp_path):
    folder = tmp_path / "new" / "folder"
    with State.opened(folder, IDENTITY) as state:
        state.add(Record(image="a", outcomes={"none": outcome(1)}))
        state.add(Record(image="b", error="cut short"))
    with State.opened(folder, IDENTITY) as state:
        state.add(Record(image="a", outcomes={"fd": outcome(2)}))
    with State.opened(folder, IDENTITY) as state:
        assert state.records == {
            "a": Record(image="a", outcomes={"none": outcome(1), "fd": outcome(2)}),
            "b": Record(image="b", error="cut short"),
        }


def test_a_line_that_was_cut_short_is_dropped(tmp_path):
    with State.opened(tmp_path, IDENTITY) as state:
        state.add(Record(image="a", outcomes={"none": outcome(1)}))
        state.add(Record(image="b", outcomes={"none": outcome(1)}))
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:-10])
    with State.opened(tmp_path, IDENTITY) as state:
        assert list(state.records) == ["a"]
        state.add(Record(image="b", outcomes={"none": outcome(1)}))
    assert (tmp_path / FILE).read_bytes() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "has answers with seed 0 instead of 1"),
        ({"draws": [1, 4]}, r"draws \[1, 8\] instead of \[1, 4\]"),
        ({"model": "b", "sha256": None}, 'model "colours" instead of "b" and sha256 "0'),
        ({"endpoint": "http://x"}, 'endpoint null instead of "http://x"'),
    ],
)
def test_answers_of_other_options_are_refused(tmp_path, change, message):
    with State.opened(tmp_path, IDENTITY):
        pass
    with (
        pytest.raises(StateError, match=message),
        State.opened(tmp_path, IDENTITY | change),
    ):
        pass


@pytest.mark.parametrize("content", ["[1]\n", "nonsense\n", '{"model": "colours"\n'])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(StateError, match="is damaged"), State.opened(tmp_path, IDENTITY):
        pass


def test_a_damaged_record_is_refused(tmp_path):
    with State.opened(tmp_path, IDENTITY):
        pass
    with (tmp_path / FILE).open("a") as file:
        file.write('{"image": 1}\n')
    with pytest.raises(StateError, match="is damaged"), State.opened(tmp_path, IDENTITY):
        pass


def test_two_evaluations_do_not_share_a_folder(tmp_path):
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(StateError, match="Another evaluation uses"),
        State.opened(tmp_path, IDENTITY),
    ):
        pass


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with State.opened(None, IDENTITY) as state:
        state.add(Record(image="a", error="x"))
        assert list(state.records) == ["a"]
    assert list(tmp_path.iterdir()) == []
