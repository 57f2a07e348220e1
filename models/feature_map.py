"""A feature map of a graph, and the window of a convolution or a pool that slides over it."""

from dataclasses import dataclass
from typing import Any, Literal

from models.errors import WeightsError

Padding = Literal["same", "valid"] | tuple[int, int]
"""``"same"`` as in TensorFlow, ``"valid"`` for none, or the rows and columns added on each side."""


@dataclass(frozen=True)
class FeatureMap:
    """A value of the graph of shape (batch, channels, height, width), FP32."""

    name: str
    channels: int
    height: int
    width: int


def window(
    name: str, x: FeatureMap, kernel: tuple[int, int], stride: int, padding: Padding
) -> tuple[dict[str, Any], int, int]:
    """Return the ONNX attributes of a sliding window, and the height and width of its output.

    Raises:
        WeightsError: the window is larger than the padded map.
    """
    before, after, made = [], [], []
    for axis, size in enumerate((x.height, x.width)):
        left, right = _pads(size, kernel[axis], stride, padding, axis)
        room = size + left + right - kernel[axis]
        if room < 0:
            raise WeightsError(
                f"{name} needs at least {kernel} values, but {x.name} has {(x.height, x.width)}, "
                "because the input is too small"
            )
        before.append(left)
        after.append(right)
        made.append(room // stride + 1)
    attributes = {
        "kernel_shape": list(kernel),
        "strides": [stride, stride],
        "pads": before + after,
    }
    return attributes, made[0], made[1]


def _pads(size: int, kernel: int, stride: int, padding: Padding, axis: int) -> tuple[int, int]:
    if padding == "valid":
        return 0, 0
    if padding == "same":
        # https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2
    return padding[axis], padding[axis]
