"""From an input tensor to images: encoded files, or pixels in one of two layouts.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses import MIN_SIDE_PX, Image
from service.errors import (
    BadRequestError,
    ImageTooSmallError,
    InvalidParameterError,
    TooManyImagesError,
    TooManyPixelsError,
)
from service.oip.numbers import Numbers
from service.oip.schema import Input

_DTYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype("<u1"), "FP32": np.dtype("<f4")}
_SHAPES = "[N, H, W, 3], [N, 3, H, W], [H, W, 3] or [3, H, W]"


@dataclass(frozen=True)
class RequestLimits:
    """How large one request may be.

    Attributes:
        images: the most images.
        pixels: the most pixels of one image.
    """

    images: int
    pixels: int


@dataclass(frozen=True)
class Images:
    """The images of a request.

    Attributes:
        sources: for each image the bytes of its file, or a view of ``(H, W, 3)`` RGB pixels: uint8
            in [0, 255] or float32 in [0, 1].
        channels_first: whether the client's layout was NCHW.
    """

    sources: Sequence[bytes | Image]
    channels_first: bool = False


def read(tensor: Input, raw: memoryview | None, limits: RequestLimits) -> Images:
    """Read the images of an input.

    Args:
        tensor: the input in the request's JSON.
        raw: its bytes; None if its data are in the JSON.
        limits: how large the request may be.

    Raises:
        BadRequestError: the encoded files do not add up to the tensor's size.
        InvalidParameterError: a shape, a size or a value is not allowed.
        ImageTooSmallError, TooManyImagesError, TooManyPixelsError: over a limit.
    """
    if tensor.datatype == "BYTES":
        return Images(_files(tensor, raw, limits))
    shape = tensor.shape if len(tensor.shape) == 4 else [1, *tensor.shape]
    if len(shape) != 4 or 3 not in (shape[3], shape[1]):
        raise InvalidParameterError(f"The shape of pixels must be {_SHAPES}, not {tensor.shape}.")
    channels_first = shape[3] != 3  # with two 3s the image is too small in both layouts
    count, height, width = shape[0], *(shape[2:] if channels_first else shape[1:3])
    _check_count(count, limits)
    _check_size(width, height, limits)
    if raw is None:
        pixels = _from_json(tensor)
    else:
        dtype = _DTYPES[tensor.datatype]
        size = prod(shape) * dtype.itemsize
        if len(raw) != size:
            raise InvalidParameterError(
                f"{tensor.datatype} of shape {tensor.shape} has {size} bytes, not {len(raw)}."
            )
        pixels = np.frombuffer(raw, dtype)
    if tensor.datatype == "FP32":
        _check_range(pixels.min(), pixels.max())
    images = pixels.reshape(shape)
    return Images(list(images.transpose(0, 2, 3, 1) if channels_first else images), channels_first)


def _files(tensor: Input, raw: memoryview | None, limits: RequestLimits) -> list[bytes]:
    count = tensor.shape[0]
    if prod(tensor.shape) != count:
        raise InvalidParameterError(
            f"The shape of BYTES, one image file each, must be [N] or [N, 1], not {tensor.shape}."
        )
    _check_count(count, limits)
    if raw is None:
        raise InvalidParameterError(
            "BYTES in JSON are text, which an image file is not: send the files as binary data, "
            "with the input parameter binary_data_size and the header "
            "Inference-Header-Content-Length."
        )
    files = []
    position = 0
    for number in range(1, count + 1):
        if len(raw) - position < 4:
            raise BadRequestError(f"The binary data ends before element {number} of {count}.")
        (size,) = struct.unpack_from("<I", raw, position)
        position += 4
        if len(raw) - position < size:
            raise BadRequestError(
                f"Element {number} of {count} declares {size} bytes, but only "
                f"{len(raw) - position} are left."
            )
        files.append(bytes(raw[position : position + size]))
        position += size
    if position != len(raw):
        raise BadRequestError(
            f"{len(raw) - position} bytes are left after the last of {count} elements."
        )
    return files


def _check_count(count: int, limits: RequestLimits) -> None:
    if count > limits.images:
        raise TooManyImagesError(f"The request has {count} images; send at most {limits.images}.")


def _check_size(width: int, height: int, limits: RequestLimits) -> None:
    if width * height > limits.pixels:
        raise TooManyPixelsError(
            f"The images have {width} x {height} pixels; this server takes at most {limits.pixels}."
        )
    if min(width, height) < MIN_SIDE_PX:
        raise ImageTooSmallError(
            f"The images have {width} x {height} pixels; each side needs at least {MIN_SIDE_PX}."
        )


def _from_json(tensor: Input) -> NDArray[Any]:
    if isinstance(tensor.data, Numbers):
        return _from_numbers(tensor, tensor.data)
    values = _flatten(tensor.data, tensor.shape)
    _check_length(len(values), tensor)
    types = set(map(type, values))
    try:
        if tensor.datatype == "UINT8" and types == {int}:
            return np.frombuffer(bytes(values), np.uint8)
        if tensor.datatype == "FP32" and types <= {int, float}:
            wide = np.array(values, np.float64)
            _check_range(wide.min(), wide.max())
            return wide.astype(np.float32)
    except (ValueError, OverflowError):  # an integer too large for a byte, or for a float
        pass
    raise _not_allowed(tensor)


def _from_numbers(tensor: Input, data: Numbers) -> NDArray[Any]:
    depth = 1 if data.is_flat else len(tensor.shape)
    lengths = [level.lengths for level in data.levels[1:depth]]
    if data.shallowest < depth or lengths != [{size} for size in tensor.shape[1:depth]]:
        raise _not_nested(tensor.shape)
    _check_length(data.levels[depth - 1].elements, tensor)
    if data.are_nested(depth):
        if tensor.datatype == "UINT8" and data.are_bytes:
            return data.array(np.uint8)
        if tensor.datatype == "FP32":
            _check_range(data.low, data.high)
            return data.array(np.float32)
    raise _not_allowed(tensor)


def _check_length(length: int, tensor: Input) -> None:
    if length != prod(tensor.shape):
        raise InvalidParameterError(
            f"The shape {tensor.shape} has {prod(tensor.shape)} values, and data has {length}."
        )


def _not_allowed(tensor: Input) -> InvalidParameterError:
    allowed = {"UINT8": "integers in [0, 255]", "FP32": "numbers in [0, 1]"}[tensor.datatype]
    return InvalidParameterError(f"The data of {tensor.datatype} must be {allowed}.")


def _not_nested(shape: list[int]) -> InvalidParameterError:
    return InvalidParameterError(f"The data must be nested like the shape {shape}, or flat.")


def _flatten(data: Any, shape: list[int]) -> list[Any]:
    """The values in row-major order; the lists are nested like the shape, or flat."""
    if not isinstance(data, list):
        raise InvalidParameterError("inputs[0].data must be a list, or the data must be binary.")
    if not data or not isinstance(data[0], list):
        return data
    level = data
    try:
        for size in shape[1:]:
            if set(map(len, level)) != {size}:
                raise ValueError
            level = list(chain.from_iterable(level))
    except (TypeError, ValueError):  # a number among the lists, or a list of another length
        raise _not_nested(shape) from None
    return level


def _check_range(low: np.floating[Any], high: np.floating[Any]) -> None:
    if not (low >= 0 and high <= 1):  # also true for a NaN
        raise InvalidParameterError(
            f"FP32 pixels must be numbers in [0, 1]; these range from {low} to {high}."
        )
