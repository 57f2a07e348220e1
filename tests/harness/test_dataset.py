"""Photographs, their classes and their target classes."""

import numpy as np
import pytest
from PIL import Image

from harness.dataset import Dataset, pixels_sha256
from harness.errors import DatasetError
from models import GraphInput, Manifest, Resize, Scaling

MANIFEST = Manifest(
    name="m",
    input=GraphInput(height_px=16, width_px=16),
    resize=Resize(mode="squash"),
    scaling=Scaling(mean=(0, 0, 0), std=(1, 1, 1)),
    labels=("a", "b", "c", "d"),
)


def folder(path, rows, header="file,label,target"):
    for number in range(3):
        pixels = np.full((20, 24, 3), 60 * number, np.uint8)
        Image.fromarray(pixels).save(path / f"{number}.png")
    (path / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return path


def test_reads_a_folder_in_the_order_of_its_table(tmp_path):
    dataset = Dataset.read(folder(tmp_path, ["1.png,2,0", "0.png,1,3"]), classes=4)
    read = [(each.file, each.label, each.target) for each in dataset.photographs]
    assert read == [("1.png", 2, 0), ("0.png", 1, 3)]


def test_draws_the_same_missing_target_every_time(tmp_path):
    folder(tmp_path, [f"{n}.png,{n}" for n in range(3)], header="file,label")
    first, second = (Dataset.read(tmp_path, classes=4).photographs for _ in range(2))
    assert first == second
    assert all(each.target != each.label and 0 <= each.target < 4 for each in first)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["0.png,9,1"], "file,label,target", "line 2: '9' is not a class; classes are 0 to 3"),
        (["0.png,1,x"], "file,label,target", "line 2: 'x' is not a class"),
        (["0.png,1,1"], "file,label,target", "the target must not be the label"),
        (["7.png,1,2"], "file,label,target", r"7\.png does not exist"),
        (["0.png,1"], "name,label", "no column 'file'"),
        ([], "file,label", "has no rows"),
    ],
)
def test_reports_what_is_wrong_with_a_table(tmp_path, rows, header, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.read(folder(tmp_path, rows, header), classes=4)


def test_reports_a_missing_table(tmp_path):
    with pytest.raises(DatasetError, match=r"labels.csv cannot be read"):
        Dataset.read(tmp_path, classes=4)


def test_selects_the_first_photographs_that_the_model_gets_right(tmp_path):
    dataset = Dataset.read(folder(tmp_path, ["0.png,0,1", "1.png,1,2", "2.png,2,3"]), classes=4)
    answers = iter([3, 1, 2])

    def classify(images):
        assert images[0].shape == (16, 16, 3)
        assert images[0].dtype == np.uint8
        return np.array([next(answers)])

    (case,) = dataset.cases(MANIFEST, classify, limit=1)
    assert (case.file, case.label, case.target) == ("1.png", 1, 2)
    np.testing.assert_allclose(case.image, 60 / 255, rtol=1e-6)
    assert len(pixels_sha256(case)) == 64


def test_has_no_target_if_the_attack_is_untargeted(tmp_path):
    dataset = Dataset.read(folder(tmp_path, ["0.png,0,1"]), classes=4)
    (case,) = dataset.cases(MANIFEST, lambda _: np.array([0]), None, targeted=False)
    assert case.target is None
    assert case.goal == 0


def test_reports_that_the_model_gets_no_photograph_right(tmp_path):
    dataset = Dataset.read(folder(tmp_path, ["0.png,0,1"]), classes=4)
    with pytest.raises(DatasetError, match="none of the photographs"):
        dataset.cases(MANIFEST, lambda _: np.array([2]), None)


def test_names_a_file_that_is_not_an_image(tmp_path):
    dataset = Dataset.read(folder(tmp_path, ["0.png,0,1"]), classes=4)
    (tmp_path / "0.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"0.png cannot be read"):
        dataset.cases(MANIFEST, lambda _: np.array([0]), None)


def test_the_demonstration_has_twenty_photographs():
    photographs = Dataset.demo().photographs
    assert len(photographs) == 20
    assert len({each.label for each in photographs}) > 15
    assert all(each.target != each.label for each in photographs)
