"""What each operation declares to take of memory, and what it takes."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from defenses import OPERATIONS, Pipeline

MEGABYTE = 1 << 20

MEASURE = """
import ctypes, re, sys
from pathlib import Path
from random import Random

import cv2
import numpy as np
from defenses import Pipeline

def status(name):
    return 1024 * int(re.search(f"{name}:\\\\s*([0-9]+)", Path("/proc/self/status").read_text())[1])

ctypes.CDLL(None).mallopt(-3, 1 << 16)  # every array is returned to the system at once
cv2.setNumThreads(1)
pipeline = Pipeline.parse(sys.argv[1])
height, width = map(int, sys.argv[2:])
image = np.empty((height, width, 3), np.uint8)
for y in range(height):
    image[y] = np.random.default_rng(y).integers(0, 60, (width, 3)) + y % 128
pipeline(np.ascontiguousarray(image[:64, :64]), Random(0))
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
pipeline(image, Random(1))
print(status("VmHWM") - before)
"""

CASES = [
    ("none", (1501, 1507)),
    ("fd", (1501, 1507)),
    ("fd*4", (1501, 1507)),
    ("rdg", (1501, 1507)),
    ("rand", (1501, 1507)),
    ("rand(largest=1196,canvas=1196)", (700, 900)),
    ("bitdepth", (1501, 1507)),
    ("jpeg(quality=100,subsampling=444)", (1501, 1507)),
    ("shield(qualities=100-99-98)", (1501, 1507)),
    ("crop", (1501, 1507)),
    ("deflect", (1501, 1507)),
    ("tvm(rounds=1)", (1001, 1007)),
    ("menet", (800, 800)),
    ("menet", (1800, 500)),
    ("menet", (300, 2000)),
    ("quilt(bank=bank.npz)", (601, 607)),
    ("quilt(bank=bank.npz,overlap=1)", (601, 607)),
    ("fd+rdg", (1501, 1507)),
    ("tvm(rounds=1)+menet+tvm(rounds=1)", (601, 607)),
]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize(("specification", "size"), CASES)
def test_an_operation_takes_as_much_memory_as_it_declares(specification, size):
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, specification, *map(str, size)],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    declared = Pipeline.parse(specification).memory_bytes(size)
    taken = int(measured.stdout)

    assert taken <= declared + 4 * MEGABYTE
    # Measured: up to 1.84, and 3.16 for quilt, which declares what patches that are alike take.
    most = 3.4 if specification.startswith("quilt") else 2
    assert declared <= most * taken


def test_only_a_network_does_not_know_what_it_takes():
    tested = {name for case, _ in CASES for name in OPERATIONS if case.startswith(name)}
    assert set(OPERATIONS) - tested == {"onnx"}
    assert Pipeline.parse("onnx(file=blur.onnx)").memory_bytes((99, 99)) is None
    assert Pipeline.parse("fd+onnx(file=blur.onnx)").memory_bytes((99, 99)) is None


def test_only_masks_grow_with_the_image():
    shape = (99, 101)
    for specification, _ in CASES:
        for operation in Pipeline.parse(specification).operations:
            draw = operation.sample(Random(0), shape)
            arrays = [getattr(draw, field) for field in vars(draw)]
            taken = sum(each.nbytes for each in arrays if hasattr(each, "nbytes"))
            assert taken <= operation.draw_bytes(shape) + 6000, operation
