"""The walk over a file's records: what it hands on, what it leaves out, and what it costs."""

import struct
import time
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from service.errors import (
    BadImageError,
    ImageTooSmallError,
    ServiceError,
    TooManyPixelsError,
    UnsupportedMediaError,
)
from service.images.containers import FORMATS, walk
from service.images.decode import decode
from service.images.limits import Limits

LIMITS = Limits(max_pixels=25_000_000, min_side_px=8)
MEGABYTE = 1 << 20
XMP = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>"


def turned(pixels):
    """As it is stored where the orientation is 6."""
    return np.ascontiguousarray(np.rot90(pixels, 1))


# Metadata is left out, and never decides whether pixels can be read.


def test_no_metadata_of_a_jpeg_is_handed_on(files, read):
    body = files.saved(files.photograph(), "JPEG", quality=95)
    plain = read(body)
    secret = b"secret " * 9000
    segments = [files.segment(0xE0 + i % 16, b"Exif\0\0" * (i % 2) + secret) for i in range(300)]
    more = files.after_soi(body, *segments, files.segment(0xFE, secret))
    assert b"secret" not in walk(more, LIMITS).file
    np.testing.assert_array_equal(read(more), plain)


def test_no_metadata_of_a_png_is_handed_on(files, read):
    pixels = files.photograph()
    large = zlib.compress(bytes(5 * MEGABYTE))
    noise = [
        files.chunk(b"iTXt", b"secret\0\1\0\0\0" + large),
        files.chunk(b"zTXt", b"secret\0\0" + large),
        files.chunk(b"tEXt", b"secret\0" + bytes(MEGABYTE)),
        files.chunk(b"iCCP", b"secret\0\0" + large),
        files.chunk(b"iCCP", b"secret, without its end"),
        files.chunk(b"prVt", b"secret"),
        files.chunk(b"acTL", b"\xff" * 8),
        files.chunk(b"fcTL", b"secret"),
    ]
    body = files.png(pixels, before=b"".join(noise), after=b"".join(noise))
    assert b"secret" not in walk(body, LIMITS).file
    np.testing.assert_array_equal(read(body), pixels)


@pytest.mark.parametrize("name", [b"pHYs", b"iCCP", b"tEXt", b"gAMA", b"cHRM", b"eXIf", b"tIME"])
def test_a_wrong_checksum_outside_the_pixels_changes_nothing(files, read, name):
    pixels = files.photograph()
    chunk = files.chunk(name, b"what it is\0\0", checksum=12345)
    np.testing.assert_array_equal(read(files.png(pixels, before=chunk)), pixels)


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE"])
def test_a_wrong_checksum_of_the_header_or_the_palette_is_named(files, name):
    body = bytearray(files.png(np.zeros((16, 16), int), palette=[1, 2, 3]))
    size = int.from_bytes(body[body.index(name) - 4 : body.index(name)])
    body[body.index(name) + 4 + size] ^= 1
    with pytest.raises(BadImageError, match=f"checksum of its chunk {name.decode()} is wrong"):
        decode(bytes(body), max_pixels=1000)


def test_image_data_in_many_chunks_and_broken_chunks_behind_it_are_read(files, read):
    pixels = files.photograph()
    body = files.png(pixels)
    at = body.index(b"IDAT") - 4
    size = int.from_bytes(body[at : at + 4])
    data = body[at + 8 : at + 8 + size]
    small = b"".join(files.chunk(b"IDAT", data[i : i + 1], 0) for i in range(size))
    for end in (b"", b"\xff\xff\xff\xfftEXt", files.chunk(b"IDAT", b"more")[:9], b"\0" * 50):
        np.testing.assert_array_equal(read(body[:at] + small + end), pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        b"garbage",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff" + b"\x12\1" * 4000,
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0",
        b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x09\0\0",
        b"II*\0\x08\0\0\0\1\0\x12\1\4\0\1\0\0\0\6\0\0\0",
        b"II*\0\x08\0\0\0\1\0\x12\1\3\0\2\0\0\0\6\0\6\0",
    ],
)
def test_an_exif_block_that_is_not_readable_leaves_the_image_upright(files, read, kind, exif):
    pixels = files.photograph()
    if kind == "PNG":
        body = files.png(pixels, before=files.chunk(b"eXIf", exif))
    elif kind == "JPEG":
        jpeg = files.saved(pixels, kind, quality=95)
        body = files.after_soi(jpeg, files.segment(0xE1, b"Exif\0\0" + exif))
    else:
        still = files.saved(pixels, kind, lossless=True)
        extended = b"\x08\0\0\0" + b"".join((side - 1).to_bytes(3, "little") for side in (80, 60))
        # Libraries write the block with and without the prefix, but none writes it twice.
        exif = b"Exif\0\0" + exif
        body = files.riff((b"VP8X", extended), (b"VP8L", still[20:]), (b"EXIF", exif))
    assert np.abs(read(body) - pixels).mean() < 3


