"""What is packaged: the five packages and their data, and nothing of the tests or benchmarks."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"defenses", "harness", "models", "service", "warpguard"}


ALONE = """
import sys

class Missing:
    def find_spec(name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ALLOWED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

ALLOWED = {"warpguard", "defenses", "sitecustomize"}
sys.meta_path.insert(0, Missing)
sys.path.insert(0, sys.argv[1])
import warpguard
print(len(sys.modules))
assert warpguard.__file__.startswith(sys.argv[1])
ALLOWED |= {"numpy", "cv2"}
import random
import numpy as np
image = np.zeros((32, 32, 3), np.uint8)
assert warpguard.Pipeline.parse("fd+rdg")(image, random.Random(0)).shape == image.shape
ALLOWED |= {"httpx2", "httpcore2", "anyio", "idna", "h11", "certifi", "sniffio"}
ALLOWED |= {"typing_extensions", "truststore"}
assert warpguard.Client().url == "http://127.0.0.1:8080"
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*PACKAGES, "benchmarks", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    subprocess.run(
        [sys.executable, "-c", build], cwd=source, check=True, capture_output=True, text=True
    )
    (file,) = folder.glob("warpguard-*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_has_the_five_packages(wheel):
    names = wheel.namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES
    for package in PACKAGES:
        modules = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
        assert modules <= set(names)
    assert "models/imagenet1k_labels.txt" in names
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)


def test_what_the_wheel_offers_to_programs_needs_almost_nothing(wheel, tmp_path):
    """Its import needs the standard library, a defence NumPy and OpenCV, the client httpx2."""
    wheel.extractall(tmp_path)
    command = [sys.executable, "-I", "-c", ALONE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150


def test_it_is_not_for_an_index():
    assert '"Private :: Do Not Upload"' in (ROOT / "pyproject.toml").read_text()


def test_no_index_host_is_pinned():
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    assert all("==" in line for line in text.splitlines() if line and not line.startswith("#"))
