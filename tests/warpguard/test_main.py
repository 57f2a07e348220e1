"""The commands in a folder that has packages of the same names, installed and as modules."""

import os
import subprocess
import sys

import pytest

NAMES = ("defenses", "harness", "models", "service")


@pytest.fixture
def project(tmp_path):
    """A folder of someone else, whose packages have our names."""
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('a foreign {name}')\n")
    return tmp_path


def run(project, *command, path):
    return subprocess.run(
        command,
        cwd=project,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("first", [".", ""], ids=["PYTHONPATH=.", "without"])
@pytest.mark.parametrize(
    "arguments", [("models", "list"), ("defenses", "--json")], ids=["models list", "defenses"]
)
def test_the_module_takes_our_own_packages(project, installed, first, arguments):
    done = run(project, sys.executable, "-m", "warpguard", *arguments, path=f"{first}:{installed}")
    assert done.returncode == 0, done.stderr
    assert "efficientnet-lite0" in done.stdout or '"fd"' in done.stdout


@pytest.mark.parametrize("first", [".", ""], ids=["PYTHONPATH=.", "without"])
@pytest.mark.parametrize(
    ("command", "arguments", "shown"),
    [
        ("warpguard", ("models", "list"), "efficientnet-lite0"),
        ("warpguard-harness", ("attacks",), "adaptive"),
    ],
)
def test_the_console_script_takes_our_own_packages(
    project, installed, first, command, arguments, shown
):
    script = installed / "bin" / command
    done = run(project, sys.executable, str(script), *arguments, path=f"{first}:{installed}")
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_a_child_process_takes_our_own_packages(project, installed):
    """A BMP of an unusual form is decoded in a process of its own."""
    program = """
import sys
from warpguard import __main__
sys.meta_path.insert(0, __main__._OwnFinder)
from service.images.children import Child
child = Child()
child._process.stdin.close()
print(child._process.wait(600))
"""
    done = run(project, sys.executable, "-c", program, path=f".:{installed}")
    assert done.stdout == "0\n", done.stderr


def test_a_program_s_own_packages_stay_its_own(project, installed):
    """Only a command prefers ours; an import of the package does not touch the others."""
    (project / "models" / "__init__.py").write_text("mine = True\n")
    program = "import warpguard; warpguard.Client; import models; assert models.mine"
    done = run(project, sys.executable, "-c", program, path=f".:{installed}")
    assert done.returncode == 0, done.stderr


def test_a_folder_that_hides_the_defences_is_named(project, installed):
    (project / "defenses" / "__init__.py").write_text("")
    program = "import warpguard; warpguard.Client; warpguard.Pipeline"
    done = run(project, sys.executable, "-c", program, path=f".:{installed}")
    assert f"this program has another one first: {project}/defenses/__init__.py" in done.stderr
    assert "Rename that folder" in done.stderr