@pytest.mark.parametrize("order", "<>")
def test_an_orientation_among_impossible_tags_is_applied(files, read, order):
    """Phones write resolutions below zero, and texts that are fractions."""
    pixels = files.photograph()
    head = b"II*\0" if order == "<" else b"MM\0*"
    entries = [
        struct.pack(f"{order}HHII", 0x11A, 10, 1, 62),
        struct.pack(f"{order}HHII", 0x131, 5, 1, 62),
        struct.pack(f"{order}HHIHH", 0x112, 3, 1, 6, 0),
        struct.pack(f"{order}HHII", 0x8769, 4, 1, 0xFFFFFFF0),
    ]
    exif = head + struct.pack(f"{order}IH", 8, 4) + b"".join(entries) + bytes(4)
    exif += struct.pack(f"{order}iI", -1, 0)
    body = files.png(turned(pixels), before=files.chunk(b"eXIf", exif))
    np.testing.assert_array_equal(read(body), pixels)
    jpeg = files.saved(turned(pixels), "JPEG", quality=95)
    body = files.after_soi(jpeg, files.segment(0xE1, b"Exif\0\0" + exif))
    assert np.abs(read(body) - pixels).mean() < 3


def test_an_orientation_outside_exif_or_behind_the_pixels_is_ignored(files, read):
    pixels = files.photograph()
    jpeg = files.saved(pixels, "JPEG", quality=95)
    np.testing.assert_array_equal(read(files.after_soi(jpeg, files.segment(0xE1, XMP))), read(jpeg))
    chunks = files.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    chunks += files.chunk(
        b"tEXt", b"Raw profile type exif\0\nexif\n 26\n" + files.exif(6).hex().encode()
    )
    behind = files.chunk(b"eXIf", files.exif(6))
    np.testing.assert_array_equal(read(files.png(pixels, before=chunks, after=behind)), pixels)
    still = files.saved(pixels, "WEBP", lossless=True)
    extended = b"\x04\0\0\0" + b"".join((side - 1).to_bytes(3, "little") for side in (80, 60))
    body = files.riff((b"VP8X", extended), (b"VP8L", still[20:]), (b"XMP ", XMP))
    np.testing.assert_array_equal(read(body), pixels)


def test_the_metadata_of_an_avif_is_left_out(files, read):
    pixels = files.photograph()
    exif = Image.Exif()
    exif[0x10E] = "a description"
    body = files.saved(pixels, "AVIF", quality=95, exif=exif, xmp=XMP)
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    assert block in body
    body = body.replace(block, b"?" * len(block))
    file = walk(body, LIMITS).file
    assert len(file) == len(body)
    assert not {b"ExifExif", b"mimeXMP"} & {file[i : i + 8] for i in range(file.index(b"mdat"))}
    assert np.abs(read(body) - pixels).mean() < 3


def test_a_wrong_length_of_a_webp_file_changes_nothing(files, read):
    body = files.saved(files.photograph(), "WEBP", lossless=True)
    for size in (0, len(body) - 7, 0xFFFFFFFF):
        changed = body[:4] + struct.pack("<I", size) + body[8:]
        np.testing.assert_array_equal(read(changed), files.photograph())


def test_short_application_segments_of_a_jpeg_change_nothing(files, read):
    jpeg = files.saved(files.photograph(), "JPEG")
    for marker, content in ((0xE0, b"JFIF\0\1"), (0xEE, b"Adobe"), (0xE2, b"ICC_PROFILE\0")):
        changed = files.after_soi(jpeg, files.segment(marker, content))
        np.testing.assert_array_equal(read(changed), read(jpeg))


