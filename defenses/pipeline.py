"""Operations in sequence, and their specifications in one line, such as ``fd(step=20)+rdg``."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Self

from defenses.bit_depth import BitDepthReduction
from defenses.crop import RandomCrop
from defenses.deflection import PixelDeflection
from defenses.feature_distillation import FeatureDistillation
from defenses.grid_distortion import RandomGridDistortion
from defenses.jpeg import JpegCompression
from defenses.matrix_estimation import MatrixEstimation
from defenses.onnx_network import OnnxNetwork
from defenses.operation import DefenseError, Draw, Gradient, Image, Operation, image_size
from defenses.plugins import PluginError, Registry
from defenses.quilting import Quilting
from defenses.resize_pad import RandomResizePad
from defenses.shield import Shield
from defenses.specification import SpecificationError, read_arguments, split_terms
from defenses.total_variation import TotalVariationMinimization

OPERATIONS: Registry[Operation[Any]] = Registry(
    "warpguard.defenses",
    Operation,
    (
        FeatureDistillation,
        RandomGridDistortion,
        RandomResizePad,
        BitDepthReduction,
        JpegCompression,
        Shield,
        RandomCrop,
        PixelDeflection,
        TotalVariationMinimization,
        MatrixEstimation,
        Quilting,
        OnnxNetwork,
    ),
    # Without __init__, because some need a file.
    check=lambda kind: (kind.__new__(kind).random, fields(kind)),
)
"""All operations by their names in specifications. A new operation is one line here."""


@dataclass(frozen=True)
class PipelineDraw(Draw):
    """One draw for each operation, in order."""

    draws: tuple[Draw, ...]


@dataclass(frozen=True)
class Pipeline(Operation[PipelineDraw]):
    """Operations that are applied in order; without operations, a pipeline is the identity.

    >>> str(Pipeline.parse("fd(step=20, phase=0) + rdg"))
    'fd(step=20)+rdg'
    """

    name: ClassVar[str] = "pipeline"
    summary: ClassVar[str] = "Operations in sequence"
    reference: ClassVar[str] = "Qiu et al. 2020, arXiv:2005.13712"

    operations: tuple[Operation[Any], ...] = ()

    def __init__(self, operations: Sequence[Operation[Any]] = ()) -> None:
        flat: list[Operation[Any]] = []
        for operation in operations:
            flat += operation.operations if isinstance(operation, Pipeline) else [operation]
        object.__setattr__(self, "operations", tuple(flat))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a specification.

        Args:
            text: ``none``, or terms joined by ``+``, such as ``fd(step=20)*2+rdg(delta=0.1)``. A
                term is a name, in brackets the parameters that differ from the defaults, and for
                ``fd`` a factor. A value holds no spaces, commas or brackets.

        Raises:
            DefenseError: a name, a parameter or a value is not allowed; it says what is allowed.
        """
        if text.strip() == "none":
            return cls()
        terms = split_terms(text)
        if not terms:
            raise DefenseError(
                f"{text!r} is not a valid defence. Write operations joined by +, such as fd+rdg, "
                "fd*2+rdg or fd(step=20)+rdg(delta=0.1), or none; "
                "a value holds no spaces, commas or brackets."
            )
        return cls([_operation(*term) for term in terms])

    def __str__(self) -> str:
        """Return the specification that :meth:`parse` reads."""
        return self._specification

    @cached_property
    def _specification(self) -> str:
        return "+".join(map(str, self.operations)) or "none"

    @property
    def random(self) -> bool:
        """Return whether one of the operations is random."""
        return any(operation.random for operation in self.operations)

    def sample(self, rng: Random, shape: tuple[int, ...]) -> PipelineDraw:
        """Draw for each operation; see :class:`Operation`."""
        draws = tuple(operation.sample(rng, shape) for operation in self.operations)
        return PipelineDraw(shape=image_size(shape), draws=draws)

    def split(self) -> "tuple[Pipeline, Pipeline]":
        """Return the operations before the first random one, and that one with all after it.

        >>> tuple(map(str, Pipeline.parse("fd+rdg+jpeg").split()))
        ('fd', 'rdg+jpeg')
        """
        fixed = tuple(takewhile(lambda operation: not operation.random, self.operations))
        return Pipeline(fixed), Pipeline(self.operations[len(fixed) :])

    def several(self, image: Image, rng: Random, draws: int) -> Iterator[Image]:
        """Defend an image with fresh draws, one after the other.

        The operations before the first random one are applied once for all draws. The images are
        those of as many calls with the same ``rng``, bit for bit.

        Args:
            image: ``(H, W, 3)``, ``uint8`` in [0, 255] or ``float32`` in [0, 1]; not changed.
            rng: see :meth:`Operation.sample`.
            draws: how many images to yield.

        Raises:
            ImageError: see :class:`Operation`.
        """
        fixed, rest = self.split()
        common = fixed(image, rng)
        for _ in range(draws):
            yield rest._apply_if_it_fits(common, rest.sample(rng, common.shape))

    def memory_bytes(self, shape: tuple[int, ...]) -> int | None:
        """Return what the largest operation takes, with all draws and the image between two."""
        known = [operation.memory_bytes(shape) for operation in self.operations]
        needed = [each for each in known if each is not None]
        if len(needed) < len(known):
            return None
        image_bytes = 3 * shape[0] * shape[1]
        between_bytes = image_bytes if len(needed) > 1 else 0
        return max(needed, default=image_bytes) + between_bytes + self.draw_bytes(shape)

    def draw_bytes(self, shape: tuple[int, ...]) -> int:
        """Return the sum over the operations; see :class:`Operation`."""
        return sum(operation.draw_bytes(shape) for operation in self.operations)

    @property
    def files(self) -> tuple[str, ...]:
        """Return the versions of all files; see :class:`Operation`."""
        return tuple(file for operation in self.operations for file in operation.files)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the paths of all files; see :class:`Operation`."""
        return tuple(path for operation in self.operations for path in operation.paths)

    def digest(self) -> str:
        """Return the SHA-256 of the specification and of the files that it names, in hexadecimal.

        Raises:
            OSError: a file cannot be read.
        """
        digest = hashlib.sha256(str(self).encode())
        for path in self.paths:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def _apply(self, image: Image, params: PipelineDraw) -> Image:
        defended = image
        for operation, draw in zip(self.operations, params.draws, strict=True):
            defended = operation._apply_if_it_fits(defended, draw)
        return image.copy() if defended is image else defended

    def _vjp(self, grad: Gradient, params: PipelineDraw) -> Gradient:
        """Apply the chain rule, from the last operation to the first."""
        upstream = grad
        for operation, draw in zip(reversed(self.operations), reversed(params.draws), strict=True):
            upstream = operation.vjp(upstream, draw)
        return grad.copy() if upstream is grad else upstream


def _operation(name: str, arguments: str, factor: str) -> Operation[Any]:
    if name == "none":
        raise DefenseError("none cannot be combined with other defences.")
    try:
        kind = OPERATIONS.get(name)
    except PluginError as error:
        raise DefenseError(str(error)) from None
    if kind is None:
        raise DefenseError(f"Unknown defence {name!r}. Defences: {', '.join(OPERATIONS)}, none.")
    if factor:
        if kind is not FeatureDistillation:
            raise DefenseError(f"Only fd takes a factor; write {name}+{name} to repeat {name}.")
        arguments += f",passes={factor}" if arguments else f"passes={factor}"
    try:
        # A value of another type stays text. The operation refuses it, and names the range.
        given = read_arguments(name, arguments, kind, strict=False)
    except SpecificationError as error:
        raise DefenseError(str(error)) from None
    for key in (field.name for field in fields(kind) if field.default is MISSING):
        if key not in given:
            raise DefenseError(f"{name}: {key} has no default; write {name}({key}=…).")
    return kind(**given)
