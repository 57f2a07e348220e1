"""Defending with fresh randomness, which no client can choose or repeat."""

from collections.abc import Iterable
from random import SystemRandom

from defenses import Pipeline

SYSTEM_RANDOM = SystemRandom()
"""The operating system's generator. Each draw takes fresh numbers from it; it has no seed."""


def check_defenses(pipelines: Iterable[Pipeline], height_px: int, width_px: int) -> None:
    """Make sure that images of one size can be defended.

    Raises:
        DefenseError: a defence does not take images of this size.
    """
    for pipeline in pipelines:
        pipeline.sample(SYSTEM_RANDOM, (height_px, width_px))