def test_two_headers_that_differ_in_size_are_refused(files):
    still = files.saved(files.photograph(), "WEBP", lossless=True)
    extended = bytes(4) + (99).to_bytes(3, "little") * 2
    body = files.riff((b"VP8X", extended), (b"VP8L", still[20:]))
    with pytest.raises(BadImageError, match="differ in size"):
        decode(body, max_pixels=25_000_000)


# What a walk costs


def many(record, size=32 * MEGABYTE):
    return record * (size // len(record))


def tiles(width, height, side, count):
    """A TIFF of as many tiles, all of them in the same place."""
    place = 8 + 1024
    numbers = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (277, 1)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in numbers]
    entries += [struct.pack("<HHII", tag, 4, 1, side) for tag in (322, 323)]
    entries += [struct.pack("<HHII", 324, 4, count, place)]
    entries += [struct.pack("<HHII", 325, 4, count, place + 4 * count)]
    table = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    head = b"II*\0" + struct.pack("<I", place + 8 * count) + bytes(1024)
    return head + struct.pack("<I", 8) * count + struct.pack("<I", side * side) * count + table


def jpeg_with(records, behind_scan=False):
    def make(files):
        jpeg = files.saved(files.photograph(), "JPEG")
        return jpeg[:-2] + records + jpeg[-2:] if behind_scan else files.after_soi(jpeg, records)

    return make


def png_with(records):
    return lambda files: files.png(files.photograph(), before=records)


def gif_with(records):
    frame = np.zeros((20, 20), np.uint8)
    return lambda files: files.gif(frame, screen=(20, 20), before=records)


def webp_with(records):
    def make(files):
        still = files.saved(files.photograph(), "WEBP", lossless=True)
        return still[:12] + records + still[12:]

    return make


