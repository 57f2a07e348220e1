"""``warpguard defend``."""

import argparse
from pathlib import Path

from service.cli.command import DEFENSE, AddParser, add_command


def register(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    parser = add_command(add_parser, "defend", run, DEFENSE)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG file to write")


def run(options: argparse.Namespace) -> None:
    """Defend an image file and write the result as PNG.

    For example: warpguard defend cat.jpg -o defended.png --defense fd+rand
    """
    from defenses import Pipeline
    from service.images.decode import decode
    from service.images.defend import SYSTEM_RANDOM
    from service.images.png import encode_png

    pipeline = Pipeline.parse(options.defense)
    image = decode(options.file.read_bytes(), max_pixels=10**9)
    options.output.write_bytes(encode_png(pipeline(image, SYSTEM_RANDOM)))
