"""Small files that decode to much more, and their cost to a server in a process of its own."""

import json
import os
import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

from service.errors import BadImageError, TooManyPixelsError
from service.images.decode import decode
from service.images.limits import MOST_SCANS

MEGABYTE = 1024 * 1024
LIMIT = 6_250_000
SIDE = 2500
FORM = {"content-type": "multipart/form-data; boundary=b"}


def encoded(image, kind, **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def deflated(size):
    compressor = zlib.compressobj(9)
    zeros = bytes(MEGABYTE)
    parts = [
        compressor.compress(zeros[: min(MEGABYTE, size - i)]) for i in range(0, size, MEGABYTE)
    ]
    return b"".join(parts) + compressor.flush()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, data=b"", more=b""):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def black_png(width, height):
    return png(width, height, deflated(height * (1 + 3 * width)))


def gif(screen, frame):
    screen, frame = struct.pack("<HH", *screen), struct.pack("<HHHH", 0, 0, *frame)
    return b"GIF89a" + screen + b"\x80\0\0" + bytes(6) + b"," + frame + b"\0\x02\x02\x4c\x01\0;"


def bmp(width, height):
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + header


def tiff(size, tile):
    """One grey tile, deflated."""
    data = deflated(tile[0] * tile[1])
    names = [256, 257, 258, 259, 262, 277, 322, 323, 324, 325]
    values = [*size, 8, 8, 1, 1, *tile, 8, len(data)]
    entries = [struct.pack("<HHII", n, 4, 1, v) for n, v in zip(names, values, strict=True)]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def segments(jpeg):
    """A JPEG's segments, each scan with its data."""
    position, found = 2, []
    while jpeg[position + 1] != 0xD9:
        end = position + 2 + int.from_bytes(jpeg[position + 2 : position + 4])
        if jpeg[position + 1] == 0xDA:
            while jpeg[end] != 0xFF or jpeg[end + 1] == 0:
                end += 1
        found.append(jpeg[position:end])
        position = end
    return found


def many_scans(count):
    """A progressive JPEG whose last scan is repeated."""
    parts = segments(encoded(Image.new("RGB", (SIDE, SIDE), "navy"), "JPEG", progressive=True))
    scans = sum(part[1] == 0xDA for part in parts)
    return b"\xff\xd8" + b"".join(parts) + parts[-1] * (count - scans) + b"\xff\xd9"


def large_webp():
    return encoded(Image.new("RGB", (9000, 9000)), "WEBP", lossless=True, method=0)


TEXT = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000), 9))
BOMBS = {
    "png": (lambda: png(50_000, 50_000), "too_many_pixels"),
    "png just over": (lambda: black_png(SIDE + 1, SIDE), "too_many_pixels"),
    "png, narrow": (lambda: png(8, 2**31 - 1), "too_many_pixels"),
    "png, too long": (lambda: png(8, 70_000), "too_many_pixels"),
    "png of a large text": (
        lambda: png(64, 64, more=chunk(b"zTXt", b"k\0\0" + deflated(200 * MEGABYTE))),
        "bad_image",
    ),
    "png of large texts": (lambda: png(64, 64, more=TEXT * 100), "bad_image"),
    "png of a large profile": (
        lambda: png(64, 64, more=chunk(b"iCCP", b"k\0\0" + deflated(200 * MEGABYTE))),
        "bad_image",
    ),
    "gif": (lambda: gif((65535, 65535), (65535, 65535)), "too_many_pixels"),
    "gif of a large frame": (lambda: gif((10, 10), (65535, 65535)), "too_many_pixels"),
    "bmp": (lambda: bmp(50_000, 50_000), "too_many_pixels"),
    "tiff": (lambda: tiff((50_000, 50_000), (64, 64)), "too_many_pixels"),
    "tiff of a large tile": (lambda: tiff((64, 64), (16_000, 16_000)), "too_many_pixels"),
    "tiff of high tiles": (lambda: tiff((2000, 2000), (16, 500_000)), "too_many_pixels"),
    "webp": (large_webp, "too_many_pixels"),
    "jpeg of many scans": (lambda: many_scans(2000), "bad_image"),
}


OPTIONS = ("--max-pixels", str(LIMIT), "--preprocess-threads", "1", "--deadline-ms", "600000")


@pytest.fixture(scope="module")
def server(spawn_for_all):
    return warm_up(spawn_for_all(*OPTIONS))


def processes(server):
    """The server's process and those in which it decodes, as folders of /proc."""
    children = " ".join(each.read_text() for each in server.proc.glob("task/*/children"))
    return [server.proc, *(server.proc.parent / child for child in children.split())]


