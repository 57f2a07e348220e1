"""What a walk over an image file's records finds, and how it refuses a file."""

from dataclasses import dataclass

from service.errors import BadImageError, UnsupportedMediaError

MOST_PROFILE_BYTES = 4 << 20


@dataclass(frozen=True, eq=False, kw_only=True)
class Container:
    """One image, taken out of the records of its file.

    Attributes:
        kind: the format: a name of :data:`service.images.containers.FORMATS`.
        file: a file with only the records that make this image's pixels. Pillow reads it.
        width: the image's width in px, before it is turned upright.
        height: its height in px.
        memory_bytes: what decoding takes at the most, beside ``file`` and the result.
        full_size_bytes: the part of ``memory_bytes`` that shrinks with a reduced image.
        is_plain: whether the file has the ordinary form of JPEG, PNG, WebP or BMP, so that the time
            and memory of decoding it follow from its pixels.
        is_complete: whether a JPEG ends where it should; False needs a check.
        orientation: the orientation as EXIF numbers it, 1…8.
        icc: the ICC profile.
        gamma: the exponent of a PNG's chunk gAMA, where no other record describes its colours.
        frame: the first frame's box on a white canvas of ``width`` x ``height``: left, top, width
            and height; None where the frame is the whole image.
        bits: the significant bits of a sample.
        transparent: the samples of the one colour that is transparent, in ``bits``.
        is_inverted: whether the largest value of grey is black.
        run_length: the run-length coding of a BMP's rows: 8 or 4 bits a pixel; 0 where not coded.
    """

    kind: str
    file: bytes
    width: int
    height: int
    memory_bytes: int
    full_size_bytes: int = 0
    is_plain: bool = False
    is_complete: bool = True
    orientation: int = 1
    icc: bytes | None = None
    gamma: float | None = None
    frame: tuple[int, int, int, int] | None = None
    bits: int = 8
    transparent: tuple[int, ...] | None = None
    is_inverted: bool = False
    run_length: int = 0

    @property
    def coded_size(self) -> tuple[int, int]:
        """The width and height in px of the picture that ``file`` holds."""
        return self.frame[2:] if self.frame else (self.width, self.height)


def usable(profile: bytes) -> bytes | None:
    """Return an ICC profile; None where it is missing, or larger than profiles are."""
    return profile if 0 < len(profile) <= MOST_PROFILE_BYTES else None


def damaged(kind: str, why: str) -> BadImageError:
    """Make the error for a file that breaks the rules of its format."""
    return BadImageError(f"This {kind} file is cut short or corrupted: {why}.")


def not_read(kind: str, sentence: str) -> UnsupportedMediaError:
    """Make the error for a whole file that this server does not read."""
    return UnsupportedMediaError(f"This variant of {kind} is not read. {sentence}")
