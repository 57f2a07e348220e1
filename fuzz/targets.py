"""The coverage-guided targets: ``python -m fuzz.targets image|oip CORPUS [libFuzzer options]``.

Only a :class:`ServiceError` of status 4xx may come out, whatever the bytes.
"""

import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["service", "PIL"]):
    from service.errors import ServiceError
    from service.images.decode import decode as decode_image
    from service.oip import codec
    from service.oip.tensors import RequestLimits

MAX_PIXELS = 100_000
OUTPUTS = ("probabilities", "logits")


def image(data: bytes) -> None:
    """Decode an image file."""
    pixels = decode_image(data, max_pixels=MAX_PIXELS, enough_px=64)
    height, width, channels = pixels.shape
    if channels != 3 or height * width > MAX_PIXELS:
        raise AssertionError(f"an image of {pixels.shape} came out")


def oip(data: bytes) -> None:
    """Read an inference request; a first line ``H…`` is the header's value."""
    line, newline, body = data.partition(b"\n")
    if newline and line.startswith(b"H"):
        header_length: str | None = line[1:].decode("latin-1")
    else:
        header_length, body = None, data
    limits = RequestLimits(images=8, pixels=MAX_PIXELS)
    inference = codec.decode(body, header_length, outputs=OUTPUTS, limits=limits)
    if not 1 <= len(inference.images.sources) <= limits.images:
        raise AssertionError("a request without images, or with too many, came out")


TARGETS: dict[str, Callable[[bytes], None]] = {"image": image, "oip": oip}


def main() -> None:
    """Fuzz one target."""
    name = sys.argv.pop(1)
    target = TARGETS[name]

    def one(data: bytes) -> None:
        try:
            target(data)
        except ServiceError as error:
            if not 400 <= error.status < 500:
                raise

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
