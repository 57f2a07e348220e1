"""The coverage-guided targets: ``python -m fuzz.targets image|oip CORPUS [libFuzzer options]``.

For any bytes, a target may raise only a :class:`ServiceError` of status 4xx.
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
    pixels = decode_image(data, max_pixels=MAX_PIXELS, reduce_to_px=64)
    height, width, channels = pixels.shape
    if channels != 3 or height * width > MAX_PIXELS:
        raise AssertionError(f"the decoded image has the shape {pixels.shape}")


def oip(data: bytes) -> None:
    """Read an inference request; a first line ``H…`` has the value of the length header."""
    line, newline, body = data.partition(b"\n")
    if newline and line.startswith(b"H"):
        header_length: str | None = line[1:].decode("latin-1")
    else:
        header_length, body = None, data
    limits = RequestLimits(images=8, pixels=MAX_PIXELS)
    inference = codec.decode(body, header_length, outputs=OUTPUTS, limits=limits)
    if not 1 <= len(inference.images.sources) <= limits.images:
        raise AssertionError(f"the request has {len(inference.images.sources)} images")


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
