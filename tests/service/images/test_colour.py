"""Colours of other spaces than sRGB, compared with what the formulas say."""

import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageCms

from service.errors import ServiceError
from service.images import isolated

SRGB = np.array([(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)])
DISPLAY_P3 = np.array(
    [(0.5151, 0.2412, -0.0011), (0.292, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)]
)
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
LINEAR = (1.0, 1.0, 0.0, 1.0, 0.0)


def fixed(*values):
    return struct.pack(f">{len(values)}i", *(round(65536 * value) for value in values))


def profile(colorants=SRGB, curve=SRGB_CURVE, space=b"RGB ", size=0):
    """An ICC profile of three colorants and a curve, or of a curve alone."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249)}
    formula = b"para\0\0\0\0\0\3\0\0" + fixed(*curve)
    if space == b"GRAY":
        tags[b"kTRC"] = formula
    else:
        for name, colorant in zip(b"rgb", colorants, strict=True):
            tags[b"%cXYZ" % name] = b"XYZ \0\0\0\0" + fixed(*colorant)
            tags[b"%cTRC" % name] = formula
    text = b"text\0\0\0\0a profile\0"
    tags |= {b"desc": text, b"cprt": text.ljust(size, b"\0")}
    place = 128 + 4 + 12 * len(tags)
    table, contents = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(contents), len(content))
        contents += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", place + len(contents), b"lcms", 0x04300000, b"mntr", space, b"XYZ "
    )
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + table + contents


def to_light(values):
    v = np.asarray(values) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def from_light(light):
    light = np.clip(light, 0, 1)
    v = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * v)


def saved(files, pixels, kind, icc):
    if kind == "PNG":
        return files.png(pixels, before=files.chunk(b"iCCP", b"p\0\0" + zlib.compress(icc)))
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    options["AVIF"] = {"quality": 100, "subsampling": "4:4:4"}
    return files.saved(pixels, kind, icc_profile=icc, **options.get(kind, {}))


KINDS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_profile_of_exchanged_channels_exchanges_them_back(files, read, kind):
    pixels = files.photograph()
    body = saved(files, pixels[..., [1, 2, 0]], kind, profile(SRGB[[1, 2, 0]]))
    assert np.abs(read(body) - pixels).mean() < 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_linear_light_and_a_wider_space_are_converted(files, read, kind):
    pixels = files.photograph()
    body = saved(files, pixels, kind, profile(curve=LINEAR))
    assert np.abs(read(body) - from_light(pixels / 255)).mean() < 1.5
    body = saved(files, pixels, kind, profile(DISPLAY_P3))
    expected = from_light(to_light(pixels) @ DISPLAY_P3 @ np.linalg.inv(SRGB))
    assert np.abs(expected - pixels).mean() > 3
    assert np.abs(read(body) - expected).mean() < 1.5


@pytest.mark.parametrize(
    "icc",
    [
        profile(),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        profile(curve=(2.2, 1.0, 0.0, 1 / 12.92, 0.04045)),
        b"garbage",
        bytes(1000),
        profile()[:300],
        profile(space=b"GRAY"),
        profile(space=b"CMYK"),
        profile(curve=LINEAR)[:16] + b"Lab " + profile(curve=LINEAR)[20:],
    ],
)
def test_a_profile_that_is_near_or_not_usable_changes_nothing(files, read, icc):
    pixels = files.photograph()
    body = files.png(pixels, before=files.chunk(b"iCCP", b"p\0\0" + zlib.compress(icc)))
    np.testing.assert_array_equal(read(body), pixels)


def test_a_profile_in_many_segments_is_put_together(files, read):
    icc = profile(curve=LINEAR, size=100_000)
    jpeg = files.saved(files.photograph(), "JPEG", quality=100, subsampling=0)
    parts = [icc[i : i + 30_000] for i in range(0, len(icc), 30_000)]
    segments = [
        files.segment(0xE2, b"ICC_PROFILE\0%c%c" % (number, len(parts)) + part)
        for number, part in enumerate(parts, 1)
    ]
    expected = from_light(files.photograph() / 255)
    body = files.after_soi(jpeg, *segments[::-1])
    assert np.abs(read(body) - expected).mean() < 1.5
    missing = files.after_soi(jpeg, *segments[1:])
    np.testing.assert_array_equal(read(missing), read(jpeg))
    isolated.close()


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_a_profile_of_grey_is_used_for_grey(files, read, mode):
    grey = Image.fromarray(files.photograph()[..., 1])
    image = grey if mode == "L" else grey.convert(mode)
    body = files.saved(image, "PNG", icc_profile=profile(curve=LINEAR, space=b"GRAY"))
    expected = from_light(np.asarray(image.convert("L")) / 255)[..., None]
    assert np.abs(read(body) - expected).mean() < 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_colours_are_converted_before_they_are_laid_on_white(files, read, kind):
    pixels = files.photograph()
    image = Image.fromarray(pixels)
    image.putalpha(128)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    body = files.saved(image, kind, icc_profile=profile(curve=LINEAR), **options)
    expected = (from_light(pixels / 255) * 128 + 255 * 127) / 255
    assert np.abs(read(body) - expected).mean() < 1


def test_a_palette_is_converted_too(files, read):
    indices = np.arange(256).reshape(16, 16) % 3
    palette = [200, 100, 0, 0, 200, 50, 0, 0, 200]
    chunk = files.chunk(b"iCCP", b"p\0\0" + zlib.compress(profile(curve=LINEAR)))
    body = files.png(indices, palette=palette, before=chunk)
    expected = from_light(np.array(palette).reshape(3, 3) / 255)[indices]
    np.testing.assert_allclose(read(body), expected, atol=1)


def gamma(files, value):
    return files.chunk(b"gAMA", round(100_000 * value).to_bytes(4))


@pytest.mark.parametrize("value", [1.0, 1 / 1.8, 0.3])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_gamma_of_a_png_is_applied(files, read, value, channels):
    samples = np.dstack((files.photograph(), np.full((60, 80), 128, np.uint8)))[..., :channels]
    body = files.png(samples.squeeze(), before=gamma(files, value))
    expected = from_light((samples[..., :3] / 255) ** (1 / value))
    expected = (expected * 128 + 255 * 127) / 255 if channels == 4 else expected
    np.testing.assert_allclose(read(body), np.broadcast_to(expected, (60, 80, 3)), atol=1)


@pytest.mark.parametrize("value", [1 / 2.2, 0.45, 0, 0.0001, 40_000])
def test_a_gamma_near_that_of_srgb_or_an_impossible_one_changes_nothing(files, read, value):
    pixels = files.photograph()
    np.testing.assert_array_equal(read(files.png(pixels, before=gamma(files, value))), pixels)


@pytest.mark.parametrize(
    "name_and_content",
    [(b"sRGB", b"\0"), (b"cICP", b"\1\x0d\0\1"), (b"iCCP", b"p\0\0" + zlib.compress(profile()))],
)
def test_other_descriptions_of_the_colours_come_before_gamma(files, read, name_and_content):
    pixels = files.photograph()
    before = gamma(files, 1.0) + files.chunk(*name_and_content)
    np.testing.assert_array_equal(read(files.png(pixels, before=before)), pixels)


# The log


def test_no_metadata_reaches_the_log_or_the_standard_error(files, read, capfd, caplog, recwarn):
    lying = [struct.pack("<HHII", tag, 2, 1_000_000 + tag, 8) for tag in range(1000, 3000)]
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", len(lying)) + b"".join(lying) + bytes(4)
    pixels = files.photograph()
    jpeg = files.saved(pixels, "JPEG")
    index = b"II*\0\x08\0\0\0\1\0\0\xb0\7\0\4\0\0\0" + b"0100"
    bodies = [
        files.png(pixels, before=files.chunk(b"eXIf", exif)),
        files.after_soi(jpeg, files.segment(0xE1, b"Exif\0\0" + exif)),
        files.after_soi(jpeg, files.segment(0xE2, b"MPF\0" + index)),
        files.tiff(pixels, tags=[(40_000, [7] * 3), (305, [1] * 9), (282, [1, 2, 3])]),
        files.tiff(pixels, tags=[(259, 8)])[:-40],
        files.saved(pixels, "TIFF", compression="jpeg")[:-20],
    ]
    for body in bodies:
        with suppress(ServiceError):
            read(body)
    assert capfd.readouterr().err == ""
    assert caplog.text == ""
    assert not list(recwarn)
