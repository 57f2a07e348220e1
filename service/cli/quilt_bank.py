"""``warpguard quilt-bank``: the patches of one's own clean images, for the defence ``quilt``."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import SystemRandom

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from defenses import patch_bank
from models import write_atomically
from service.errors import ServiceError, SetupError
from service.images.decode import decode

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
)
"""What the images of a folder end in; a file that is named itself may end in anything."""

_MAX_PIXELS = 10**9
_MAX_SHORTER_PX = 10_000


class BankSourceError(SetupError):
    """An image that a bank should be made of cannot be, or the bank cannot be written."""


def quilt_bank(options: argparse.Namespace) -> int:
    """Cut patches out of images and write them as a bank; 2 where an option is out of range."""
    limits = {
        "patches": (patch_bank.MIN_PATCHES, patch_bank.MAX_PATCHES),
        "patch": (patch_bank.MIN_SIDE_PX, patch_bank.MAX_SIDE_PX),
        "side": (patch_bank.MAX_SIDE_PX, _MAX_SHORTER_PX),
    }
    for name, (least, most) in limits.items():
        if not least <= getattr(options, name) <= most:
            print(f"warpguard: --{name} is {least}…{most}", file=sys.stderr)  # noqa: T201
            return 2
    output = Path(options.output)
    if not output.parent.is_dir():  # told now, and not after minutes of work
        raise BankSourceError(f"{output} cannot be written: there is no folder {output.parent}.")
    files = _files(options.sources)
    if len(files) > options.patches:
        files = SystemRandom().sample(files, options.patches)
    each = -(-options.patches // len(files))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=options.quiet) as progress:
        images = _images(progress.track(files, description="cutting patches"), options.side)
        cut = patch_bank.gather(images, each, options.patch, SystemRandom())
        patches = np.concatenate(list(cut))
    if len(patches) > options.patches:  # the division's remainder, left out evenly
        patches = patches[sorted(SystemRandom().sample(range(len(patches)), options.patches))]
    try:
        write_atomically(output, partial(patch_bank.write, patches=patches))
    except OSError as error:
        raise BankSourceError(f"{output} cannot be written: {error.strerror}.") from None
    Console().print(
        f"{output} has {len(patches)} patches of {options.patch}x{options.patch} px "
        f"from {len(files)} images",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    return 0


def _files(sources: Sequence[str]) -> list[Path]:
    """The named files, and the images of the named folders and of those within, in order."""
    files: dict[Path, None] = {}
    for source in map(Path, sources):
        if source.is_dir():
            inside = [each for each in source.rglob("*") if each.suffix.lower() in IMAGE_SUFFIXES]
            found = sorted(each for each in inside if each.is_file())
            if not found:
                kinds = ", ".join(sorted(IMAGE_SUFFIXES))
                raise BankSourceError(f"The folder {source} has no images: {kinds}.")
        else:
            found = [source]
        files |= dict.fromkeys(found)
    return list(files)


def _images(files: Iterable[Path], side_px: int) -> Iterator[NDArray[np.uint8]]:
    """Each file decoded, the larger ones shrunk to a shorter side of so many px."""
    for file in files:
        try:
            image = decode(
                file.read_bytes(), max_pixels=_MAX_PIXELS, min_side_px=patch_bank.MAX_SIDE_PX
            )
        except ServiceError as error:
            raise BankSourceError(f"{file}: {error.message}") from None
        except OSError as error:
            raise BankSourceError(f"{file}: {error.strerror or 'cannot be read'}.") from None
        height, width = image.shape[:2]
        factor = side_px / min(height, width)
        size = (round(width * factor), round(height * factor))
        shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if factor < 1 else image
        yield np.asarray(shrunk, np.uint8)
