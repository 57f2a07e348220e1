"""From the bytes of an image file to 8-bit RGB pixels, and back.

    bytes ──► containers.walk ──► records ──► pixels

The walk decides what Pillow sees of a file: only records that make pixels.
"""

import logging

import cv2
import numpy as np
from numpy.typing import NDArray

from defenses import MIN_SIDE_PX
from defenses import Image as RgbImage
from service.errors import BadRequestError, OutOfMemoryError
from service.images.containers import FORMATS, walk
from service.images.limits import Limits
from service.images.pixels import load, reasons, to_array

__all__ = ["FORMATS", "decode", "encode_png"]

_log = logging.getLogger(__name__)


def decode(
    body: bytes,
    *,
    max_pixels: int,
    reduce_to_px: int | None = None,
    min_side_px: int = MIN_SIDE_PX,
) -> NDArray[np.uint8]:
    """Decode an image file.

    EXIF orientation is applied, and ICC profiles are converted to sRGB. Grey, palette, CMYK and
    16-bit images become 8-bit RGB; transparent parts lie on white.

    Args:
        body: the file's bytes.
        max_pixels: the most that the header may declare, width times height.
        reduce_to_px: a side that both sides may be reduced to while decoding, which makes a large
            JPEG several times faster; None decodes every pixel.
        min_side_px: the shortest side that is accepted.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        BadRequestError: the body is empty.
        UnsupportedMediaError: the file is not of one of :data:`FORMATS`, or is of a variant that
            is not read.
        TooManyPixelsError: the header declares more than ``max_pixels``, or a side of more than
            65,535; nothing was decoded.
        ImageTooSmallError: a side is shorter than ``min_side_px``.
        BadImageError: the file is cut short or corrupted.
        OutOfMemoryError: there is not enough memory.
    """
    if not body:
        raise BadRequestError("The body is empty: send the bytes of an image file.")
    try:
        container = walk(body, Limits(max_pixels, min_side_px))
        with reasons(container.kind):
            return to_array(*load(container, reduce_to_px))
    except MemoryError as error:
        _log.error("There is not enough memory to decode an image: %s", error)
        raise OutOfMemoryError(
            "The server has not enough memory to decode this image; try again later."
        ) from None


def encode_png(image: RgbImage) -> bytes:
    """Encode an ``(H, W, 3)`` uint8 RGB image as a PNG file, without loss."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()
