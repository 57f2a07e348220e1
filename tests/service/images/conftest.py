"""Image files, built record by record."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.images.decode import decode


class Files:
    """Builders of image files from pixels, with records of one's own among theirs."""

    @staticmethod
    def photograph(height=60, width=80):
        """A smooth picture with an edge, so that wrong strips, signs and scales are far from it."""
        y, x = np.mgrid[:height, :width]
        pixels = np.stack([255 * y / height, 255 * x / width, 255 * (x + y) / (height + width)], -1)
        pixels[10:20, 30:60] = (250, 30, 120)
        return pixels.astype(np.uint8)

    @staticmethod
    def saved(image, kind, **options):
        buffer = BytesIO()
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    @staticmethod
    def exif(orientation, kind=3, count=1, order="<"):
        head = b"II*\0" if order == "<" else b"MM\0*"
        value = struct.pack(f"{order}H2x" if kind == 3 else f"{order}I", orientation)
        entry = struct.pack(f"{order}HHI", 0x112, kind, count) + value
        return head + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)

    @staticmethod
    def segment(marker, content):
        return b"\xff%c" % marker + struct.pack(">H", 2 + len(content)) + content

    @staticmethod
    def after_soi(jpeg, *segments):
        return jpeg[:2] + b"".join(segments) + jpeg[2:]

    @staticmethod
    def chunk(name, content, checksum=None):
        checksum = zlib.crc32(name + content) if checksum is None else checksum
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    @classmethod
    def png(cls, samples, bits=8, *, before=b"", after=b"", palette=None, interlace=0, level=6):
        """A PNG of ``(H, W)`` or ``(H, W, channels)`` samples of any depth."""
        height, width = samples.shape[:2]
        channels = 1 if samples.ndim == 2 else samples.shape[2]
        colour = 3 if palette is not None else {1: 0, 2: 4, 3: 2, 4: 6}[channels]
        rows = samples.reshape(height, -1)
        if bits == 16:
            packed = rows.astype(">u2").view(np.uint8)
        elif bits == 8:
            packed = rows.astype(np.uint8)
        else:
            unpacked = np.unpackbits(rows.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
            packed = np.packbits(unpacked.reshape(height, -1), axis=1)
        data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed), level)
        header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
        plte = cls.chunk(b"PLTE", bytes(palette)) if palette is not None else b""
        return b"".join(
            (
                b"\x89PNG\r\n\x1a\n",
                cls.chunk(b"IHDR", header),
                plte,
                before,
                cls.chunk(b"IDAT", data),
                after,
                cls.chunk(b"IEND", b""),
            )
        )

    @staticmethod
    def tiff(
        samples,
        *,
        bits=8,
        order="<",
        photometric=None,
        planar=1,
        tile=None,
        rows=7,
        tags=(),
        big=False,
    ):
        """A TIFF of ``(H, W, channels)`` samples, in strips or tiles, deflated or not."""
        samples = samples[..., None] if samples.ndim == 2 else samples
        height, width, channels = samples.shape
        extra = dict(tags)
        if photometric is None:
            photometric = {1: 1, 3: 2, 4: 5}[channels]
        planes = [samples] if planar == 1 else [samples[..., [i]] for i in range(channels)]
        blocks = []
        for plane in planes:
            if tile is None:
                blocks += [plane[top : top + rows] for top in range(0, height, rows)]
                continue
            down, across = tile
            padded = np.pad(plane, ((0, -height % down), (0, -width % across), (0, 0)), "edge")
            blocks += [
                padded[top : top + down, left : left + across]
                for top in range(0, height, down)
                for left in range(0, width, across)
            ]

        def packed(block):
            lines = block.reshape(len(block), -1)
            if bits in (8, 16, 32):
                return lines.astype(f"{order}u{bits // 8}").tobytes()
            shifts = np.arange(bits - 1, -1, -1)
            ones = (lines[..., None].astype(np.int64) >> shifts & 1).astype(np.uint8)
            return np.packbits(ones.reshape(len(block), -1), axis=1).tobytes()

        data = [packed(block) for block in blocks]
        if extra.get(259) == 8:
            data = [zlib.compress(each) for each in data]
        offset, offsets = 16, []
        for each in data:
            offsets.append(offset)
            offset += len(each)
        entries = {
            256: (4, [width]),
            257: (4, [height]),
            258: (3, [bits] * channels),
            259: (3, [1]),
            262: (3, [photometric]),
            277: (3, [channels]),
            284: (3, [planar]),
        }
        place = (324, 325) if tile else (273, 279)
        entries |= {place[0]: (4, offsets), place[1]: (4, [len(each) for each in data])}
        entries |= {322: (4, [tile[1]]), 323: (4, [tile[0]])} if tile else {278: (4, [rows])}
        entries |= {tag: (3, [value] if isinstance(value, int) else value) for tag, value in tags}
        size, count, field = ("Q", "Q", 8) if big else ("I", "H", 4)
        start = offset + (offset & 1)
        end = start + struct.calcsize(f"<{count}") + len(entries) * (20 if big else 12) + field
        table, contents = struct.pack(f"{order}{count}", len(entries)), b""
        for tag, (kind, values) in sorted(entries.items()):
            content = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
            place_or_value = content.ljust(field, b"\0")
            if len(content) > field:
                place_or_value = struct.pack(f"{order}{size}", end + len(contents))
                contents += content + bytes(len(content) & 1)
            table += struct.pack(f"{order}HH{size}", tag, kind, len(values)) + place_or_value
        mark = b"II" if order == "<" else b"MM"
        if big:
            head = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, start)
        else:
            head = (mark + struct.pack(f"{order}HI", 42, start)).ljust(16, b"\0")
        body = head + b"".join(data)
        return body.ljust(start, b"\0") + table + bytes(field) + contents

    @classmethod
    def gif(cls, frame, *, screen, at=(0, 0), background=0, before=b"", transparent=None):
        """A GIF whose first frame, an ``(h, w)`` array of palette indices, is a part of it."""
        image = Image.fromarray(frame).convert("L").convert("P")
        image.putdata(frame.ravel().tolist())
        image.putpalette([value for i in range(256) for value in cls.gif_colour(i)])
        whole = cls.saved(image, "GIF", optimize=False)
        start = whole.index(b",", 13 + 768)
        height, width = frame.shape
        head = (
            b"GIF89a" + struct.pack("<HHBBB", *screen, 0xF7, background, 0) + whole[13 : 13 + 768]
        )
        control = b"" if transparent is None else b"!\xf9\4\1\0\0%c\0" % transparent
        return (
            head
            + before
            + control
            + b","
            + struct.pack("<HHHH", *at, width, height)
            + whole[start + 9 :]
        )

    @staticmethod
    def gif_colour(index):
        return (index * 37 % 256, index * 91 % 256, 255 - index)

    @staticmethod
    def riff(*chunks):
        body = b"".join(
            name + struct.pack("<I", len(data)) + data + bytes(len(data) & 1)
            for name, data in chunks
        )
        return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body

    @staticmethod
    def bmp(codes, width, height, bits, palette):
        """A run-length coded BMP."""
        colours = b"".join(bytes((*colour[::-1], 0)) for colour in palette)
        offset = 54 + len(colours)
        sides = struct.pack("<IiiHHI", 40, width, height, 1, bits, {8: 1, 4: 2}[bits])
        rest = struct.pack("<IIIII", len(codes), 0, 0, len(palette), 0)
        head = b"BM" + struct.pack("<IHHI", offset + len(codes), 0, 0, offset)
        return head + sides + rest + colours + codes


@pytest.fixture(scope="session")
def files():
    return Files


@pytest.fixture(scope="session")
def read():
    """Decode a file; the pixels as integers, so that they can be subtracted."""
    return lambda body, **options: decode(body, **{"max_pixels": 25_000_000} | options).astype(int)
