"""What an import loads, and that each package is used through its public face."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import defenses
import models

ROOT = Path(__file__).parents[1]
HEAVY = ("onnxruntime", "onnx", "cv2", "torch", "huggingface_hub")


@pytest.mark.parametrize(
    ("module", "most_modules", "forbidden"),
    [
        ("warpguard", 150, (*HEAVY, "numpy", "httpx2")),
        ("warpguard.client", 400, (*HEAVY, "numpy")),
        ("models.cpus", 90, HEAVY),
        ("models.manifest", 320, HEAVY),
        ("service.error_response", 320, HEAVY),
        ("service.server.connection", 400, HEAVY),
        ("harness.types", 250, HEAVY),
        ("harness.endpoint", 700, ("torch", "onnxruntime", "onnx", "huggingface_hub")),
    ],
)
def test_an_import_of_a_leaf_loads_nothing_heavy(module, most_modules, forbidden):
    program = f"import sys, {module}; print(len(sys.modules), *sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    count, *loaded = output.split()
    assert set(forbidden) & set(loaded) == set()
    assert int(count) <= most_modules


@pytest.mark.parametrize("package", [defenses, models], ids=lambda package: package.__name__)
def test_a_package_exports_what_the_others_import_of_it(package):
    name, imported = package.__name__, set()
    for other in {"defenses", "harness", "models", "scripts", "service", "warpguard"} - {name}:
        for file in (ROOT / other).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == name:
                    assert node.module == name, f"{file} imports from {node.module}"
                    imported |= {alias.name for alias in node.names}
    assert imported <= {*package.__all__, "__all__", "*"}
    assert all(hasattr(package, exported) for exported in package.__all__)


def test_what_other_programs_import_needs_the_defences_alone():
    own = {"benchmarks", "harness", "models", "scripts", "service"}
    for file in {*(ROOT / "warpguard").rglob("*.py")} - {ROOT / "warpguard" / "__main__.py"}:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            assert not own & {name.partition(".")[0] for name in names}, file


def test_every_name_of_the_package_is_there():
    import warpguard

    assert [name for name in warpguard.__all__ if getattr(warpguard, name, None) is None] == []
    assert set(warpguard.__all__) <= set(dir(warpguard))
    assert not hasattr(warpguard, "nothing")
