"""The description of a served model: its input, its scaling, its labels, its source."""

import math
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from models.errors import ManifestError

ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""Lower-case letters, digits, dots, dashes and underscores: safe as a file name and in a URL."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GraphInput(_Frozen):
    """The graph's only input: FP32 images, any batch size, a fixed height and width."""

    name: str = "input"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    height_px: int = Field(default=299, ge=8, le=4096)
    width_px: int = Field(default=299, ge=8, le=4096)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image: (3, height, width), or (height, width, 3) for NHWC."""
        size = self.height_px, self.width_px
        return (3, *size) if self.layout == "NCHW" else (*size, 3)


class GraphOutput(_Frozen):
    """The graph's class scores: FP32 of shape (batch, classes)."""

    name: str = "logits"
    kind: Literal["logits", "probabilities"] = "logits"


class Resize(_Frozen):
    """How an image of another size is brought to the input's size.

    ``crop`` keeps the aspect ratio: it takes the central ``crop_fraction`` of the largest rectangle
    that has the input's proportions. ``squash`` resizes the whole image and changes the ratio.
    """

    mode: Literal["crop", "squash"] = "crop"
    crop_fraction: float = Field(default=0.875, gt=0.0, le=1.0)


class Scaling(_Frozen):
    """Maps pixels in [0, 255] to the graph's values: ``(pixel - mean) / std``, for R, G, B."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @model_validator(mode="after")
    def _of_pixels_in_0_to_255(self) -> Self:
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std must be positive, got {self.std}")
        mean, std = _corrected(self.mean, self.std)
        if (mean, std) != (self.mean, self.std):
            raise ValueError(
                f"pixels are in [0, 255], and mean {list(self.mean)} with std {list(self.std)} is "
                f"not for such pixels. Write mean {_rounded(mean)} and std {_rounded(std)}. A "
                "graph that takes other values than these must scale them itself"
            )
        return self


_Rgb = tuple[float, float, float]
_LARGEST_FACTOR = 0.04
"""Below this, a std is a factor, like 1/58.395 or 1/255. The std of pixels in [0, 1] is above."""
_SMALLEST_COMMON_STD = 10.0


def _corrected(mean: _Rgb, std: _Rgb) -> tuple[_Rgb, _Rgb]:
    """The mean and std for pixels in [0, 255]; unchanged unless they are clearly for others.

    A std below 1 would make the graph's values larger than the pixels. It belongs to pixels in
    [0, 1], or it is a factor instead of a divisor. A mean of at most 1 belongs to pixels in [0, 1],
    unless it is 0, or the std shows that the images are nearly black.
    """
    scaled_std = std
    if max(std) < _LARGEST_FACTOR:
        scaled_std = _each(std, lambda value: 1 / value)
    elif min(std) < 1:
        scaled_std = _each(std, lambda value: 255 * value if value <= 1 else value)
    elif max(std) == 1 and 0 < max(mean) < 1:  # pixels in [0, 1], of which only the mean is taken
        scaled_std = (255.0, 255.0, 255.0)
    is_mean_of_others = scaled_std != std or min(std) >= _SMALLEST_COMMON_STD
    if is_mean_of_others and min(mean) >= 0 and 0 < max(mean) <= 1:
        mean = _each(mean, lambda value: 255 * value)
    return mean, scaled_std


def _each(values: _Rgb, change: Callable[[float], float]) -> _Rgb:
    red, green, blue = map(change, values)
    return red, green, blue


def _rounded(values: _Rgb) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


class Speed(_Frozen):
    """Milliseconds of one image on one thread of a processor."""

    fp32_ms: float = Field(gt=0)
    int8_ms: float = Field(gt=0)


class Int8(_Frozen):
    """A model's graph in INT8, which the store keeps beside the graph in FP32.

    ``sha256`` is the digest of its ONNX file. ``calibration`` names the photographs that its ranges
    come from. ``speed`` has what was measured, by the processor's name.
    """

    sha256: Sha256
    calibration: str = ""
    speed: dict[str, Speed] = {}


class Manifest(_Frozen):
    """The description of one model.

    ``sha256`` is the digest of the ONNX file, and the store fills it in. ``precision`` is that of
    the file. ``int8`` describes the graph in INT8, if the store has one. ``weights_sha256`` is the
    digest of the weights file from which the graph was built, if any. ``recipe`` names the builder
    and its revision, so that a graph from an older revision is built again. ``reported_top1`` is
    the accuracy on ImageNet's validation set that the source reports, in [0, 1].
    """

    name: ModelName
    input: GraphInput = GraphInput()
    output: GraphOutput = GraphOutput()
    resize: Resize = Resize()
    scaling: Scaling
    labels: Literal["imagenet-1k"] | tuple[str, ...] = "imagenet-1k"
    source: str = ""
    licence: str = ""
    reported_top1: float | None = Field(default=None, ge=0.0, le=1.0)
    recipe: str | None = None
    precision: Literal["fp32", "int8"] = "fp32"
    int8: Int8 | None = None
    weights_sha256: Sha256 | None = None
    sha256: Sha256 | None = None

    @property
    def label_names(self) -> tuple[str, ...]:
        """The class names, in the order of the graph's output."""
        return imagenet_labels() if self.labels == "imagenet-1k" else tuple(self.labels)

    @property
    def decode_to_px(self) -> int:
        """The length, in px, to which both sides of a larger image may be reduced while decoding.

        ``fit`` loses nothing by that: the part that it crops still covers the model's input.
        """
        kept = self.resize.crop_fraction if self.resize.mode == "crop" else 1.0
        return math.ceil(max(self.input.height_px, self.input.width_px) / kept)

    @property
    def in_int8(self) -> Self:
        """The manifest of the graph in INT8; ``int8`` must not be None."""
        digest = None if self.int8 is None else self.int8.sha256
        return self.model_copy(update={"precision": "int8", "sha256": digest})

    @classmethod
    def parse(cls, text: str | bytes, origin: str) -> Self:
        """Read a manifest from JSON.

        Args:
            text: the JSON document.
            origin: the name of the document's source, for the error message.

        Raises:
            ManifestError: the text is not JSON, or a field is unknown, missing or out of range.

        >>> text = '{"name": "mine", "scaling": {"mean": [0, 0, 0], "std": [255, 255, 255]}}'
        >>> Manifest.parse(text, "mine.json").input
        GraphInput(name='input', layout='NCHW', height_px=299, width_px=299)
        >>> Manifest.parse('{"name": "mine"}', "mine.json")
        Traceback (most recent call last):
            ...
        models.errors.ManifestError: The manifest mine.json is not valid: scaling: Field required
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(
                cls._sentence(each["type"], each["loc"], each["msg"]) for each in error.errors()
            )
            raise ManifestError(f"The manifest {origin} is not valid: {problems}") from None

    @classmethod
    def _sentence(cls, kind: str, place: tuple[int | str, ...], message: str) -> str:
        where = ".".join(map(str, place)) or "document"
        if kind != "extra_forbidden":
            return f"{where}: {message.removeprefix('Value error, ')}"
        group: Any = cls
        for part in place[:-1]:
            group = group.model_fields[part].annotation
        fields = list(group.model_fields)
        near = get_close_matches(str(place[-1]).lower(), fields, n=1)
        meant = f"Did you mean {near[0]!r}? " if near else ""
        return f"{where}: unknown field. {meant}Allowed: {', '.join(fields)}"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest from a JSON file.

        Raises:
            ManifestError: the file cannot be read or is not a valid manifest.
        """
        try:
            text = path.read_bytes()
        except OSError as error:
            raise ManifestError(f"The manifest {path} cannot be read: {error.strerror}") from None
        return cls.parse(text, str(path))


@cache
def imagenet_labels() -> tuple[str, ...]:
    """Return the 1000 class names of ImageNet-1k; the name at index 0 is "tench"."""
    return tuple(files("models").joinpath("imagenet1k_labels.txt").read_text("utf-8").splitlines())
