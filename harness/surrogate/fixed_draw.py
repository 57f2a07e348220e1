"""A defence without its randomness, to check whether an attack succeeds against a single draw."""

from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from defenses import Draw, Gradient, Image, Operation, Pipeline


@dataclass(frozen=True)
class FixedDraw(Operation[Draw]):
    """An operation that always uses the draw of one seed."""

    name: ClassVar[str] = "fixed-draw"
    summary: ClassVar[str] = "An operation that repeats one draw"
    reference: ClassVar[str] = ""

    operation: Operation[Any]
    seed: int = 0

    @property
    def random(self) -> bool:
        """Whether the operation is random, so that the knowledge ``random`` still includes it."""
        return self.operation.random

    def sample(self, rng: Random, shape: tuple[int, ...]) -> Draw:
        """Return the draw of the seed."""
        del rng
        draw: Draw = self.operation.sample(Random(self.seed), shape)
        return draw

    def _apply(self, image: Image, params: Draw) -> Image:
        return self.operation.apply(image, params)

    def _vjp(self, grad: Gradient, params: Draw) -> Gradient:
        return self.operation.vjp(grad, params)


def with_fixed_draw(defense: Pipeline) -> Pipeline:
    """Return the defence with one fixed draw for each of its operations."""
    return Pipeline([FixedDraw(operation) for operation in defense.operations])
