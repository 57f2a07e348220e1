"""TIFF: the first directory, of which the tags that make pixels go into a new one."""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.images.containers.container import Container, damaged, not_read, usable
from service.images.limits import Limits

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_KIND = "TIFF"
_MOST_TAGS = 65_535
_TYPES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8"}
_SHORT, _LONG, _BYTES = 3, 4, 7
_MOST_VALUES = 1 << 20

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_SIZES = 273, 274, 277, 278, 279
_PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_SIZES = 284, 322, 323, 324, 325
_EXTRA, _FORMAT, _JPEG_TABLES, _PROFILE = 338, 339, 347, 34675
_COLOUR_MAP = 320
_OTHERS = (266, 292, 293, 317, _COLOUR_MAP, 332, 530, 531)
"""Fill order, options of fax, predictor, palette, ink set, and chroma sampling."""
_NUMBERS = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIP_OFFSETS, _ORIENTATION, _SAMPLES),
    *(_ROWS_PER_STRIP, _STRIP_SIZES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS),
    *(_TILE_SIZES, _EXTRA, _FORMAT, *_OTHERS),
}
_BLOBS = frozenset((_JPEG_TABLES, _PROFILE))

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_COLOURS = {
    _WHITE_IS_ZERO: 1,
    _BLACK_IS_ZERO: 1,
    _RGB: 3,
    _PALETTE: 1,
    _CMYK: 4,
    _YCBCR: 3,
    _LAB: 3,
}
_DEPTHS = {
    _WHITE_IS_ZERO: (1, 2, 4, 8, 12, 16),
    _BLACK_IS_ZERO: (1, 2, 4, 8, 12, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _CMYK: (8, 16),
    _YCBCR: (8,),
    _LAB: (8,),
}
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_UNSPECIFIED, _PREMULTIPLIED, _ALPHA = 0, 1, 2
_COMPRESSIONS = frozenset((1, 2, 3, 4, 5, 7, 8, 32773, 32946, 34925, 50000))
_FEW_TILES = 4096


@dataclass(frozen=True, eq=False)
class _Directory:
    """The tags of the first directory that are read: numbers and blobs by tag."""

    order: str
    numbers: dict[int, NDArray[np.uint64]]
    blobs: dict[int, bytes]

    def one(self, tag: int, default: int) -> int:
        values = self.numbers.get(tag)
        return default if values is None or not len(values) else int(values[0])

    def all(self, tag: int) -> tuple[int, ...]:
        return tuple(map(int, self.numbers.get(tag, ())))


def walk(body: bytes, limits: Limits) -> Container:
    """Find the first image, and check that its samples and its tiles are of a kind that is read.

    Raises:
        ServiceError: see :func:`service.images.containers.walk`.
    """
    directory = _read_directory(body)
    width, height = directory.one(_WIDTH, 0), directory.one(_HEIGHT, 0)
    if not width or not height:
        raise damaged(_KIND, "it has no size")
    limits.check_size(width, height)
    if directory.one(_COMPRESSION, 1) not in _COMPRESSIONS:
        raise not_read(_KIND, f"Its compression is number {directory.one(_COMPRESSION, 1)}.")
    samples, depth, colour = _check_samples(directory)
    _mend(directory, samples - _COLOURS[colour])
    tile_bytes = _check_tiles(directory, len(body), samples, depth, limits)

    is_grey = colour in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
    if is_grey:  # Pillow inverts some depths, and not others
        directory.numbers[_PHOTOMETRIC] = np.array([_BLACK_IS_ZERO], np.uint64)
    # Twelve bits are packed in one order only, which Pillow knows under this name alone.
    order = "<" if depth == 12 else directory.order
    turned = directory.one(_ORIENTATION, 1)
    profile = directory.blobs.pop(_PROFILE, b"")
    directory.numbers.pop(_ORIENTATION, None)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", len(body))
    return Container(
        kind=_KIND,
        file=b"".join((head, memoryview(body)[8:], _write(directory, order, len(body)))),
        width=width,
        height=height,
        memory_bytes=4 * width * height + 3 * tile_bytes + len(body),
        orientation=turned if 1 <= turned <= 8 else 1,
        icc=usable(profile),
        bits=depth,
        is_inverted=colour == _WHITE_IS_ZERO,
    )


def _read_directory(body: bytes) -> _Directory:
    order = "<" if body[:2] == b"II" else ">"
    is_big = body[2:4] in (b"+\0", b"\0+")
    if is_big and order == ">":
        raise not_read(
            _KIND, "It is a BigTIFF in big-endian order: write it in little-endian order."
        )
    try:
        (start,) = struct.unpack_from(f"{order}{'8xQ' if is_big else '4xI'}", body)
        counted = struct.Struct(f"{order}{'Q' if is_big else 'H'}")
        (tags,) = counted.unpack_from(body, start)
    except (struct.error, OverflowError):  # it lies beyond the end
        raise damaged(_KIND, "it has no directory") from None
    if tags > _MOST_TAGS:
        raise damaged(_KIND, f"its directory has more than {_MOST_TAGS} tags")
    entry = struct.Struct(f"{order}HH{'Q8s' if is_big else 'I4s'}")
    entries = body[start + counted.size : start + counted.size + tags * entry.size]
    found = _Directory(order, {}, {})
    for tag, kind, values, field in entry.iter_unpack(
        entries[: len(entries) // entry.size * entry.size]
    ):
        if tag in _NUMBERS and tag not in found.numbers and kind in _TYPES:
            dtype = np.dtype(order + _TYPES[kind])
            data = _content(body, order, field, min(values, _MOST_VALUES) * dtype.itemsize)
            found.numbers[tag] = np.frombuffer(data, dtype).astype(np.uint64)
        elif tag in _BLOBS and tag not in found.blobs and kind in (1, _BYTES):
            found.blobs[tag] = _content(body, order, field, values)
    return found


def _content(body: bytes, order: str, field: bytes, size: int) -> bytes:
    """Read a tag's values, which lie in its field or where the field points to."""
    if size <= len(field):
        return field[:size]
    (offset,) = struct.unpack(f"{order}{'Q' if len(field) == 8 else 'I'}", field)
    content = body[offset : offset + size]
    if len(content) < size:
        raise damaged(_KIND, "a tag lies beyond its end")
    return content


def _check_samples(directory: _Directory) -> tuple[int, int, int]:
    """Return the number of samples, their bits, and the colours that they stand for."""
    samples = directory.one(_SAMPLES, 1)
    bits = directory.all(_BITS) or (1,)
    formats = set(directory.all(_FORMAT)) or {_UNSIGNED}
    colour = directory.one(_PHOTOMETRIC, _WHITE_IS_ZERO)
    depth = bits[0]
    if _FLOAT in formats:
        raise not_read(_KIND, "Floating-point pixels have no fixed range: send 8 or 16 bits.")
    if _SIGNED in formats:
        raise not_read(_KIND, "Signed pixels have no fixed range: send unsigned ones.")
    if formats != {_UNSIGNED}:
        raise not_read(_KIND, "Its samples are not numbers without a sign.")
    if len(set(bits)) > 1:
        raise not_read(_KIND, "Its samples differ in their number of bits.")
    if colour not in _COLOURS:
        raise not_read(_KIND, f"Its colours are of kind {colour}.")
    if depth not in _DEPTHS[colour]:
        read = " or ".join(str(bits) for bits in _DEPTHS[colour] if bits in (8, 16))
        raise not_read(_KIND, f"It has {depth} bits a sample: send {read}.")
    if colour == _WHITE_IS_ZERO and samples > 1:
        raise not_read(_KIND, "White is 0 in it, and it has more than one sample a pixel.")
    if not _COLOURS[colour] <= samples <= _COLOURS[colour] + 2:
        raise not_read(_KIND, f"It has {samples} samples a pixel.")
    more = samples - _COLOURS[colour]
    is_planar = directory.one(_PLANAR, 1) == 2
    if is_planar and more > (_COLOURS[colour] > 1) and any(directory.all(_EXTRA) or (_ALPHA,)):
        raise not_read(_KIND, f"Its {samples} samples a pixel lie in planes of their own.")
    return samples, depth, colour


def _mend(directory: _Directory, more: int) -> None:
    """Write down what files leave open, as other programs understand it.

    Args:
        directory: the tags, which are changed.
        more: the samples of a pixel beside those of its colour.
    """
    kinds = (*directory.all(_EXTRA), *[_ALPHA] * more)[:more]
    known = [kind if kind in (_UNSPECIFIED, _PREMULTIPLIED) else _ALPHA for kind in kinds]
    directory.numbers.pop(_EXTRA, None)
    if known:
        directory.numbers[_EXTRA] = np.array(known, np.uint64)
    palette = directory.numbers.get(_COLOUR_MAP)
    if palette is not None and palette.max(initial=0) < 256:  # 8 bits, where 16 should be
        directory.numbers[_COLOUR_MAP] = palette * np.uint64(257)


def _check_tiles(directory: _Directory, size: int, samples: int, depth: int, limits: Limits) -> int:
    """Check the number and the place of tiles or strips, and return the bytes of one."""
    width, height = directory.one(_WIDTH, 0), directory.one(_HEIGHT, 0)
    is_tiled = _TILE_OFFSETS in directory.numbers
    if is_tiled:
        across, down = directory.one(_TILE_WIDTH, 0), directory.one(_TILE_HEIGHT, 0)
    else:
        across, down = width, min(directory.one(_ROWS_PER_STRIP, height), height)
    if not across or not down:
        raise damaged(_KIND, "its tiles have no size")
    planes = samples if directory.one(_PLANAR, 1) == 2 else 1
    tiles = -(-width // across) * -(-height // down)
    if is_tiled and tiles > _FEW_TILES + width * height // 64:
        raise damaged(_KIND, "its tiles are smaller than tiles can be")
    limits.check_tiles(tiles * across * down)
    names = (_TILE_OFFSETS, _TILE_SIZES) if is_tiled else (_STRIP_OFFSETS, _STRIP_SIZES)
    offsets, sizes = (directory.numbers.get(name) for name in names)
    if offsets is None or len(offsets) < tiles * planes:
        raise damaged(_KIND, "it has fewer tiles or strips than its size needs")
    for name in names:
        if name in directory.numbers:
            directory.numbers[name] = directory.numbers[name][: tiles * planes]
    if int(offsets.max(initial=0)) >= size:
        raise damaged(_KIND, "a tile or strip lies beyond its end")
    if sizes is not None and float(sizes[: tiles * planes].sum(dtype=np.float64)) > 2 * size:
        raise damaged(_KIND, "its tiles or strips overlap")
    return across * down * (samples // planes) * -(-depth // 8)


def _write(directory: _Directory, order: str, start: int) -> bytes:
    """Write a directory of the tags that were read, for a place in the file."""
    tags: dict[int, tuple[int, int, bytes]] = {}
    for tag, values in directory.numbers.items():
        kind = _LONG if int(values.max(initial=0)) > 0xFFFF else _SHORT
        dtype = np.dtype(order + _TYPES[kind])
        tags[tag] = kind, len(values), values.astype(dtype).tobytes()
    for tag, blob in directory.blobs.items():
        tags[tag] = _BYTES, len(blob), blob
    end = start + 2 + 12 * len(tags) + 4
    entries, contents = [struct.pack(f"{order}H", len(tags))], []
    for tag, (kind, values_, content) in sorted(tags.items()):
        field = content.ljust(4, b"\0")
        if len(content) > 4:
            field = struct.pack(f"{order}I", end)
            contents.append(content + bytes(len(content) & 1))
            end += len(contents[-1])
        entries.append(struct.pack(f"{order}HHI", tag, kind, values_) + field)
    return b"".join((*entries, bytes(4), *contents))
