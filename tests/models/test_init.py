"""The package's face: each name is there, and is imported only when it is used."""

import subprocess
import sys
from pathlib import Path

import pytest

import models

ROOT = Path(__file__).parents[2]
HEAVY = ("cv2", "huggingface_hub", "onnx", "onnxruntime", "torch")


def loaded_by(statement):
    """The modules that a fresh interpreter has after a statement."""
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "statement",
    [
        "import models",
        "from models import CATALOG, EMBEDDED, ModelError, Store, available_cpus, imagenet_labels",
        "import models.manifest",
        "import models.obtain",
    ],
)
def test_an_import_loads_no_library_that_it_does_not_need(statement):
    assert not set(HEAVY) & set(loaded_by(statement))


def test_counting_cpus_loads_little():
    assert len(loaded_by("from models import available_cpus")) <= 90


@pytest.mark.parametrize("name", models.__all__)
def test_each_name_is_there_and_stays_the_same(name):
    assert getattr(models, name) is getattr(models, name)
    assert name in dir(models)


def test_another_name_is_an_error():
    with pytest.raises(AttributeError, match="module 'models' has no attribute 'no_such_name'"):
        _ = models.no_such_name
    with pytest.raises(ImportError):
        from models import no_such_name  # noqa: F401
