"""From the bytes of an image file to 8-bit RGB pixels.

    bytes ──► containers.walk ──► records ──► pixels      in this thread: an ordinary file
                                        └───► isolated    in a process that can be stopped

The walk decides what Pillow sees of a file: only records that make pixels.
"""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from defenses import MIN_SIDE_PX
from service.errors import BadRequestError, OutOfMemoryError
from service.images import isolated
from service.images.colour import is_simple
from service.images.containers import FORMATS, walk
from service.images.containers.container import Container
from service.images.limits import Limits
from service.images.pixels import load, reasons, to_array

__all__ = ["FORMATS", "decode"]

_PLAIN_MEMORY_BYTES = 64 << 20  # what each computing thread may take

_log = logging.getLogger(__name__)


def decode(
    body: bytes,
    *,
    max_pixels: int,
    reduce_to_px: int | None = None,
    min_side_px: int = MIN_SIDE_PX,
    until_s: float | None = None,
    on_pixels: Callable[[float], None] = lambda _: None,
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
        until_s: when the caller stops waiting, as :func:`time.monotonic` counts; a file that is
            not of an ordinary form is decoded until then at the most.
        on_pixels: called before anything is decoded, with the number of pixels; an eighth of it for
            a JPEG that is reduced while it is decoded, which is far quicker than other files.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        BadRequestError: the body is empty.
        UnsupportedMediaError: the file is not of one of :data:`FORMATS`, or is of a variant that
            is not read.
        TooManyPixelsError: the header declares more than ``max_pixels``, or a side of more than
            65,535; nothing was decoded.
        ImageTooSmallError: a side is shorter than ``min_side_px``.
        BadImageError: the file is cut short or corrupted, or takes more time than its pixels
            explain.
        OutOfMemoryError: there is not enough memory.
        DeadlineError: it was not decoded before ``until_s``.
    """
    if not body:
        raise BadRequestError("The body is empty: send the bytes of an image file.")
    try:
        container = walk(body, Limits(max_pixels, min_side_px))
        reduced = container.kind == "JPEG" and _scale(container, reduce_to_px) > 1
        on_pixels(container.width * container.height / (8 if reduced else 1))
        if not _is_ordinary(container, reduce_to_px):
            return isolated.decode(container, reduce_to_px=reduce_to_px, until_s=until_s)
        with reasons(container.kind):
            return to_array(*load(container, reduce_to_px))
    except MemoryError as error:
        _log.error("There is not enough memory to decode an image: %s", error or "in this process")
        raise OutOfMemoryError(
            "The server has not enough memory to decode this image; try again later."
        ) from None


def _is_ordinary(container: Container, reduce_to_px: int | None) -> bool:
    """Whether decoding takes time and memory that follow from the pixels, and not too much."""
    if not container.is_plain or not is_simple(container.icc or b""):
        return False
    memory_bytes = container.memory_bytes
    if _scale(container, reduce_to_px) > 1:
        memory_bytes -= container.full_size_bytes * 3 // 4
    return memory_bytes <= _PLAIN_MEMORY_BYTES


def _scale(container: Container, reduce_to_px: int | None) -> int:
    """By what both sides may be divided while the image is decoded."""
    return min(container.width, container.height) // reduce_to_px if reduce_to_px else 1
