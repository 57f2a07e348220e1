"""The runs that a path names, and the names of their images."""

import pytest

from harness.errors import RunError
from harness.results import EndpointRecord, image_name, run_folders


@pytest.fixture
def folder(tmp_path):
    """A folder with two finished runs, an interrupted one, one that is deeper, and a file."""
    for name in ("b", "a", "deeper/c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").touch()
    (tmp_path / "interrupted").mkdir()
    (tmp_path / "interrupted" / "plan.json").touch()
    (tmp_path / "report.html").touch()
    return tmp_path


def test_a_folder_of_runs_names_its_finished_runs(folder):
    assert run_folders(folder) == [folder / "a", folder / "b"]


@pytest.mark.parametrize("name", ["a", "a/run.json", "not/there"])
def test_any_other_path_names_itself(folder, name):
    assert run_folders(folder / name) == [folder / name]


def test_a_folder_of_json_files_names_them(tmp_path):
    for name in ("b.json", "a.json", "plot.png"):
        (tmp_path / name).touch()
    assert run_folders(tmp_path) == [tmp_path / "a.json", tmp_path / "b.json"]


def test_a_folder_without_runs_is_refused(folder):
    with pytest.raises(RunError, match=r"interrupted does not hold .* no run\.json in it"):
        run_folders(folder / "interrupted")


@pytest.mark.parametrize("a", ["a/p.png", "a__p.png", "a_p.png", "A/p.png", "ä/p.png", "x" * 3000])
def test_the_name_of_an_image_belongs_to_one_photograph(a):
    others = ["a/p.png", "a__p.png", "a_p.png", "A/p.png", "ä/p.png", "x" * 3000, "y" + "x" * 2999]
    names = [image_name(other).casefold() for other in others]
    assert names.count(image_name(a).casefold()) == 1
    assert all(len(name.encode()) < 100 for name in names)
    assert not any(set(name) & set('/\\:*?"<>|') for name in names)


def test_an_endpoint_of_an_older_run_described_itself():
    old = '{"url": "u", "model": "m", "model_sha256": null, "defense": "fd", "protocol": "v2"'
    record = EndpointRecord.model_validate_json(old + ', "quantized": true}')
    assert (record.defense_assumed, record.model_version) == (False, None)
