"""What the checks of every client share: known images, and a report for the test that runs them.

These files run in the clients' own environment, which does not have this project's packages.
"""

import asyncio
import inspect
import json
import sys
import traceback
from io import BytesIO

import numpy as np
from PIL import Image

MODEL = "colours"
RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)


def plain(*colours):
    """Images of one colour each, of the model's size: (N, 32, 32, 3) uint8."""
    return np.array([np.full((32, 32, 3), colour) for colour in colours], np.uint8)


def unit(*colours):
    """Images of one colour each: (N, 3, 32, 32) float32 in [0, 1]."""
    images = plain(*colours).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def jpeg(colour):
    buffer = BytesIO()
    Image.fromarray(plain(colour)[0]).save(buffer, "JPEG")
    return buffer.getvalue()


def probabilities(*colours):
    exponentials = np.exp(10 * np.array(colours) / 255)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def expect(error, call):
    """Call, and return the error of the expected type."""
    try:
        call()
    except error as raised:
        return raised
    raise AssertionError(f"No {error.__name__}")


async def expect_of(error, awaitable):
    """Await, and return the error of the expected type."""
    try:
        await awaitable
    except error as raised:
        return raised
    raise AssertionError(f"No {error.__name__}")


def report(checks, address):
    """Run every function named check_…; print the problem of each, or null, as JSON."""
    results = {}
    for name, check in checks.items():
        if not name.startswith("check_"):
            continue
        try:
            result = check(address)
            if inspect.isawaitable(result):
                asyncio.run(result)
            results[name] = None
        except BaseException:  # noqa: BLE001  # reported by the test
            results[name] = traceback.format_exc()
    json.dump(results, sys.stdout)
