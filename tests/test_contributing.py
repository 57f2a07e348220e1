"""The worked example of CONTRIBUTING.md, carried out on a copy of the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
NAME = "mirror"
DEFEND = f"""
from service.cli import main
for number in range(40):
    assert main(["defend", "in.png", "-o", f"{{number}}.png", "--defense", "{NAME}"]) == 0
"""


def block(language, containing):
    found = [
        b for b in re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL) if containing in b
    ]
    assert len(found) == 1, containing
    return found[0]


def apply(diff, text):
    """Insert a diff's new lines after the lines before them; the first ones among the imports."""
    lines = text.splitlines()
    after = None
    for line in diff.splitlines():
        sign, rest = line[:1], line[1:]
        if sign == " ":
            after = lines.index(rest, after or 0)
        elif after is None:
            lines.insert(
                next(i for i, each in enumerate(lines) if each.startswith("from def")), rest
            )
        else:
            after += 1
            lines.insert(after, rest)
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository with the example in it."""
    folder = tmp_path_factory.mktemp("copy")
    # What is measured is the repository's own.
    ignored = shutil.ignore_patterns("__pycache__", "test_measurements.py")
    for name in ("defenses", "models", "service", "tests/defenses"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "defenses" / f"{NAME}.py").write_text(block("python", "class RandomMirror"))
    registry = folder / "defenses" / "pipeline.py"
    registry.write_text(apply(block("diff", "RandomMirror"), registry.read_text()))
    table = folder / "tests" / "defenses" / "test_operation.py"
    named = table.read_text().replace(
        "SPECIFICATIONS = [\n", f'SPECIFICATIONS = [\n    "{NAME}",\n'
    )
    table.write_text(named)
    test = folder / "tests" / "defenses" / f"test_{NAME}.py"
    test.write_text(block("python", "def test_a_mirror"))
    return folder


def run(copy, *arguments, cwd=None, errors=False):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd or str(copy).rpartition(os.pathsep)[2],
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done if errors else done.stdout


def test_its_own_test_and_the_tests_of_every_operation_pass(copy):
    report = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", NAME, "tests/defenses")
    assert int(re.search(r"(\d+) passed", report)[1]) > 20


def test_the_command_lists_it(copy):
    output = run(copy, "-m", "service", "defenses", "--json")
    (listed,) = (each for each in json.loads(output) if each["name"] == NAME)
    assert listed["summary"] == "Swaps left and right, or does not"
    assert listed["random"] is True


def test_the_command_defends_with_it(copy, tmp_path):
    image = Image.linear_gradient("L").rotate(90).convert("RGB")
    image.save(tmp_path / "in.png")
    run(copy, "-c", DEFEND, cwd=tmp_path)
    defended = {Image.open(file).tobytes() for file in tmp_path.glob("[0-9]*.png")}
    assert defended == {image.tobytes(), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()}


@pytest.fixture(scope="module")
def package(tmp_path_factory, pip_install):
    """A folder into which the example is installed as a package of its own."""
    source, target = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("installed")
    (source / "pyproject.toml").write_text(block("toml", "warpguard-mirror"))
    (source / "warpguard_mirror.py").write_text(block("python", "class RandomMirror"))
    (source / "warpguard_grey.py").write_text(block("python", "class Grey"))
    pip_install(source, target)
    return target


def run_beside(package, *arguments, cwd=None):
    """Run our own code with the package installed."""
    return run(os.pathsep.join((str(ROOT), str(package))), *arguments, cwd=cwd or package)


def test_the_package_s_defence_is_listed_and_defends(package, tmp_path):
    output = run_beside(package, "-m", "warpguard", "defenses", "--json")
    (listed,) = (each for each in json.loads(output) if each["name"] == NAME)
    assert (listed["random"], listed["measured"]) == (True, None)
    assert NAME in run_beside(package, "-m", "warpguard", "defenses")
    image = Image.linear_gradient("L").rotate(90).convert("RGB")
    image.save(tmp_path / "in.png")
    run_beside(package, "-c", DEFEND, cwd=tmp_path)
    defended = {Image.open(file).tobytes() for file in tmp_path.glob("[0-9]*.png")}
    assert defended == {image.tobytes(), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()}


def test_the_package_s_attack_is_listed_and_attacks(package):
    assert "Moves the photograph to grey" in run_beside(package, "-m", "harness", "attacks")
    program = """
import numpy as np
from harness.attacks import Attacker, parse_attack, run
from harness.types import Case
image = np.full((8, 8, 3), (0.6, 0.5, 0.4), np.float32)
cases = [Case("a", image, 0, None)]
(state,) = run(parse_attack("grey(epsilon=0.01)"), cases, Attacker(None, None))
print(np.sqrt(np.mean((state.adversarial - image) ** 2)))
"""
    assert float(run_beside(package, "-c", program)) == pytest.approx(0.01, abs=1e-4)


def test_a_broken_package_leaves_the_rest_alone(package, tmp_path):
    shutil.copytree(package, tmp_path / "broken")
    (tmp_path / "broken" / "warpguard_mirror.py").write_text("import nothing_like_this")
    environment = os.pathsep.join((str(ROOT), str(tmp_path / "broken")))
    done = run(environment, "-m", "warpguard", "defenses", "--json", errors=True)
    assert "The package warpguard-mirror 1.0: 'mirror'" in done.stderr
    assert "No module named 'nothing_like_this'" in done.stderr
    assert "Traceback" not in done.stderr
    assert NAME not in [each["name"] for each in json.loads(done.stdout)]


def test_the_paths_in_the_guide_exist():
    """A path to the example is an exception, because it is made above."""
    prose = re.sub(r"```.*?```", "", GUIDE, flags=re.DOTALL)
    paths = set(re.findall(r"`(\.?\w+/[\w./]*)`", prose)) - {f"defenses/{NAME}.py"}
    assert "service/predictor.py" in paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
