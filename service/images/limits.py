"""What an image may cost, by what the records of its file declare."""

from dataclasses import dataclass

from service.errors import ImageTooSmallError, TooManyPixelsError

MOST_SCANS = 100
"""The most scans of one JPEG, which is libtiff's limit too. Encoders make ten."""
MOST_SIDE_PX = 65_535
"""JPEG's own limit. Much longer images cannot be written as PNG or defended in little memory."""


@dataclass(frozen=True)
class Limits:
    """The sizes of images that are decoded.

    Attributes:
        max_pixels: the most pixels, width times height.
        min_side_px: the shortest side.
    """

    max_pixels: int
    min_side_px: int

    def check_size(self, width: int, height: int) -> None:
        """Refuse an image by its declared size, before it is decoded.

        Raises:
            TooManyPixelsError: it has too many pixels, or a side that is too long.
            ImageTooSmallError: a side is too short.
        """
        if width * height > self.max_pixels:
            raise TooManyPixelsError(
                f"The image has {width} x {height} pixels; this server takes at most "
                f"{self.max_pixels}."
            )
        if max(width, height) > MOST_SIDE_PX:
            raise TooManyPixelsError(
                f"The image has {width} x {height} pixels; a side may have at most {MOST_SIDE_PX}."
            )
        if min(width, height) < self.min_side_px:
            raise ImageTooSmallError(
                f"The image has {width} x {height} pixels; each side needs at least "
                f"{self.min_side_px}."
            )

    def check_tiles(self, pixels: int) -> None:
        """Refuse an image by its tiles, which are decoded whole, however little of them shows.

        Raises:
            TooManyPixelsError: they have too many pixels.
        """
        most = 2 * self.max_pixels
        if pixels > most:
            raise TooManyPixelsError(
                f"The image's tiles have {pixels} pixels; this server takes at most {most}."
            )
