"""The file of a calibration: what is read, and for which server it is."""

import json

import numpy as np
import pytest

from defenses import Pipeline
from service.signals.calibration import Calibration, CalibrationError
from tests.service.signals.test_measure import FD_RDG, image, made, manifest


@pytest.fixture(scope="module")
def calibration():
    return made([image(number) for number in range(1, 100)])


@pytest.fixture
def document(calibration):
    return json.loads(calibration.model_dump_json())


def test_it_is_read_as_it_was_written(calibration, tmp_path):
    path = tmp_path / "calibration.json"
    calibration.write(path)
    assert Calibration.read(path, FD_RDG) == calibration
    assert path.stat().st_size < 4000
    calibration.check_model(manifest())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has the format 2, and this version of warpguard reads the format 1"),
        ({"format": None}, "has the format None"),
        ({"images": -1}, "images: Input should be greater than or equal to 1"),
        ({"squeeze": {"draws": 1}}, "squeeze.threshold: Field required"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_a_file_that_is_not_valid_is_refused(document, tmp_path, change, message):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(document | change))
    with pytest.raises(CalibrationError) as error:
        Calibration.read(path, FD_RDG)
    assert message in str(error.value)
    assert str(error.value).endswith("Make one with 'warpguard calibrate'.")


@pytest.mark.parametrize("text", ["", "[]", "{", "7", '{"format": 1, "images": NaN}', "\xff"])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_text(text, "latin-1")
    with pytest.raises(CalibrationError, match="warpguard calibrate"):
        Calibration.read(path, FD_RDG)


def test_a_file_that_cannot_be_read_or_written_is_named(calibration, tmp_path):
    with pytest.raises(CalibrationError, match=r"missing.json cannot be read: No such file"):
        Calibration.read(tmp_path / "missing.json", FD_RDG)
    with pytest.raises(CalibrationError, match=r"none/x.json cannot be written: No such file"):
        calibration.write(tmp_path / "none" / "x.json")


def test_another_model_is_refused_with_both_names(calibration):
    other = manifest().model_copy(update={"name": "other", "sha256": "1" * 64})
    with pytest.raises(CalibrationError) as error:
        calibration.check_model(other)
    assert "for the model many (SHA-256 000000000000)" in str(error.value)
    assert "the server's is other (SHA-256 111111111111)" in str(error.value)


def test_another_defence_is_refused_with_both_names(calibration):
    with pytest.raises(CalibrationError, match=r"defence fd\+rdg, and --defense is fd\+rand"):
        calibration.check_defense(Pipeline.parse("fd+rand"))


def test_another_number_of_draws_is_refused_with_both(document):
    document["squeeze"]["draws"] = 8
    with pytest.raises(CalibrationError, match="is for 8 draws, and the signal squeeze compares 1"):
        Calibration.model_validate(document).check_defense(FD_RDG)


def test_a_defence_s_file_with_other_content_is_refused(calibration, tmp_path):
    bank = tmp_path / "bank.npz"
    np.savez(bank, patches=np.random.default_rng(0).integers(0, 256, (200, 5, 5, 3), np.uint8))
    quilt = Pipeline.parse(f"quilt(bank={bank})")
    update = {"name": str(quilt), "sha256": quilt.digest()}
    of_quilt = calibration.model_copy(
        update={"defense": calibration.defense.model_copy(update=update)}
    )
    of_quilt.check_defense(quilt)
    np.savez(bank, patches=np.random.default_rng(1).integers(0, 256, (200, 5, 5, 3), np.uint8))
    with pytest.raises(CalibrationError, match="with other content, and --defense is quilt"):
        of_quilt.check_defense(Pipeline.parse(f"quilt(bank={bank})"))
