"""Image files that are small, or have few pixels, and ask for much work or memory."""

import struct
import zlib
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

MOST_BYTES = 31 << 20
"""Just below the default of ``--max-body-bytes``."""
LARGE_PX = 5000
"""The side of the largest square that ``--max-pixels`` allows by default."""


def saved(kind: str, side_px: int = 64, mode: str = "RGB", **options: object) -> bytes:
    """Write a flat image with Pillow."""
    buffer = BytesIO()
    Image.new(mode, (side_px, side_px), 90).save(buffer, kind, **options)
    return buffer.getvalue()


def filled(unit: bytes, most_bytes: int = MOST_BYTES) -> bytes:
    """Repeat a record until it fills a body."""
    return unit * (most_bytes // len(unit))


# JPEG


def jpeg_with(records: bytes, side_px: int = 64) -> bytes:
    """A whole JPEG with further segments behind its first two bytes."""
    body = saved("JPEG", side_px)
    return body[:2] + records + body[2:]


def segment(marker: int, content: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg_icc() -> bytes:
    """An ICC profile of 255 parts, again and again."""
    parts = (segment(0xE2, b"ICC_PROFILE\0%c\xff" % number + bytes(400)) for number in range(256))
    return jpeg_with(filled(b"".join(parts)))


def jpeg_scans() -> bytes:
    """A progressive JPEG of 25 megapixels with a thousand scans of nothing."""
    body = saved("JPEG", LARGE_PX, progressive=True)
    start = body.rindex(b"\xff\xda")
    return body[:-2] + body[start:-2] * 1000 + body[-2:]


def jpeg_without_data() -> bytes:
    """A header of 25 megapixels, and no image data."""
    body = bytearray(saved("JPEG"))
    struct.pack_into(">HH", body, body.index(b"\xff\xc0") + 5, LARGE_PX, LARGE_PX)
    return bytes(body)


# PNG


def chunk(name: bytes, content: bytes = b"") -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I4s", len(content), name) + content + struct.pack(">I", checksum)


def png_with(chunks: bytes, behind: bytes = b"") -> bytes:
    """A whole PNG with further chunks before or behind its image data."""
    body = saved("PNG")
    start, end = body.index(b"IDAT") - 4, body.index(b"IEND") - 4
    return body[:start] + chunks + body[start:end] + behind + body[end:]


def png_zeros(bits: int, colour: int, interlace: int = 0, side_px: int = LARGE_PX) -> bytes:
    """A black PNG of 25 megapixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    steps = (*passes, (0, 1, 1, 2)) if interlace else ((0, 0, 1, 1),)
    pack = zlib.compressobj(9)
    data = b""
    for left, top, across, down in steps:
        columns, rows = -(-(side_px - left) // across), -(-(side_px - top) // down)
        line = bytes(1 + -(-columns * channels * bits // 8))
        data += b"".join(pack.compress(line * 50) for _ in range(rows // 50))
        data += pack.compress(line * (rows % 50))
    header = struct.pack(">IIBBBBB", side_px, side_px, bits, colour, 0, 0, interlace)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", data + pack.flush()),
            chunk(b"IEND"),
        )
    )


def png_tiny_data() -> bytes:
    """Image data of one byte a chunk."""
    body = png_zeros(8, 2, side_px=900)
    start, end = body.index(b"IDAT") + 4, body.index(b"IEND") - 8
    data = body[start:end]
    parts = b"".join(chunk(b"IDAT", bytes((byte,))) for byte in data)
    return body[: start - 8] + parts + filled(chunk(b"IDAT")) + body[end + 4 :]


def deflated_zeros(megabytes: int) -> bytes:
    pack = zlib.compressobj(9)
    return b"".join(pack.compress(bytes(1 << 20)) for _ in range(megabytes)) + pack.flush()


def png_profile(lies: bool) -> bytes:
    """An ICC profile of 256 MB of zeros, or one of tables that changes the colours."""
    if lies:
        return png_with(chunk(b"iCCP", b"a\0\0" + deflated_zeros(256)))
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    return png_with(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(profile) + bytes(4 << 20))))


def lying_exif(tags: int = 2000) -> bytes:
    """A PNG whose EXIF has tags that claim more bytes than there are, each its own number."""
    entries = b"".join(struct.pack("<HHII", n, 2, 500_000 + n, 1 << 20) for n in range(tags))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", tags) + entries + bytes(4)
    return png_with(chunk(b"eXIf", exif))


# GIF


def gif_with(blocks: bytes) -> bytes:
    """A whole GIF with further blocks before its first frame."""
    body = saved("GIF", mode="L")
    start = body.index(b",", 13 + (3 << (body[10] & 7) + 1))
    return body[:start] + blocks + body[start:]


def gif_large(data: bytes = b"") -> bytes:
    """A frame of 25 megapixels, and image data of blocks of one byte."""
    side = struct.pack("<HH", LARGE_PX, LARGE_PX)
    head = b"GIF89a" + side + b"\xf7\0\0" + bytes(768) + b",\0\0\0\0" + side + b"\0\x08"
    return head + data


# TIFF


def tiff(
    width: int, height: int, tags: Mapping[int, tuple[int, bytes]], data: bytes = b"", at: int = 8
) -> bytes:
    """A little-endian TIFF. A tag is its type and its values; ``at`` is where the tags lie."""
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}
    whole = {256: (4, struct.pack("<I", width)), 257: (4, struct.pack("<I", height))} | dict(tags)
    start = 8 + len(data)
    end = start + 2 + 12 * len(whole) + 4
    entries, content = b"", b""
    for tag, (kind, values) in sorted(whole.items()):
        field = values.ljust(4, b"\0")
        if len(values) > 4:
            field = struct.pack("<I", end + len(content))
            content += values
        entries += struct.pack("<HHI", tag, kind, len(values) // sizes[kind]) + field
    head = b"II*\0" + struct.pack("<I", start if at == 8 else at)
    return head + data + struct.pack("<H", len(whole)) + entries + bytes(4) + content


def _short(*values: int) -> tuple[int, bytes]:
    return 3, struct.pack(f"<{len(values)}H", *values)


def _longs(*values: int) -> tuple[int, bytes]:
    return 4, np.array(values, "<u4").tobytes()


def _grey(compression: int = 1) -> dict[int, tuple[int, bytes]]:
    return {258: _short(8), 259: _short(compression), 262: _short(1), 277: _short(1)}


def tiff_tiny_tiles(tiles_across: int = 1900) -> bytes:
    """Tiles of one pixel."""
    tiles = tiles_across * tiles_across
    places = {324: (4, np.full(tiles, 8, "<u4").tobytes()), 325: (4, b"\1\0\0\0" * tiles)}
    sides = {322: _longs(1), 323: _longs(1)}
    return tiff(tiles_across, tiles_across, _grey() | sides | places, bytes(64))


def tiff_tiny_strips(compression: int = 1, planes: int = 1) -> bytes:
    """Strips of one row, as many as a side may have, which share their bytes."""
    strips = 65_535 * planes
    data = zlib.compress(bytes(380)) if compression == 8 else bytes(400)
    tags = _grey(compression) | {
        273: (4, np.full(strips, 8, "<u4").tobytes()),
        279: (4, np.full(strips, len(data), "<u4").tobytes()),
        278: _short(1),
    }
    if planes > 1:
        tags |= {258: _short(*[8] * 3), 262: _short(2), 277: _short(planes), 284: _short(2)}
    return tiff(380, 65_535, tags, data)


def tiff_amplified() -> bytes:
    """Sixty thousand tags that share a megabyte."""
    tags = {700 + n: (2, b"") for n in range(60_000)}
    body = bytearray(tiff(64, 64, _grey() | tags, bytes(4096)))
    start = struct.unpack_from("<I", body, 4)[0] + 2
    for n in range(len(tags) + 6):
        tag, kind = struct.unpack_from("<HH", body, start + 12 * n)
        if tag >= 700:
            struct.pack_into("<HHII", body, start + 12 * n, tag, kind, 1 << 20, 8)
    return bytes(body) + bytes(1 << 20)


def tiff_loop() -> bytes:
    """A directory that follows itself."""
    body = bytearray(tiff(64, 64, _grey() | {273: _longs(8), 279: _longs(4096)}, bytes(4096)))
    start = struct.unpack_from("<I", body, 4)[0]
    tags = struct.unpack_from("<H", body, start)[0]
    struct.pack_into("<I", body, start + 2 + 12 * tags, start)
    return bytes(body)


def bigtiff_endless() -> bytes:
    """A directory of 2^63 tags."""
    return struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 1 << 63) + bytes(1 << 20)


def tiff_bilevel_rows() -> bytes:
    """Fax rows of 65,535 pixels, in data that has no row's end."""
    tags = _grey(4) | {258: _short(1), 273: _longs(8), 279: _longs(MOST_BYTES), 278: _short(380)}
    return tiff(65_535, 380, tags, bytes(MOST_BYTES))


# BMP


def bmp_runs(codes: bytes, side_px: int = LARGE_PX) -> bytes:
    """A BMP of run-length codes."""
    header = struct.pack("<IiiHHIIiiII", 40, side_px, side_px, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + header + bytes(1024) + codes


# WebP and AVIF


def webp_chunks() -> bytes:
    """A WebP behind millions of unknown chunks."""
    body = saved("WEBP", lossless=True)
    content = b"WEBP" + filled(b"abcd\0\0\0\0") + body[12:]
    return b"RIFF" + struct.pack("<I", len(content)) + content


def webp_frames() -> bytes:
    """An animation of 25 megapixels."""
    buffer = BytesIO()
    frames = [Image.new("RGBA", (LARGE_PX, LARGE_PX), (n, 0, 0, 128)) for n in range(2)]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True, method=0)
    return buffer.getvalue()


def avif_boxes() -> bytes:
    """An AVIF behind millions of empty boxes."""
    body = saved("AVIF")
    size = int.from_bytes(body[:4])
    return body[:size] + filled(b"\0\0\0\x08free") + body[size:]


def avif_items() -> bytes:
    """An AVIF whose description has thousands of properties."""
    body = saved("AVIF")
    start = body.index(b"meta") - 4
    size = int.from_bytes(body[start : start + 4])
    more = filled(struct.pack(">I4sIII", 20, b"ispe", 0, 4000, 4000), 3 << 20)
    meta = struct.pack(">I", size + len(more)) + body[start + 4 : start + size] + more
    return body[:start] + meta + body[start + size :]


def noise(side_px: int, kind: str, **options: object) -> bytes:
    """An image that does not compress."""
    pixels = np.random.default_rng(1).integers(0, 256, (side_px, side_px, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()
