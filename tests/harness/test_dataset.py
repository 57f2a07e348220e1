"""Photographs, their classes and their target classes."""

import numpy as np
import pytest
from PIL import Image

from harness.dataset import Dataset, pixels_sha256
from harness.errors import DatasetError
from models import GraphInput, Manifest, Resize, Scaling, fit
from service.images.decode import decode

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
        (["0.png,-1,1"], "file,label,target", "line 2: '-1' is not a class"),
        (["0.png,0,1", "1.png,1,4"], "file,label,target", "line 3: '4' is not a class"),
        (["0.png,0,1", "", "1.png,1"], "file,label,target", "line 4: the row has 2 values, but"),
        (["0.png,0,1,2"], "file,label,target", "line 2: the row has 4 values, but .* 3 columns"),
        (["0.png,0,1", '"0.png"', "1,"], "file,label,target", "line 3: the row has 1 values"),
        (["0.png,0", "1.png,1", "0.png,0"], "file,label", r"line 4: 0\.png is in line 2 already"),
        (["0.png,0", "./0.png,1"], "file,label", r"line 3: \./0\.png is in line 2 already"),
        (["a" * 5000 + ",0"], "file,label", "line 2: .*File name too long"),
        (["0.png,1"], "name,label", "line 1: the columns are name, label; file and label"),
        (["0.png,1,2"], "file,label,label", "file and label are needed once"),
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
    with pytest.raises(DatasetError, match=r"gets 0 of 1 photographs .* right\. Check the labels"):
        dataset.cases(MANIFEST, lambda _: np.array([2]), None)


@pytest.mark.parametrize("by_chance", [0, 1])
def test_labels_that_count_from_1_are_recognised(tmp_path, by_chance):
    rows = [f"{number}.png,1,3" for number in range(8)]
    for number in range(3, 8):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{number}.png")
    dataset = Dataset.read(folder(tmp_path, rows), classes=4)
    answers = iter([1] * by_chance + [0] * 8)
    with pytest.raises(
        DatasetError,
        match=rf"gets {by_chance} of 8 photographs .* right, and for {8 - by_chance} of them its "
        r"class is the label minus 1\. Classes count from 0",
    ):
        dataset.cases(MANIFEST, lambda _: np.array([next(answers)]), None)


def test_some_answers_beside_the_label_are_no_reason_to_refuse(tmp_path):
    rows = [f"{number}.png,1,3" for number in range(3)]
    dataset = Dataset.read(folder(tmp_path, rows), classes=4)
    answers = iter([0, 0, 1])
    assert len(dataset.cases(MANIFEST, lambda _: np.array([next(answers)]), None)) == 1


def unusual(path):
    """Write photographs of which Pillow alone makes other pixels than the service does."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (20, 24, 3), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    transparent = np.dstack([pixels, generator.integers(0, 256, (20, 24), np.uint8)])
    grey = generator.integers(0, 65536, (20, 24)).astype(np.uint16)
    palette = Image.fromarray(pixels).quantize(8)
    Image.fromarray(pixels).save(path / "turned.png", exif=turned)
    Image.fromarray(transparent).save(path / "alpha.png")
    Image.fromarray(transparent).convert("LA").save(path / "grey-alpha.png")
    Image.fromarray(grey).save(path / "16-bit.png")
    palette.save(path / "palette.png", transparency=3)


def test_photographs_are_decoded_as_the_service_decodes_them(tmp_path):
    unusual(tmp_path)
    names = ["turned", "alpha", "grey-alpha", "16-bit", "palette"]
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"{n}.png,0\n" for n in names))
    dataset = Dataset.read(tmp_path, classes=4)
    cases = dataset.cases(MANIFEST, lambda _: np.array([0]), None)
    assert [case.file for case in cases] == [f"{name}.png" for name in names]
    for case in cases:
        body = (tmp_path / case.file).read_bytes()
        served = fit(decode(body, max_pixels=10**6), MANIFEST)
        np.testing.assert_array_equal(np.rint(case.image * 255), served)
        with Image.open(tmp_path / case.file) as file:
            other = fit(np.asarray(file.convert("RGB")), MANIFEST)
        assert not np.array_equal(other, served)


def test_names_a_file_that_is_not_an_image(tmp_path):
    dataset = Dataset.read(folder(tmp_path, ["0.png,0,1"]), classes=4)
    (tmp_path / "0.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"0.png cannot be read"):
        dataset.cases(MANIFEST, lambda _: np.array([0]), None)


def test_the_demonstration_is_for_models_of_imagenet():
    with pytest.raises(DatasetError, match=r"1000 classes, but the model has 5 .* --data"):
        Dataset.demo(5)


def test_the_demonstration_has_twenty_photographs():
    photographs = Dataset.demo().photographs
    assert len(photographs) == 20
    assert len({each.label for each in photographs}) > 15
    assert all(each.target != each.label for each in photographs)
