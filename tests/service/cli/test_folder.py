"""The images of a folder, and their classes."""

import pytest

from service.cli.folder import FolderError, images_in, labels_in
from service.errors import SetupError
from service.images.decode import FORMATS

SUFFIXES = {"JPEG": "jpg", "TIFF": "tif"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("b.PNG", "a.jpg", "more/c.avif", "notes.txt", "labels.csv"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_images_come_in_order_and_from_subfolders(folder):
    names = [str(each.relative_to(folder)) for each in images_in(folder)]
    assert names == ["a.jpg", "b.PNG", "more/c.avif"]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_of_the_service_is_an_image(tmp_path, kind):
    (tmp_path / f"x.{SUFFIXES.get(kind, kind.lower())}").write_bytes(b"")
    assert len(images_in(tmp_path)) == 1


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(FolderError, match=r"has no images: \.avif, \.bmp"):
        images_in(tmp_path)
    with pytest.raises(FolderError, match=r"missing is not a folder"):
        images_in(tmp_path / "missing")


def test_labels_are_read_for_the_images_that_have_one(folder):
    (folder / "labels.csv").write_text("\ufefflabel,file,more\n7,more/c.avif,x\n0,./a.jpg,\n")
    labels = labels_in(folder, images_in(folder), 10)
    assert labels == {folder / "more" / "c.avif": 7, folder / "a.jpg": 0}


def test_without_a_table_there_are_no_labels(folder):
    (folder / "labels.csv").unlink()
    assert labels_in(folder, images_in(folder), 10) == {}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "line 1: the columns are missing; file and label are needed once"),
        ("file\na.jpg\n", "line 1: the columns are file; file and label are needed once"),
        ("file,label\na.jpg,1\nx.jpg,1\n", "line 3: "),
        ("file,label\na.jpg,1\nx.jpg,1\n", "x.jpg does not exist"),
        ("file,label\n,1\n", "line 2: "),
        ("file,label\nnotes.txt,1\n", "line 2: 'notes.txt' is not an image of this folder"),
        ("file,label\na.jpg,10\n", "line 2: '10' is not a class; classes are 0 to 9"),
        ("file,label\na.jpg,-1\n", "line 2: '-1' is not a class; classes are 0 to 9"),
        ("file,label\na.jpg\n", "line 2: the row has 1 values"),
        ("file,label\na.jpg,cat\n", "line 2: 'cat' is not a class; classes are 0 to 9"),
        ("file,label\n\xff,1\n", "labels.csv cannot be read: 'utf-8' codec"),
    ],
)
def test_a_table_that_is_not_valid_is_refused_with_its_line(folder, table, message):
    (folder / "labels.csv").write_text(table, "latin-1")
    with pytest.raises(SetupError) as error:
        labels_in(folder, images_in(folder), 10)
    assert message in str(error.value)