QUANTISATION = b"\xff\xdb" + struct.pack(">H", 2 + 1000 * 65) + (b"\0" + b"\1" * 64) * 1000
EMPTY_TABLE = b"\xff\xc4\0\x13\0" + bytes(16)
PAGE = b"\x01\x01" + b"\4\0" + struct.pack("<II", 250_000, 8)
HOSTILE = {
    "JPEG, empty segments": jpeg_with(many(b"\xff\xe9\0\2")),
    "JPEG, empty comments": jpeg_with(many(b"\xff\xfe\0\2")),
    "JPEG, segments of 64 KB": jpeg_with(many(b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65527))),
    "JPEG, fill bytes": jpeg_with(many(b"\xff")),
    "JPEG, some fill bytes each": jpeg_with(many(b"\xff" * 4000 + b"\xe9\0\2")),
    "JPEG, escaped bytes": jpeg_with(many(b"\xff\0")),
    "JPEG, zeros": jpeg_with(b"\xff\xe9\0\2" + bytes(32 * MEGABYTE)),
    "JPEG, quantisation": jpeg_with(many(QUANTISATION)),
    "JPEG, Huffman tables": jpeg_with(many(EMPTY_TABLE)),
    "JPEG, frames": jpeg_with(many(b"\xff\xc0\0\x0b\x08\0\x10\0\x10\1\1\x11\0")),
    "JPEG, only fill bytes": lambda _: b"\xff\xd8" + many(b"\xff"),
    "JPEG, restarts in the scan": jpeg_with(many(b"\xff\xd0"), behind_scan=True),
    "JPEG, tables behind the scan": jpeg_with(many(EMPTY_TABLE), behind_scan=True),
    "PNG, empty chunks": png_with(many(struct.pack(">I4sI", 0, b"prVt", 0))),
    "PNG, empty image data": png_with(many(struct.pack(">I4sI", 0, b"IDAT", 0))),
    "PNG, empty profiles": png_with(many(struct.pack(">I4sI", 0, b"iCCP", 0))),
    "GIF, comments of one byte": gif_with(b"!\xfe" + many(b"\1a") + b"\0"),
    "GIF, empty comments": gif_with(many(b"!\xfe\0")),
    "GIF, between blocks": gif_with(many(b"a")),
    "WebP, empty chunks": webp_with(many(b"abcd\0\0\0\0")),
    "WebP, frames": webp_with(b"VP8X\x0a\0\0\0" + bytes(10) + many(b"ANMF\0\0\0\0")),
    "TIFF, tiles of 1x1": lambda _: tiles(1000, 1000, 1, 1_000_000),
    "TIFF, tiles in one place": lambda _: tiles(5000, 5000, 16, 98_000),
    "TIFF, large tags": lambda _: b"II*\0\x08\0\0\0\xff\xff" + PAGE * 65_535 + bytes(2 * MEGABYTE),
    "TIFF, 2^60 tags": lambda _: b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1 << 60),
    "AVIF, empty boxes": lambda _: b"\0\0\0\x10ftypavif\0\0\0\0" + many(b"\0\0\0\x08free"),
    "AVIF, items": lambda _: (
        b"\0\0\0\x10ftypavif\0\0\0\0\0\x3f\0\0meta" + many(b"infe\2\0\0\0\0\0\0\0Exif", 4_000_000)
    ),
    "AVIF, sizes": lambda _: (
        b"\0\0\0\x10ftypavif\0\0\0\0\0\x3f\0\0meta"
        + many(struct.pack(">I4sIII", 20, b"ispe", 0, 20, 20), 4_000_000)
    ),
    "BMP, colours": lambda _: (
        b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 8, 0, 0, 0, 0, 1 << 30, 0)
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_records_by_the_million_cost_milliseconds_and_little_memory(files, name):
    body = HOSTILE[name](files)

    def cpu_s():
        started = time.thread_time()
        with suppress(BadImageError, UnsupportedMediaError):
            assert len(walk(body, LIMITS).file) < len(body) + MEGABYTE
        return time.thread_time() - started

    assert any(cpu_s() < 0.5 for _ in range(5))  # other processes can only lengthen it

    tracemalloc.start()
    with suppress(ServiceError):
        walk(body, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(body) + 64 * MEGABYTE


@pytest.mark.parametrize("name", ["AVIF, items", "AVIF, sizes"])
def test_an_avif_of_thousands_of_images_is_refused(name):
    with pytest.raises(BadImageError, match="describes more than 1000 images"):
        walk(HOSTILE[name](None), LIMITS)


@pytest.mark.parametrize("kind", FORMATS)
def test_sizes_outside_the_limits_are_refused_by_the_walk(files, kind):
    body = files.saved(files.photograph(60, 80), kind)
    walk(body, Limits(4800, 60))
    with pytest.raises(TooManyPixelsError, match=r"80 x 60 pixels.* at most 4799"):
        walk(body, Limits(4799, 8))
    with pytest.raises(ImageTooSmallError, match="80 x 60 pixels; each side needs at least 61"):
        walk(body, Limits(4800, 61))


def test_many_segments_as_cameras_write_them_are_read(files, read):
    jpeg = files.saved(files.photograph(), "JPEG")
    segments = [files.segment(0xE1, XMP + bytes(60_000))] * 400
    np.testing.assert_array_equal(read(files.after_soi(jpeg, *segments)), read(jpeg))
    np.testing.assert_array_equal(read(jpeg + jpeg), read(jpeg))
    comments = b"!\xfe" + (b"\xff" + bytes(255)) * 30_000 + b"\0"
    frame = np.zeros((20, 20), np.uint8)
    plain = files.gif(frame, screen=(20, 20))
    commented = files.gif(frame, screen=(20, 20), before=comments)
    np.testing.assert_array_equal(read(commented), read(plain))


@pytest.mark.parametrize(
    ("start", "seen"),
    [
        (b"\x1f\x8b\x08", "gzip"),
        (b"data:image/png;base64,", "data URL"),
        (b"iVBORw0KGgoAAAANSUhEUg", "base64"),
        (b"/9j/4AAQSkZJRg", "base64"),
        (b"\xff\x0a\xfa", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_another_kind_of_file_is_named(start, seen):
    with pytest.raises(ServiceError, match=f"this is .*{seen}") as caught:
        decode(start + bytes(100), max_pixels=1000)
    assert caught.value.status == 415
