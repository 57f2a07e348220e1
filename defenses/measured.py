"""What was measured of each operation: the paper's four properties, and the time."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Measured:
    """An operation with its defaults, on photographs; see section IV of arXiv:2005.13712.

    Attributes:
        accuracy: property 1, accuracy kept: the share classified rightly behind it, in [0, 1].
        undefended: the same share without it.
        l2: property 2, g(x) far from x: the root mean square of the change, pixels in [0, 1].
        ssim: the same as structural similarity: 1 is no change.
        spread: property 3, random: the root mean square between two draws on one image.
        flat: property 4, non-differentiable: the share of the output's values that do not move when
            all of the input's move by 1e-4, the draw being fixed. There the gradient is zero.
        ms: for one 299x299 image on one core.
    """

    accuracy: float
    undefended: float
    l2: float
    ssim: float
    spread: float
    flat: float
    ms: float


@dataclass(frozen=True)
class Measurement:
    """All of them, and what they were measured with.

    Attributes:
        setting: the model, the photographs and the processor, in words.
        operations: by name; one that depends on what its user brings is not there.
    """

    setting: str
    operations: dict[str, Measured]


@cache
def measured() -> Measurement:
    """Read what ``python -m benchmarks properties`` wrote."""
    kept = json.loads(files("defenses").joinpath("measured.json").read_text("utf-8"))
    operations = {name: Measured(**figures) for name, figures in kept["operations"].items()}
    return Measurement(kept["setting"], operations)