def cpu_seconds(server):
    total = 0
    for process in processes(server):
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def bytes_of(server, name):
    total = 0
    for process in processes(server):
        (line,) = [line for line in (process / "status").read_text().splitlines() if name in line]
        total += 1024 * int(line.split()[1])
    return total


def cost(server, *request):
    """The answer to a request, its CPU seconds, and by how many bytes the memory grew."""
    for process in processes(server):
        (process / "clear_refs").write_text("5")  # resets the peak
    before = bytes_of(server, "VmRSS"), cpu_seconds(server)
    answer = server.ask(*request)
    return answer, cpu_seconds(server) - before[1], bytes_of(server, "VmHWM") - before[0]


def warm_up(server):
    """Have it start the process in which it decodes, which stays."""
    assert server.ask("/v1/predict", encoded(Image.new("RGB", (64, 64)), "TIFF")).status == 200
    return server


@pytest.fixture(scope="module")
def most_cpu_seconds(server):
    """The CPU seconds of the costliest accepted image: ten times those of refusing a bomb."""
    answer, seconds, _ = cost(server, "/v1/predict", many_scans(MOST_SCANS))
    assert answer.status == 200
    return seconds


@pytest.mark.parametrize("name", BOMBS)
def test_refusing_a_bomb_costs_less_than_an_image(server, most_cpu_seconds, name):
    make, expected = BOMBS[name]
    body = make()
    assert len(body) < 600_000
    answer, seconds, more = cost(server, "/v1/predict", body)
    assert json.loads(answer.content)["error"]["code"] == expected
    assert seconds < most_cpu_seconds
    assert more < 50 * MEGABYTE


def test_refusing_a_form_of_bombs_costs_less_than_an_image(server, most_cpu_seconds):
    part = b'--b\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n'
    body = (part + png(50_000, 50_000) + b"\r\n") * 32 + b"--b--\r\n"
    answer, seconds, more = cost(server, "/v1/predict", body, FORM)
    results = json.loads(answer.content)["results"]
    assert [result["error"]["code"] for result in results] == ["too_many_pixels"] * 32
    assert seconds < most_cpu_seconds
    assert more < 50 * MEGABYTE


@pytest.mark.parametrize(
    ("kind", "mode", "options", "bytes_per_pixel"),
    [
        ("PNG", "RGBA", {}, 10),
        ("TIFF", "CMYK", {"compression": "tiff_deflate"}, 10),
        ("GIF", "P", {}, 10),
        ("WEBP", "RGBA", {"method": 0}, 20),  # its library holds two frames, for animations
    ],
)
def test_the_memory_of_the_largest_image_is_bounded_by_its_pixels(
    spawn, kind, mode, options, bytes_per_pixel
):
    # With one thread, which has run the warm-up, only the image's own memory is new.
    server = warm_up(spawn(*OPTIONS, "--inference-streams", "1"))
    body = encoded(Image.new(mode, (SIDE, SIDE)), kind, **options)
    answer, _, more = cost(server, "/v1/predict", body)
    assert answer.status == 200
    assert more < bytes_per_pixel * LIMIT + 10 * MEGABYTE


def test_the_memory_of_defending_the_largest_image_is_bounded_by_its_pixels(server):
    assert server.ask("/v1/defend", black_png(600, 600)).status == 200  # starts the process
    answer, _, more = cost(server, "/v1/defend", black_png(65_535, LIMIT // 65_535))
    assert answer.status == 200
    assert more < 20 * LIMIT + 20 * MEGABYTE


def test_as_many_scans_as_encoders_make_are_read():
    assert decode(many_scans(MOST_SCANS), max_pixels=LIMIT, reduce_to_px=8).shape[2] == 3
    with pytest.raises(BadImageError, match="more than 100 scans"):
        decode(many_scans(MOST_SCANS + 1), max_pixels=LIMIT)


def test_bytes_that_look_like_scans_do_not_count():
    """A telephone writes a video behind the image, and a thumbnail before it."""
    jpeg = encoded(Image.new("RGB", (64, 64)), "JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 20_000) + b"\xff\xda" * 10_000
    body = jpeg[:2] + comment + jpeg[2:] + b"\xff\xda\x00\x08" * 1000
    assert decode(body, max_pixels=LIMIT).shape == (64, 64, 3)


def test_the_longest_side_has_65535_pixels():
    assert decode(black_png(65_535, 8), max_pixels=LIMIT).shape == (8, 65_535, 3)
    with pytest.raises(TooManyPixelsError, match="a side may have at most 65535"):
        decode(black_png(65_536, 8), max_pixels=LIMIT)


def test_tiles_may_extend_beyond_the_edge():
    assert decode(tiff((2000, 2000), (2048, 2048)), max_pixels=4_000_000).shape == (2000, 2000, 3)
