"""What is done to an image before it is classified: a defence, or an ordinary corruption."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np

from defenses import Image, Pipeline

NONE = "none"
"""The name of no defence, which everything is compared with."""
DEFENSES = ("fd+rdg", "fd+rand", "rdg", "fd")
"""The defences that are measured if the user names none, in the order of preference."""
NOISE_SIGMA = 0.08
STRIPES = 8

Images = Callable[[Image, Random, int], Iterable[Image]]
"""From an image of the model's input size, a generator and a number to as many images."""


@dataclass(frozen=True)
class Condition:
    """What is done to an image.

    Attributes:
        name: the specification of a defence, or what the corruption is.
        kind: whether it is a defence or a corruption.
        drawn: whether it is measured with several draws, because they differ; otherwise with one.
        images: makes the images that are classified.
    """

    name: str
    kind: Literal["defense", "corruption"]
    drawn: bool
    images: Images


def conditions(defenses: Sequence[str], *, corruptions: bool) -> list[Condition]:
    """Return no defence, the defences without repetitions, and maybe the corruptions.

    Raises:
        DefenseError: a defence is not valid.
    """
    pipelines = [Pipeline.parse(text) for text in (NONE, *defenses)]
    by_name = {str(pipeline): pipeline for pipeline in pipelines}
    listed = [
        Condition(name, "defense", pipeline.random, pipeline.several)
        for name, pipeline in by_name.items()
    ]
    return listed + list(CORRUPTIONS if corruptions else ())


def _noise(image: Image, rng: Random, count: int) -> Iterable[Image]:
    """Add Gaussian noise: the least of ImageNet-C (Hendrycks and Dietterich 2019)."""
    generator = np.random.default_rng(rng.getrandbits(64))
    for _ in range(count):
        noisy = image + 255 * NOISE_SIGMA * generator.standard_normal(image.shape)
        yield np.rint(noisy.clip(0, 255)).astype(np.uint8)


def _stripes(image: Image, rng: Random, count: int) -> Iterable[Image]:
    """Add vertical stripes of one pixel, with which Square begins (Andriushchenko et al. 2020)."""
    generator = np.random.default_rng(rng.getrandbits(64))
    for _ in range(count):
        signs = generator.choice([-STRIPES, STRIPES], (1, *image.shape[1:]))
        yield (image + signs).clip(0, 255).astype(np.uint8)


CORRUPTIONS = (
    Condition("JPEG 50", "corruption", False, Pipeline.parse("jpeg(quality=50)").several),
    Condition(f"noise {NOISE_SIGMA}", "corruption", False, _noise),
    Condition(f"stripes {STRIPES}/255", "corruption", False, _stripes),
)
"""What may happen to any image, on the model without a defence."""
