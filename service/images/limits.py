"""What an image file may cost: checks before it is decoded, against files made to cost more."""

import logging
import re

from PIL import Image, PngImagePlugin, TiffImagePlugin

from service.errors import BadImageError, TooManyPixelsError

MOST_SCANS = 100
"""The most scans of one JPEG, which is libtiff's limit too. Encoders make ten."""
MOST_SIDE_PX = 65_535
"""JPEG's own limit. Much longer images cannot be written as PNG or defended in little memory."""

_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_START_OF_SCAN, _END = 0xDA, 0xD9
_STANDALONE = frozenset((0x01, 0xD8))


def limit_pillow() -> None:
    """Set Pillow's own limits, which are globals: a lower one, and none that is checked here."""
    # The decompressed texts of a PNG, which nothing here reads: Pillow's own limit is 64 MB.
    PngImagePlugin.MAX_TEXT_MEMORY = 16 * PngImagePlugin.MAX_TEXT_CHUNK
    # Pillow's limit warns, and is far above ours, which is checked before any pixel is decoded.
    Image.MAX_IMAGE_PIXELS = None
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # a broken file is its sender's problem


def check_pixels(image: Image.Image, max_pixels: int) -> None:
    """Refuse an image by the size that its header declares, before it is decoded.

    Raises:
        TooManyPixelsError: it has too many pixels, or a side that is too long.
    """
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"The image has {width} x {height} pixels; this server takes at most {max_pixels}."
        )
    if max(width, height) > MOST_SIDE_PX:
        raise TooManyPixelsError(
            f"The image has {width} x {height} pixels; a side may have at most {MOST_SIDE_PX}."
        )
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiles(image, max_pixels)


def _check_tiles(image: TiffImagePlugin.TiffImageFile, max_pixels: int) -> None:
    """A TIFF is decoded in whole tiles, however small a part of them the image shows."""
    tags = image.tag_v2
    decoded = 1
    for side, tag in zip(image.size, (_TILE_WIDTH, _TILE_HEIGHT), strict=True):
        tile = max(1, int(tags.get(tag, 1)))
        decoded *= -(-side // tile) * tile
    if decoded > 2 * max_pixels:
        raise TooManyPixelsError(
            f"The image's tiles have {decoded} pixels; this server takes at most {2 * max_pixels}."
        )


def check_scans(body: bytes) -> None:
    """Refuse a JPEG of many scans, because decoding passes over all pixels once for each scan.

    Raises:
        BadImageError: it has more than :data:`MOST_SCANS`.
    """
    if body.count(b"\xff\xda") <= MOST_SCANS:  # an upper bound: some may not be markers
        return
    scans, position = 0, 2
    while scans <= MOST_SCANS and (marker := _MARKER.search(body, position)):
        kind, position = marker[1][0], marker.end()
        if kind == _END:
            return
        if kind not in _STANDALONE:  # skip its content, unless that is a scan's data
            position += int.from_bytes(body[position : position + 2])
        scans += kind == _START_OF_SCAN
    if scans > MOST_SCANS:
        raise BadImageError(f"This JPEG file has more than {MOST_SCANS} scans.")
