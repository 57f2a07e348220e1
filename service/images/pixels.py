"""From the records of one image to its pixels, with Pillow."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, ImageChops, ImageFile, TiffImagePlugin

from service.errors import BadImageError, ServiceError
from service.images import bmp_rle, colour, exif
from service.images.containers.container import Container, damaged, not_read

for plugin in ("Avif", "Bmp", "Gif", "Jpeg", "Png", "Tiff", "WebP"):
    import_module(f"PIL.{plugin}ImagePlugin")  # now, not while the first image waits
Image.preinit()
Image.MAX_IMAGE_PIXELS = None  # the walk has compared the size with lower limits
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the memory of one thread for each core has no bound
TiffImagePlugin.READ_LIBTIFF = True  # Pillow's own reader mixes up planes of 16 bits
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # a broken file is its sender's problem
warnings.filterwarnings("ignore", module=r"PIL\.")

_WHOLE_PIXELS, _BAND_PIXELS = 1 << 20, 1 << 18
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PAD = bytes(range(1, 65))


@contextmanager
def reasons(kind: str) -> Iterator[None]:
    """Turn whatever decoding raises into an error that says why.

    Raises:
        ServiceError: the file cannot be decoded.
        MemoryError: there is not enough memory.
    """
    try:
        yield
    except (ServiceError, MemoryError):
        raise
    except Exception as error:  # a broken file makes Pillow raise almost anything
        if "memory" in str(error).lower() or str(error) == "decoder error -9":
            raise MemoryError from error
        raise BadImageError(f"This {kind} file is cut short or corrupted.") from error


def to_array(image: Image.Image, container: Container) -> NDArray[np.uint8]:
    """Convert what :func:`load` returned to ``(H, W, 3)`` uint8 RGB."""
    pixels: NDArray[np.uint8] | None = None
    for top, band in bands(image, container):
        if len(band) == image.height:
            return band
        if pixels is None:
            pixels = np.empty((image.height, image.width, 3), np.uint8)
        pixels[top : top + len(band)] = band
    assert pixels is not None  # noqa: S101  # an image has a row
    return pixels


def bands(image: Image.Image, container: Container) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Give bands of RGB rows, each with its first row; all at once take three times the memory."""
    if image.width * image.height <= _WHOLE_PIXELS:
        yield 0, _to_rgb(image, container)
        return
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        yield top, _to_rgb(band, container)


def load(container: Container, reduce_to_px: int | None) -> tuple[Image.Image, Container]:
    """Decode an image, turn it upright and put it on its canvas.

    Args:
        container: the image's records.
        reduce_to_px: see :func:`service.images.decode.decode`.

    Returns:
        The image in Pillow's mode, and the container without what is already done.
    """
    if container.bits == 16 and len(container.transparent or ()) == 3:
        image = _load_wide(container)
        container = replace(container, transparent=None)
    elif not container.is_complete:
        image = _load_without_end(container)
    else:
        image = _open(container)
        if reduce_to_px is not None:
            image.draft(None, (reduce_to_px, reduce_to_px))
        image.load()
    if container.kind == "AVIF":  # its boxes have the orientation, which Pillow hands on as EXIF
        block = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
        profile = image.info.get("icc_profile")
        container = replace(container, orientation=exif.orientation(block), icc=profile)
    if container.frame is not None:
        image, container = _on_canvas(image, container)
    if container.orientation in _TURNS:
        image = image.transpose(_TURNS[container.orientation])
    return image, container


def _open(container: Container, more: bytes = b"") -> ImageFile.ImageFile:
    """Have Pillow read the header, and compare it with what the walk has read."""
    kind, file = container.kind, container.file + more
    if container.run_length:
        file = bmp_rle.expand(file, container.run_length)
    try:
        image = Image.open(BytesIO(file), formats=[kind])
    except (OSError, SyntaxError) as error:
        if kind == "TIFF" or str(error).startswith("Unsupported BMP"):
            raise not_read(kind, "Its pixels are laid out in a rare way.") from error
        raise
    if kind == "AVIF":
        fits = image.width * image.height <= container.width * container.height
    else:
        fits = image.size == container.coded_size
    if not fits:
        raise damaged(kind, "it has two different sizes")
    return image


def _load_without_end(container: Container) -> Image.Image:
    """Decode a JPEG that has no end marker; refuse it if pixels are missing too.

    Bytes behind a whole scan change nothing. Behind a scan that is cut short they change pixels,
    where it is cut: only the last row of blocks may change.
    """
    image, padded = (_open(container, more + b"\xff\xd9") for more in (b"", _PAD))
    image.load()
    padded.load()
    changed = ImageChops.difference(image, padded).getbbox()
    if changed is not None and changed[1] < image.height - min(16, image.height // 8):
        raise BadImageError("This JPEG file is cut short.")
    return image


def _load_wide(container: Container) -> Image.Image:
    """Decode an RGB PNG of 16 bits with a transparent colour, of which Pillow keeps the high bytes.

    It is decoded a second time, as if it were little-endian, for the low bytes.
    """
    image, low = _open(container), _open(container)
    low.tile = [low.tile[0]._replace(args="RGB;16L")]
    image.load()
    low.load()
    samples = container.transparent or ()
    opacity = _opacity(np.asarray(image), [sample >> 8 for sample in samples])
    opacity |= _opacity(np.asarray(low), [sample & 0xFF for sample in samples])
    image.putalpha(Image.fromarray(opacity))
    return image


def _opacity(pixels: NDArray[Any], transparent: Sequence[int]) -> NDArray[np.uint8]:
    """Make the alpha channel of an image with one transparent colour."""
    same = pixels.reshape(*pixels.shape[:2], -1) == np.array(transparent)
    return np.where(same.all(axis=2), 0, 255).astype(np.uint8)


def _on_canvas(image: Image.Image, container: Container) -> tuple[Image.Image, Container]:
    """Put an animation's first frame on the white canvas."""
    assert container.frame is not None  # noqa: S101
    left, top, *_ = container.frame
    canvas = Image.new("RGB", (container.width, container.height), "white")
    for first, band in bands(image, container):
        canvas.paste(Image.fromarray(band), (left, top + first))
    plain = replace(container, frame=None, icc=None, gamma=None, transparent=None)
    return canvas, plain


def _to_rgb(image: Image.Image, container: Container) -> NDArray[np.uint8]:
    """Convert a band: scale to 8 bits, find what is transparent, convert colours, put on white."""
    samples = container.transparent
    if image.mode.startswith("I;16"):
        grey = np.asarray(image)
        image = Image.fromarray((grey >> (container.bits - 8)).astype(np.uint8))
        if samples:
            image.putalpha(Image.fromarray(_opacity(grey, samples)))
    elif image.mode in ("I", "F"):
        raise not_read(container.kind, "It has more than 16 bits a sample: send 8 or 16.")
    elif samples:
        image = image.convert("L") if image.mode == "1" else image
        scale = 255 // ((1 << container.bits) - 1)  # Pillow has brought grey to 8 bits
        opacity = _opacity(np.asarray(image), [scale * sample for sample in samples])
        image.putalpha(Image.fromarray(opacity))
    if container.is_inverted:
        image = ImageChops.invert(image.convert("L"))
    image = colour.to_srgb(image, container)
    if image.has_transparency_data:
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
