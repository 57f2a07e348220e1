import pytest

from service.evaluate import data
from service.evaluate.labels import DataError

NAMES = ("red", "green", "blue")


def files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def labels(folder, classes=3, names=NAMES, limit=None):
    found = data.read(folder, classes, names, limit)
    return {image.file: image.label for image in found.images}


def test_a_folder_for_each_class_by_label_or_index(tmp_path):
    files(tmp_path, "red/a.png", "1/b.png", "BLUE/deep/c.png", "red/.hidden", ".git/config")
    assert labels(tmp_path) == {"red/a.png": 0, "1/b.png": 1, "BLUE/deep/c.png": 2}


def test_underscores_in_a_folder_s_name_are_spaces(tmp_path):
    files(tmp_path, "great_white_shark/a.png")
    assert labels(tmp_path, 2, ("tench", "great white shark")) == {"great_white_shark/a.png": 1}


def test_files_beside_the_folders_are_counted(tmp_path):
    files(tmp_path, "red/a.png", "README.md", "b.png")
    found = data.read(tmp_path, 3, NAMES, None)
    assert found.notes == ("2 files beside the classes' folders are left out.",)


def test_a_table_has_indices_and_labels(tmp_path):
    files(tmp_path, "a.png", "b.png", "sub/c.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,2\nb.png,green\nsub/c.png,0\n")
    assert labels(tmp_path) == {"a.png": 2, "b.png": 1, "sub/c.png": 0}


def test_a_number_in_a_table_is_an_index_even_if_a_label_is_a_number(tmp_path):
    files(tmp_path, "a.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\n")
    assert labels(tmp_path, 3, ("1", "2", "3")) == {"a.png": 1}


def test_a_smaller_limit_takes_a_part_of_what_a_larger_one_takes(tmp_path):
    files(tmp_path, *(f"{name}/{number}.png" for name in NAMES for number in range(40)))
    few, many = list(labels(tmp_path, limit=30)), list(labels(tmp_path, limit=60))
    assert many[:30] == few
    counts = [list(labels(tmp_path, limit=30).values()).count(label) for label in range(3)]
    assert min(counts) >= 4  # and not the first folder alone


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["gren/a.png"], "'gren' is not a label of the model \\(did you mean 'green'\\?\\)"),
        (["3/a.png"], "'3' is not a class; classes are 0 to 2"),
        ([f"x{n}/a.png" for n in range(5)], "and 2 more"),
        (["a.png"], "neither a labels.csv nor folders"),
        ([], "neither a labels.csv nor folders"),
        (["red/.keep"], "have no files"),
    ],
)
def test_what_is_wrong_with_a_folder_is_reported(tmp_path, names, message):
    files(tmp_path, *names)
    with pytest.raises(DataError, match=message):
        labels(tmp_path)


def test_a_label_of_two_classes_is_refused(tmp_path):
    files(tmp_path, "crane/a.png")
    with pytest.raises(DataError, match="'crane' is the label of classes 0 and 2; write the index"):
        labels(tmp_path, 3, ("crane", "b", "crane"))


def test_a_folder_s_number_that_may_be_two_classes_is_refused(tmp_path):
    files(tmp_path, "1/a.png")
    with pytest.raises(DataError, match="index of one class and the label of another"):
        labels(tmp_path, 3, ("1", "2", "3"))
    assert labels(tmp_path, 3, ("0", "1", "2")) == {"1/a.png": 1}


def test_labels_need_a_model_whose_labels_are_known(tmp_path):
    files(tmp_path, "red/a.png")
    with pytest.raises(DataError, match="labels of the model are not known here"):
        labels(tmp_path, 3, None)


def test_a_missing_folder_and_a_wrong_row_are_reported(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        labels(tmp_path / "missing")
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\n")
    with pytest.raises(DataError, match=r"labels\.csv, line 2: .*a\.png does not exist"):
        labels(tmp_path)
