"""Image files that cost far more than the pixels of their header: found before they are decoded."""

import re

from PIL import Image, PngImagePlugin, TiffImagePlugin

from service.errors import BadImageError, TooManyPixelsError

MOST_SCANS = 100
"""Of one JPEG: libtiff's limit, too. Encoders make ten."""
MOST_SIDE_PX = 65_535
"""JPEG's own limit; much longer images cannot be written as PNG, nor defended in little memory."""

_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_START_OF_SCAN, _END = 0xDA, 0xD9
_STANDALONE = frozenset((0x01, 0xD8))

# The inflated texts of a PNG, which nobody reads here: Pillow's own limit is 64 MB.
PngImagePlugin.MAX_TEXT_MEMORY = 16 * PngImagePlugin.MAX_TEXT_CHUNK


def check_pixels(image: Image.Image, max_pixels: int) -> None:
    """Refuse an image that has not been decoded yet, by what its header declares.

    Raises:
        TooManyPixelsError: it has more pixels, or a longer side, than are decoded.
    """
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"The image has {width} x {height} pixels; this server takes {max_pixels} at most."
        )
    if max(width, height) > MOST_SIDE_PX:
        raise TooManyPixelsError(
            f"The image has {width} x {height} pixels; a side has {MOST_SIDE_PX} at most."
        )
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiles(image, max_pixels)


def _check_tiles(image: TiffImagePlugin.TiffImageFile, max_pixels: int) -> None:
    """A TIFF is decoded tile by tile, and whole tiles, however little of them the image shows."""
    tags = image.tag_v2
    decoded = 1
    for side, tag in zip(image.size, (_TILE_WIDTH, _TILE_HEIGHT), strict=True):
        tile = max(1, int(tags.get(tag, 1)))
        decoded *= -(-side // tile) * tile
    if decoded > 2 * max_pixels:
        raise TooManyPixelsError(
            f"The image's tiles have {decoded} pixels; this server takes {2 * max_pixels} at most."
        )


def check_scans(body: bytes) -> None:
    """Refuse a JPEG that would be decoded again and again: each scan passes over all its pixels.

    Raises:
        BadImageError: it has more than :data:`MOST_SCANS`.
    """
    if body.count(b"\xff\xda") <= MOST_SCANS:  # some may be in what is no marker
        return
    scans, position = 0, 2
    while scans <= MOST_SCANS and (marker := _MARKER.search(body, position)):
        kind, position = marker[1][0], marker.end()
        if kind == _END:
            return
        if kind not in _STANDALONE:  # what it holds is not searched, unless it is a scan's data
            position += int.from_bytes(body[position : position + 2])
        scans += kind == _START_OF_SCAN
    if scans > MOST_SCANS:
        raise BadImageError(f"This JPEG file has more than {MOST_SCANS} scans.")
