"""A walk over the records of an image file, before a library sees the file.

    bytes ──► signature ──► the format's walk ──► Container ──► pixels

A walk counts records, skips those that make no pixels, and takes milliseconds for whatever bytes.
There is one module for each format.
"""

from collections.abc import Callable

from service.errors import UnsupportedMediaError
from service.images.containers import avif, bmp, gif, jpeg, png, tiff, webp
from service.images.containers.container import Container
from service.images.limits import Limits

_WALKS: dict[str, tuple[Callable[[bytes], bool], Callable[[bytes, Limits], Container]]] = {
    "JPEG": (lambda head: head.startswith(b"\xff\xd8\xff"), jpeg.walk),
    "PNG": (lambda head: head.startswith(png.SIGNATURE), png.walk),
    "WEBP": (lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP", webp.walk),
    "BMP": (lambda head: head.startswith(b"BM"), bmp.walk),
    "TIFF": (lambda head: head.startswith(tiff.SIGNATURES), tiff.walk),
    "GIF": (lambda head: head.startswith((b"GIF87a", b"GIF89a")), gif.walk),
    "AVIF": (avif.matches, avif.walk),
}
FORMATS = tuple(_WALKS)
"""The supported formats; of an animation, the first frame is read."""

_OTHERS = {
    b"\x1f\x8b": "gzip data without the header Content-Encoding",
    b"data:": "a data URL; send the decoded bytes",
    b"/9j/": "base64; send the decoded bytes",
    b"iVBORw0KGgo": "base64; send the decoded bytes",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"%PDF": "a PDF document",
    b"<svg": "an SVG drawing",
    b"\0\0\1\0": "an icon",
    b"II\xbc\1": "JPEG XR",
}
_HEIF_BRANDS = (b"hei", b"hev", b"mif1", b"msf1")


def walk(body: bytes, limits: Limits) -> Container:
    """Find the image in a file.

    Raises:
        UnsupportedMediaError: the file is not of one of :data:`FORMATS`, or is of a variant that
            is not read.
        BadImageError: the records break the rules of the format.
        TooManyPixelsError, ImageTooSmallError: its size is outside the limits.
    """
    head = body[:64]
    for matches, walk_format in _WALKS.values():
        if matches(head):
            return walk_format(body, limits)
    seen = next((name for start, name in _OTHERS.items() if head.startswith(start)), None)
    if head[4:8] == b"ftyp" and head[8:12].startswith(_HEIF_BRANDS):
        seen = "HEIC"
    raise UnsupportedMediaError(
        f"Not a supported image file{f': this is {seen}' if seen else ''}. "
        f"Supported formats: {', '.join(FORMATS)}."
    )
