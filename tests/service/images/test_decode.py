"""From files of every format to pixels, and the errors for files that cannot be decoded."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import (
    BadImageError,
    BadRequestError,
    ImageTooSmallError,
    ServiceError,
    TooManyPixelsError,
    UnsupportedMediaError,
)
from service.images.decode import FORMATS, decode

LIMIT = 1_000_000


def gradient(height=40, width=60):
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * y / height, 255 * x / width, 60 + 0 * x], axis=-1).astype(np.uint8)


def encoded(image, kind, **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(kind):
    pixels = gradient()
    body = encoded(Image.fromarray(pixels), kind)
    tolerance = {"JPEG": 12, "WEBP": 12, "GIF": 12, "AVIF": 12}.get(kind, 0)
    decoded = decode(body, max_pixels=LIMIT)
    assert decoded.shape == (40, 60, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - pixels).mean() <= tolerance


def test_the_first_frame_of_an_animation_is_decoded():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        body = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        red = decode(body, max_pixels=LIMIT).mean(axis=(0, 1))
        np.testing.assert_allclose(red, [255, 0, 0], atol=3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(kind, orientation):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = 255  # white in the top left
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(Image.fromarray(np.ascontiguousarray(turn(upright))), kind, exif=exif)
    decoded = decode(body, max_pixels=LIMIT)
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).mean() < 6


def test_grey_palette_and_one_bit_become_rgb():
    grey = Image.fromarray(gradient()[..., 0])
    expected = np.repeat(gradient()[..., :1], 3, axis=2)
    np.testing.assert_array_equal(decode(encoded(grey, "PNG"), max_pixels=LIMIT), expected)
    palette = grey.convert("P")
    np.testing.assert_array_equal(decode(encoded(palette, "PNG"), max_pixels=LIMIT), expected)
    bits = decode(encoded(grey.convert("1"), "PNG"), max_pixels=LIMIT)
    assert set(np.unique(bits)) == {0, 255}


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    grey = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        decoded = decode(encoded(Image.fromarray(grey), kind), max_pixels=LIMIT)
        np.testing.assert_array_equal(decoded, np.repeat((grey >> 8)[..., None], 3, axis=2))


def test_sixteen_bit_rgb_is_scaled():
    """A hand-made PNG: Pillow cannot write 16-bit RGB."""
    pixels = np.linspace(0, 65535, 16 * 16 * 3).astype(">u2").reshape(16, 16, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    decoded = decode(png(16, 16, 16, 2, zlib.compress(rows)), max_pixels=LIMIT)
    assert np.abs(decoded.astype(int) - (pixels >> 8)).max() <= 1


def test_transparent_pixels_lie_on_white():
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 8, 16))
    for kind in ("PNG", "TIFF"):
        decoded = decode(encoded(image, kind), max_pixels=LIMIT)
        assert decoded[0, 0].tolist() == [0, 0, 255]
        assert decoded[0, 15].tolist() == [255, 255, 255]
    grey = Image.new("LA", (16, 16), (0, 128))
    np.testing.assert_allclose(decode(encoded(grey, "PNG"), max_pixels=LIMIT), 127, atol=1)


def test_cmyk_becomes_rgb():
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for kind in ("JPEG", "TIFF"):
        decoded = decode(encoded(cyan, kind), max_pixels=LIMIT).mean(axis=(0, 1))
        np.testing.assert_allclose(decoded, [0, 255, 255], atol=4)


def test_a_large_jpeg_is_decoded_at_reduced_scale():
    large = Image.fromarray(gradient(1600, 2400))
    body = encoded(large, "JPEG")
    reduced = decode(body, max_pixels=5_000_000, reduce_to_px=342)
    assert reduced.shape == (400, 600, 3)
    whole = decode(body, max_pixels=5_000_000)
    assert whole.shape == (1600, 2400, 3)
    assert np.abs(whole[2::4, 2::4].astype(int) - reduced).mean() < 3
    assert decode(body, max_pixels=5_000_000, reduce_to_px=1700).shape == (1600, 2400, 3)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits, colour, data):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (10, 2**30), (1001, 1000)])
def test_too_many_pixels_are_refused_by_the_header(width, height):
    """Decoding would raise BadImageError."""
    bomb = png(width, height, 8, 2, b"not even compressed data")
    with pytest.raises(TooManyPixelsError, match=f"{width} x {height} pixels; .* at most 1000000"):
        decode(bomb, max_pixels=LIMIT)


def test_a_side_below_eight_pixels_is_refused():
    body = encoded(Image.new("RGB", (7, 100)), "PNG")
    with pytest.raises(ImageTooSmallError, match="7 x 100 pixels; each side needs at least 8"):
        decode(body, max_pixels=LIMIT)


def test_an_empty_body_is_refused():
    with pytest.raises(BadRequestError, match="empty"):
        decode(b"", max_pixels=LIMIT)


@pytest.mark.parametrize("body", [b"{}", b"<svg></svg>", b"%PDF-1.7", b"\0" * 100, b"RIFF0000WAVE"])
def test_a_body_that_is_not_an_image_is_an_unsupported_medium(body):
    with pytest.raises(UnsupportedMediaError, match="JPEG, PNG, WEBP, BMP, TIFF, GIF"):
        decode(body, max_pixels=LIMIT)


def test_floating_point_pixels_are_unsupported():
    body = encoded(Image.fromarray(np.ones((16, 16), np.float32)), "TIFF")
    with pytest.raises(UnsupportedMediaError, match="Floating-point"):
        decode(body, max_pixels=LIMIT)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_short_is_a_bad_image(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    body = encoded(Image.fromarray(noise), kind)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises((BadImageError, ImageTooSmallError)):
            decode(body[: int(len(body) * share)], max_pixels=LIMIT)


SAMPLES = [encoded(Image.fromarray(gradient(16, 24)), kind) for kind in FORMATS]


@settings(max_examples=400)
@given(
    body=st.sampled_from(SAMPLES),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=12),
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow warns of odd EXIF and TIFF tags
def test_a_corrupted_file_gives_an_image_or_one_of_our_errors(body, changes):
    corrupted = bytearray(body)
    for position, value in changes:
        corrupted[position % len(corrupted)] = value
    try:
        decoded = decode(bytes(corrupted), max_pixels=LIMIT)
    except ServiceError:
        return
    assert decoded.dtype == np.uint8
    assert decoded.shape[2] == 3
    assert decoded.shape[0] * decoded.shape[1] <= LIMIT
