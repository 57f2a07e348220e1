"""The protocol that all operations follow: a random draw, its effect on an image, its gradient.

An *operation* maps an image to an image of the same shape and dtype. Its randomness is an explicit
value, the *draw*::

    params = operation.sample(rng, image.shape)   # all of the randomness, and nothing else
    defended = operation.apply(image, params)     # a pure function
    gradient = operation.vjp(upstream, params)    # the vector-Jacobian product of that function

Therefore a service, a test and an attacker can replay the same draw, and calls share no state.

Errors::

    DefenseError (ValueError)   a name or a parameter is not allowed
    └── ImageError              an array is not a valid image, or does not fit the draw
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from defenses.specification import format_arguments

Image: TypeAlias = NDArray[np.uint8 | np.float32]
"""``(H, W, 3)`` RGB with H, W ≥ 8: ``uint8`` in [0, 255] or ``float32`` in [0, 1]."""

Gradient: TypeAlias = NDArray[np.floating[Any]]
"""``(H, W, 3)`` floating point, the derivative of a scalar by each value of an image."""

ROUNDING = 1e-5
"""How far a ``float32`` value may lie outside of [0, 1], as a resize may leave it."""

MIN_SIDE_PX = 8
"""The smallest height and width, which is one block of the discrete cosine transform."""


class DefenseError(ValueError):
    """A name or a parameter is not allowed; the message says what is allowed."""


class ImageError(DefenseError):
    """An array is not a valid image, or does not have the size that the draw was made for."""


@dataclass(frozen=True)
class Draw:
    """One random draw of an operation, for images of one size.

    Attributes:
        shape: the (height, width) of these images in pixels.
    """

    shape: tuple[int, int]


DrawT = TypeVar("DrawT", bound=Draw)


@dataclass(frozen=True)
class Operation(ABC, Generic[DrawT]):
    """The base class of operations, which are frozen dataclasses with parameters as fields.

    Attributes:
        name: the name in a specification, for :meth:`Pipeline.parse`.
        summary: a description in one line.
        reference: the paper that describes the operation.
        random: whether two draws may differ.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]

    @property
    @abstractmethod
    def random(self) -> bool:
        """Return whether two draws may differ."""

    @abstractmethod
    def sample(self, rng: Random, shape: tuple[int, ...]) -> DrawT:
        """Draw all of the randomness of one application.

        Args:
            rng: the source of the randomness. The service uses ``random.SystemRandom()``, the
                operating system's generator; tests and evaluations use a seeded ``random.Random``.
            shape: the shape of the image, (height, width); further axes are ignored.

        Raises:
            ImageError: images of this size cannot be defended, or a side is shorter than 8 px.
        """

    def memory_bytes(self, shape: tuple[int, ...]) -> int | None:
        """Return the most memory that one application takes, with its draw and its result.

        It is measured, with a ``uint8`` image, and counts what is allocated beside the image. The
        service refuses an image whose defence needs more than the operator allows.

        Args:
            shape: the shape of the image, (height, width); further axes are ignored.

        Returns:
            Bytes; None if the operation cannot know.
        """
        del shape
        return None

    def draw_bytes(self, shape: tuple[int, ...]) -> int:
        """Return the part of :meth:`memory_bytes` that the draw takes, if it grows with the image.

        The draws of all operations of a pipeline are made before the first is applied.
        """
        del shape
        return 0

    @property
    def files(self) -> tuple[str, ...]:
        """Return the versions of the files that the operation was made of."""
        return ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the absolute paths of these files."""
        return ()

    def apply(self, image: Image, params: DrawT) -> Image:
        """Defend an image with a given draw.

        Args:
            image: ``(H, W, 3)``, ``uint8`` in [0, 255] or ``float32`` in [0, 1]; not changed.
            params: a draw for this height and width.

        Returns:
            A new array of the same shape, dtype and range.

        Raises:
            ImageError: the array is not a valid image, has values outside of its range, or does
                not have the size of the draw.
        """
        _check(image)
        _check_range(image)
        return self._apply_if_it_fits(image, params)

    def _apply_if_it_fits(self, image: Image, params: DrawT) -> Image:
        """Defend a valid image, also one of an earlier operation, whose values may be rounded."""
        if image.shape[:2] != params.shape:
            raise ImageError(f"The draw is for images of {params.shape}, not {image.shape[:2]}.")
        return self._apply(image, params)

    @abstractmethod
    def _apply(self, image: Image, params: DrawT) -> Image:
        """Defend an image that :meth:`apply` has checked."""

    def vjp(self, grad: Gradient, params: DrawT) -> Gradient:
        """Turn a gradient by the output into a gradient by the input (vector-Jacobian product).

        Args:
            grad: ``(H, W, C)`` floating point, the derivative by the defended image.
            params: the draw with which the image was defended.

        Returns:
            The derivative by the image, a new array of the same shape and dtype.

        Raises:
            ImageError: the gradient is not floating point, or does not have the size of the draw.
        """
        if not np.issubdtype(grad.dtype, np.floating) or grad.ndim != 3:
            got = f"{grad.dtype} of shape {grad.shape}"
            raise ImageError(f"A gradient is floating point of shape (H, W, C), not {got}.")
        if grad.shape[:2] != params.shape:
            raise ImageError(f"The draw is for images of {params.shape}, not {grad.shape[:2]}.")
        return self._vjp(grad, params)

    @abstractmethod
    def _vjp(self, grad: Gradient, params: DrawT) -> Gradient:
        """Compute the product for a gradient that :meth:`vjp` has checked."""

    def _require(self, allowed: bool, field: str, rule: str) -> None:
        """Raise a :class:`DefenseError` that names the rule, unless the field is allowed."""
        if not allowed:
            value = getattr(self, field)
            raise DefenseError(f"{self.name}: {field} must be {rule}, not {value!r}.")

    def _require_number(
        self, field: str, low: float, high: float, *, above: bool = False, note: str = ""
    ) -> None:
        """Require an int or a float in [low, high], or in (low, high] if ``above``."""
        value = getattr(self, field)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        allowed = number and (low < value if above else low <= value) and value <= high
        self._require(allowed, field, f"in {'(' if above else '['}{low}, {high}]{note}")

    def _require_whole(
        self, field: str, low: int, high: int, *, what: str = "a whole number", note: str = ""
    ) -> None:
        """Require an int in low…high."""
        value = getattr(self, field)
        whole = isinstance(value, int) and not isinstance(value, bool)
        self._require(whole and low <= value <= high, field, f"{what} in {low}…{high}{note}")

    def __call__(self, image: Image, rng: Random) -> Image:
        """Defend an image with a fresh draw.

        Raises:
            ImageError: the array is not a valid image, or :meth:`sample` refuses its size.
        """
        _check(image)
        return self.apply(image, self.sample(rng, image.shape))

    def __str__(self) -> str:
        """Write the specification that :meth:`Pipeline.parse` reads, without fields at default."""
        return self.name + format_arguments(self)


class StraightThrough(Operation[DrawT]):
    """An operation without a useful derivative, whose gradient is passed through unchanged."""

    def _vjp(self, grad: Gradient, params: DrawT) -> Gradient:
        """Return the gradient itself, straight-through (Athalye et al. 2018, arXiv:1802.00420)."""
        del params
        return grad.copy()


def _check(image: object) -> None:
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.float32):
        got = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(
            f"An image is an array of uint8 in [0, 255] or float32 in [0, 1], not {got}."
        )
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"An image has the shape (H, W, 3), not {image.shape}.")


def _check_range(image: Image) -> None:
    """Make sure that the values of a ``float32`` image are in [0, 1]; ``uint8`` cannot be wrong."""
    if image.dtype == np.uint8 or image.size == 0:
        return
    low, high = float(image.min()), float(image.max())
    if low >= -ROUNDING and high <= 1 + ROUNDING:  # false for a NaN
        return
    found = f"values from {low:g} to {high:g}"
    if np.isnan(low):
        found, to_do = "a NaN", "replace it"
    elif low >= 0 and high > 2:
        to_do = "divide by 255, or pass uint8"
    else:
        to_do = "scale or clip them"
    raise ImageError(f"A float32 image has values in [0, 1]; this one has {found}: {to_do}.")


def image_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the (height, width) of an image's shape.

    Raises:
        ImageError: a side is shorter than 8 px.
    """
    if len(shape) < 2 or min(shape[:2]) < MIN_SIDE_PX:
        raise ImageError(f"An image has at least {MIN_SIDE_PX} x {MIN_SIDE_PX} px, not {shape}.")
    return int(shape[0]), int(shape[1])
