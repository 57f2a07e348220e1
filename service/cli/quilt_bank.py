"""``warpguard quilt-bank``."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from service.cli.command import AddParser, add_command
from service.cli.folder import images_in
from service.errors import ServiceError, SetupError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_PIXELS = 10**9
_MAX_SHORTER_PX = 10_000


class BankSourceError(SetupError):
    """An image cannot be read, or the bank cannot be written."""


def register(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    parser = add_command(add_parser, "quilt-bank", run)
    px: dict[str, Any] = {"type": int, "metavar": "PX"}
    parser.add_argument("sources", nargs="+", metavar="DIR_OR_FILE", help="images, or folders")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help=".npz file to write")
    parser.add_argument("--patches", type=int, default=20_000, help="how many (default: 20000)")
    parser.add_argument("--patch", default=5, **px, help="side of a patch (default: 5)")
    shrink = "shrink larger images to this shorter side (default: 299, as images are served)"
    parser.add_argument("--side", default=299, **px, help=shrink)
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(options: argparse.Namespace) -> None:
    """Make the bank of patches that the defence quilt needs, from clean images of your own.

    For example: warpguard quilt-bank photos/ -o bank.npz
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from defenses import patch_bank
    from models import write_atomically

    limits = {
        "patches": (patch_bank.MIN_PATCHES, patch_bank.MAX_PATCHES),
        "patch": (patch_bank.MIN_SIDE_PX, patch_bank.MAX_SIDE_PX),
        "side": (patch_bank.MAX_SIDE_PX, _MAX_SHORTER_PX),
    }
    for name, (least, most) in limits.items():
        if not least <= getattr(options, name) <= most:
            options.parser.error(f"--{name} must be between {least} and {most}")
    output = Path(options.output)
    if not output.parent.is_dir():  # an error now, rather than after minutes of work
        raise BankSourceError(
            f"{output} cannot be written: the folder {output.parent} does not exist."
        )
    files = _files(options.sources)
    if len(files) > options.patches:
        files = SystemRandom().sample(files, options.patches)
    each = -(-options.patches // len(files))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=options.quiet) as progress:
        images = _images(progress.track(files, description="cutting patches"), options.side)
        cut = patch_bank.gather(images, each, options.patch, SystemRandom())
        patches = np.concatenate(list(cut))
    if len(patches) > options.patches:  # the division left a remainder: drop it evenly
        patches = patches[sorted(SystemRandom().sample(range(len(patches)), options.patches))]
    try:
        write_atomically(output, partial(patch_bank.write, patches=patches))
    except OSError as error:
        raise BankSourceError(f"{output} cannot be written: {error.strerror}.") from None
    size = f"{options.patch}x{options.patch} px"
    sys.stdout.write(f"{output} has {len(patches)} patches of {size} from {len(files)} images\n")


def _files(sources: Sequence[str]) -> list[Path]:
    """List the named files, and the images in the named folders and their subfolders, in order."""
    files: dict[Path, None] = {}
    for source in map(Path, sources):
        if source.is_dir():
            files |= dict.fromkeys(images_in(source))
        else:
            files[source] = None
    return list(files)


def _images(files: Iterable[Path], side_px: int) -> "Iterator[NDArray[np.uint8]]":
    """Decode each file, and shrink it to a shorter side of ``side_px`` if that is smaller."""
    import cv2
    import numpy as np

    from defenses import patch_bank
    from service.images.decode import decode

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
