"""The picture of ``warpguard defenses DEFENSE --picture FILE``: a photograph, before and after."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from defenses import Image, Pipeline
from service.errors import SetupError
from service.images.decode import decode
from service.images.defend import SYSTEM_RANDOM

_HEIGHT_PX = 299
"""As images are served to most models; a smaller image keeps its size."""
_GAP_PX = 8
_CAPTION_PX = 24
_FONT_PX = 15
_MAX_PIXELS = 10**9
_STRONGER = 8
"""A difference is multiplied by this to be seen."""
_DEMONSTRATION = "imagenet_16_251.jpg"


class PictureError(SetupError):
    """The photograph cannot be found, or the picture cannot be written."""


def write(pipeline: Pipeline, photograph: Path | None, output: Path) -> None:
    """Write a picture of a photograph, the defended photograph, and another draw.

    If the defence is not random, the difference takes the place of the other draw.

    Args:
        pipeline: the defence.
        photograph: an image file; by default one of the demonstration.
        output: the file to write; its suffix decides the format.

    Raises:
        PictureError: see the class.
        ServiceError: the photograph cannot be decoded.
    """
    source = photograph or _of_the_demonstration()
    image = _shrunk(decode(source.read_bytes(), max_pixels=_MAX_PIXELS))
    defended = pipeline(image, SYSTEM_RANDOM)
    panels = {"original": image, f"{pipeline}": defended}
    if pipeline.random:
        panels["another draw"] = pipeline(image, SYSTEM_RANDOM)
    else:
        panels[f"difference x {_STRONGER}"] = _difference(image, defended)
    try:
        _beside_each_other(panels).save(output)
    except (OSError, ValueError) as error:
        raise PictureError(f"{output} cannot be written: {error}.") from None


def _of_the_demonstration() -> Path:
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        raise PictureError(
            "The photographs of the demonstration are not installed: give --photograph FILE, "
            "or install the extra 'demo'."
        )
    return Path(spec.origin).parent / "data" / _DEMONSTRATION


def _shrunk(image: Image) -> Image:
    height, width = image.shape[:2]
    if height <= _HEIGHT_PX:
        return image
    size = (max(1, round(width * _HEIGHT_PX / height)), _HEIGHT_PX)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _difference(image: Image, defended: Image) -> Image:
    """The change of each value, multiplied, around a grey that means no change."""
    change = defended.astype(np.int32) - image.astype(np.int32)
    return np.clip(128 + _STRONGER * change, 0, 255).astype(np.uint8)


def _beside_each_other(panels: dict[str, Image]) -> PillowImage.Image:
    height, width = next(iter(panels.values())).shape[:2]
    size = ((width + _GAP_PX) * len(panels) - _GAP_PX, height + _CAPTION_PX)
    picture = PillowImage.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_PX)
    for number, (caption, panel) in enumerate(panels.items()):
        left = number * (width + _GAP_PX)
        draw.text((left, 3), caption, "black", font)
        picture.paste(PillowImage.fromarray(panel), (left, _CAPTION_PX))
    return picture
