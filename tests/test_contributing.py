"""The worked example of CONTRIBUTING.md, done to a copy of the repository."""

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


def block(language, containing):
    found = [
        b for b in re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL) if containing in b
    ]
    assert len(found) == 1, containing
    return found[0]


def apply(diff, text):
    """Put a diff's new lines after the lines that it shows before them; those above at the top."""
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


def run(copy, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_test_and_those_of_every_operation_pass(copy):
    told = run(copy, "pytest", "-q", "-p", "no:cacheprovider", "-k", NAME, "tests/defenses")
    assert int(re.search(r"(\d+) passed", told)[1]) > 20


def test_the_command_lists_it(copy):
    listed = {each["name"]: each for each in json.loads(run(copy, "service", "defenses", "--json"))}
    assert listed[NAME]["summary"] == "Exchanges left and right, or does not"
    assert listed[NAME]["random"] is True


def test_it_is_served(copy, tmp_path):
    image = Image.linear_gradient("L").rotate(90).convert("RGB")
    image.save(tmp_path / "in.png")
    answers = set()
    for _ in range(40):  # half of them are mirrored
        files = [str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png")]
        run(copy, "service", "defend", *files, "--defense", NAME)
        answers.add(Image.open(tmp_path / "out.png").tobytes())
        if len(answers) == 2:
            break
    assert answers == {image.tobytes(), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()}
