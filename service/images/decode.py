"""From the bytes of an image file to 8-bit RGB pixels, and back.

One library reads both the header and the pixels, so the checked file is the decoded file.
"""

from collections.abc import Callable
from importlib import import_module
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from defenses import MIN_SIDE_PX
from defenses import Image as RgbImage
from service.errors import (
    BadImageError,
    BadRequestError,
    ImageTooSmallError,
    ServiceError,
    UnsupportedMediaError,
)
from service.images.limits import check_pixels, check_scans, limit_pillow

for plugin in ("Bmp", "Gif", "Jpeg", "Png", "Tiff", "WebP"):
    import_module(f"PIL.{plugin}ImagePlugin")  # now, not while the first image waits
Image.preinit()
limit_pillow()

_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "JPEG": lambda head: head.startswith(b"\xff\xd8\xff"),
    "PNG": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "WEBP": lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP",
    "BMP": lambda head: head.startswith(b"BM"),
    "TIFF": lambda head: head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    "GIF": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
}
_BAND_PIXELS = 1 << 20
FORMATS = tuple(_SIGNATURES)
"""The supported formats; of an animation, the first frame is read."""


def decode(
    body: bytes, *, max_pixels: int, reduce_to_px: int | None = None, min_side_px: int = MIN_SIDE_PX
) -> NDArray[np.uint8]:
    """Decode an image file.

    EXIF orientation is applied. Grey, palette, CMYK and 16-bit images become 8-bit RGB; transparent
    parts lie on white.

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
        UnsupportedMediaError: the file is not of one of :data:`FORMATS`, or its pixel type has no
            8-bit equivalent.
        TooManyPixelsError: the header declares more than ``max_pixels``, or a side of more than
            65,535; nothing was decoded.
        ImageTooSmallError: a side is shorter than ``min_side_px``.
        BadImageError: the file is cut short or corrupted.
    """
    if not body:
        raise BadRequestError("The body is empty: send the bytes of an image file.")
    kind = next((name for name, matches in _SIGNATURES.items() if matches(body[:16])), None)
    if kind is None:
        raise UnsupportedMediaError(
            f"Not a supported image file. Supported formats: {', '.join(FORMATS)}."
        )
    try:
        with Image.open(BytesIO(body), formats=[kind]) as image:
            check_pixels(image, max_pixels)
            _check_sides(image, min_side_px)
            if kind == "JPEG":
                check_scans(body)
            if reduce_to_px is not None:
                image.draft(None, (reduce_to_px, reduce_to_px))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except ServiceError:
        raise
    except Exception as error:  # a broken file makes Pillow raise almost anything
        raise BadImageError(f"This {kind} file is cut short or corrupted.") from error


def encode_png(image: RgbImage) -> bytes:
    """Encode an ``(H, W, 3)`` uint8 RGB image as a PNG file, without loss."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def _check_sides(image: Image.Image, min_side_px: int) -> None:
    width, height = image.size
    if min(width, height) < min_side_px:
        raise ImageTooSmallError(
            f"The image has {width} x {height} pixels; each side needs at least {min_side_px}."
        )


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert the pixels band by band; all at once, a large image needs three times its memory."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    if height <= rows:
        return _band_to_rgb(image)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = _band_to_rgb(image.crop((0, top, width, bottom)))
    return pixels


def _band_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "F":
        raise UnsupportedMediaError("Floating-point pixels have no fixed range: send 8 or 16 bits.")
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise UnsupportedMediaError("Pixels of more than 16 bits: send 8 or 16.")
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
