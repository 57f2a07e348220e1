"""Which runs a path means."""

import pytest

from harness.errors import RunError
from harness.results import run_folders


@pytest.fixture
def folder(tmp_path):
    """Two finished runs, one that was interrupted, one that lies deeper, and a file."""
    for name in ("b", "a", "deeper/c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").touch()
    (tmp_path / "interrupted").mkdir()
    (tmp_path / "interrupted" / "plan.json").touch()
    (tmp_path / "report.html").touch()
    return tmp_path


def test_of_a_folder_of_runs_each_that_is_finished(folder):
    assert run_folders(folder) == [folder / "a", folder / "b"]


@pytest.mark.parametrize("name", ["a", "a/run.json", "not/there"])
def test_of_anything_else_itself(folder, name):
    assert run_folders(folder / name) == [folder / name]


def test_a_folder_without_runs_is_refused(folder):
    with pytest.raises(RunError, match=r"interrupted is no finished run.* no run\.json in it"):
        run_folders(folder / "interrupted")
