"""From the colours of an ICC profile, or of a PNG's gamma, to sRGB."""

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from service.images.containers.container import Container

_SIMPLE_PROFILE_BYTES = 16_384
_NEAR = 6  # of 255: profiles that differ less from sRGB are taken for it
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_SRGB = ImageCms.createProfile("sRGB")


def is_simple(icc: bytes) -> bool:
    """Whether a profile is of curves and a matrix; one of tables takes its own time and memory."""
    return len(icc) <= _SIMPLE_PROFILE_BYTES and icc[16:20] != b"CMYK" and b"A2B" not in icc


def to_srgb(image: Image.Image, container: Container) -> Image.Image:
    """Convert the colours, and keep transparency.

    A profile that is not readable, or is made for another kind of pixels, changes nothing: browsers
    show such images too.
    """
    if container.icc:
        build = _simple_transform if is_simple(container.icc) else _other_transform
        transform = build(container.icc, _profile_mode(image.mode))
        if transform is not None:
            return _apply(image, transform)
    elif container.gamma is not None:
        image = _without_palette(image)
        colours = _decoding_curve(container.gamma) * len(image.getbands())
        if image.mode in ("RGBA", "LA"):
            colours[-256:] = range(256)
        return image.point(colours)
    return image


def _profile_mode(mode: str) -> str:
    """Name the mode without transparency that an image of ``mode`` is converted in."""
    return {"1": "L", "LA": "L", "La": "L"}.get(mode, mode if mode in ("L", "CMYK") else "RGB")


def _without_palette(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK"):
        return image
    transparent = image.has_transparency_data
    if image.mode in ("1", "La"):
        return image.convert("LA" if transparent else "L")
    return image.convert("RGBA" if transparent else "RGB")


def _apply(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    image = _without_palette(image)
    if image.mode not in ("LA", "RGBA"):
        return transform.apply(image)
    alpha = image.getchannel("A")
    converted = transform.apply(image.convert(image.mode[:-1]))
    converted.putalpha(alpha)
    return converted


def _build(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform to sRGB; None where the profile is near to it, or cannot be used."""
    if _SPACES.get(icc[16:20]) != mode:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc))
        transform = ImageCms.buildTransform(profile, _SRGB, mode, "RGB")
        probe = _probe(mode)
        converted = np.asarray(transform.apply(probe), np.int16)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    difference = np.abs(converted - np.asarray(probe.convert("RGB"), np.int16)).max()
    return transform if difference > _NEAR else None


_simple_transform = lru_cache(maxsize=32)(_build)
_other_transform = lru_cache(maxsize=2)(_build)


def _probe(mode: str) -> Image.Image:
    """Make an image of colours from the whole space."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    channels = len(Image.getmodebands(mode) * " ")
    grid = np.stack(np.meshgrid(*[levels] * channels, indexing="ij"), axis=-1)
    return Image.frombytes(mode, (9, 9 ** (channels - 1)), grid.tobytes())


def _decoding_curve(gamma: float) -> list[int]:
    """Map 8-bit values that were coded with an exponent to those of sRGB."""
    light = (np.arange(256) / 255) ** (1 / gamma)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return [round(255 * float(value)) for value in curve]
