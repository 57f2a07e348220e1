"""The measured properties of each operation: the paper's four, and the time."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Measured:
    """The figures of an operation with its defaults; see section IV of arXiv:2005.13712.

    Attributes:
        accuracy: property 1, accuracy is kept: the fraction of the photographs that the model
            classifies correctly behind the operation, in [0, 1].
        undefended: the same fraction without the operation.
        l2_rms: property 2, the image changes: the root mean square of the change, pixels in [0, 1].
        ssim: the structural similarity of the image and the defended image; 1 is no change.
        draw_distance: property 3, the operation is random: the root mean square of the difference
            between two draws on one image; 0 without randomness.
        zero_gradient_fraction: property 4, the operation is not differentiable: the fraction of the
            output's values that stay when every input value moves by 1e-4 and the draw is fixed.
        ms: the time for one 299x299 image on one core.
    """

    accuracy: float
    undefended: float
    l2_rms: float
    ssim: float
    draw_distance: float
    zero_gradient_fraction: float
    ms: float


@dataclass(frozen=True)
class Measurement:
    """The figures of all operations, and what they were measured with.

    Attributes:
        setting: the model, the photographs and the processor, in words.
        operations: the figures by name, without operations that depend on a network of the user's.
    """

    setting: str
    operations: dict[str, Measured]


@cache
def measured() -> Measurement:
    """Read the file that ``python -m benchmarks properties`` wrote."""
    kept = json.loads(files("defenses").joinpath("measured.json").read_text("utf-8"))
    operations = {name: Measured(**figures) for name, figures in kept["operations"].items()}
    return Measurement(kept["setting"], operations)
