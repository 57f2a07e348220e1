"""An image-to-image network of the user's, such as a denoiser or a purifying generative model."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from defenses.from_file import FileVersion, FromFile
from defenses.levels import from_unit, to_unit
from defenses.operation import DefenseError, Draw, Image, ImageError, image_size


@dataclass(frozen=True)
class _Network:
    """A loaded graph and the layout of its input.

    Attributes:
        session: the ONNX Runtime session; threads may share it.
        channels_first: whether the input is (1, 3, H, W) rather than (1, H, W, 3).
        size: the (height, width) of the input; None stands for any.
    """

    session: Any
    channels_first: bool
    size: tuple[int | None, int | None]


@dataclass(frozen=True)
class OnnxNetwork(FromFile[Draw]):
    """Run the image through an ONNX graph on the CPU.

    The graph has one input and one output, both RGB, ``float32`` in [0, 1], and of the same shape,
    ``(1, 3, H, W)`` or ``(1, H, W, 3)``, with fixed or free sides. The output is clipped to [0, 1].
    If the graph draws random numbers, a draw cannot be replayed.

    Attributes:
        file: the path of the ``.onnx`` file, in which ``~`` is allowed. The file is read and
            checked once, when the operation is made.
    """

    name: ClassVar[str] = "onnx"
    summary: ClassVar[str] = "Your own image-to-image ONNX network, such as a denoiser"
    reference: ClassVar[str] = (
        "Liao et al. 2018, arXiv:1712.02976; Song et al. 2018, arXiv:1710.10766"
    )

    file: str

    def __post_init__(self) -> None:
        """Load the graph.

        Raises:
            DefenseError: the file cannot be read, or is not an image-to-image ONNX graph.
        """
        try:
            network = load(self._file_version("file"))
        except GraphError as error:
            raise DefenseError(f"onnx: {self.file} {error}") from error
        object.__setattr__(self, "_network", network)

    @property
    def random(self) -> bool:
        """Return False, because the operation draws nothing."""
        return False

    def sample(self, rng: Random, shape: tuple[int, ...]) -> Draw:
        """Draw nothing; see :class:`Operation`.

        Raises:
            ImageError: a side is shorter than 8 px, or is not the network's fixed side.
        """
        del rng
        size = image_size(shape)
        wanted = self._loaded.size
        if any(fixed not in (None, actual) for fixed, actual in zip(wanted, size, strict=True)):
            made_for = "x".join("any" if side is None else str(side) for side in wanted)
            raise ImageError(
                f"onnx: the network takes images of {made_for} px, not {size[0]}x{size[1]} "
                "(height x width)."
            )
        return Draw(shape=size)

    @property
    def _loaded(self) -> _Network:
        network: _Network = self.__dict__["_network"]
        return network

    def _apply(self, image: Image, params: Draw) -> Image:
        del params
        network = self._loaded
        batch = to_unit(image)[None]
        if network.channels_first:
            batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        output = _run(network.session, batch)
        if output.shape != batch.shape:
            raise DefenseError(
                f"onnx: the network turned an image of shape {batch.shape} into {output.shape}; "
                "both must have the same shape."
            )
        if not np.isfinite(output).all():
            raise DefenseError("onnx: the network's output is not finite for this image.")
        values = output[0].transpose(1, 2, 0) if network.channels_first else output[0]
        return from_unit(np.array(values, order="C"), image.dtype)


class GraphError(Exception):
    """A file that is not an image-to-image graph; the message continues after the file's name."""


def _run(session: Any, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    try:
        output: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: batch})[0]
    except Exception as error:  # ONNX Runtime's errors have no common base class
        # Its text names nodes and source files. It is for the log, not for clients.
        raise DefenseError(f"onnx: the network failed on an image {batch.shape}.") from error
    return output


@lru_cache(maxsize=8)
def load(file: FileVersion) -> _Network:
    """Load and check a graph.

    Raises:
        GraphError: the file is not an ONNX graph, or not a graph from an image to an image.
    """
    # ONNX Runtime sends telemetry unless this variable is set before the import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # The service defends several images at once, each in its own thread.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors are raised, so they need not be printed as well
    try:
        session = onnxruntime.InferenceSession(
            str(file.path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # no common base class, and the file may hold anything
        raise GraphError(f"is not a valid ONNX graph: {_in_one_line(error)}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise GraphError(
            f"has {len(inputs)} inputs and {len(outputs)} outputs; it must have one of each."
        )
    channels_first = _channels_first("input", inputs[0])
    if channels_first != _channels_first("output", outputs[0], channels_first):
        raise GraphError("has its channels on different axes in the input and in the output.")
    sides = inputs[0].shape[2:] if channels_first else inputs[0].shape[1:3]
    height, width = (side if isinstance(side, int) else None for side in sides)
    return _Network(session, channels_first, (height, width))


def _channels_first(what: str, node: Any, of_input: bool | None = None) -> bool:
    """Return whether an input or output is NCHW; without a shape, an output is like the input."""
    shape: Sequence[int | str | None] = node.shape or ()
    if node.type == "tensor(float)":
        if of_input is not None and not shape:
            return of_input
        if len(shape) == 4 and (shape[0] == 1 or not isinstance(shape[0], int)):
            if 3 in (shape[1], shape[3]):
                return bool(shape[1] == 3)
            if of_input is not None and not isinstance(shape[1 if of_input else 3], int):
                return of_input
    raise GraphError(
        f"has the {what} {node.name!r}, {node.type} of shape {tuple(shape)}; it must be "
        "tensor(float) of shape (1, 3, height, width) or (1, height, width, 3)."
    )


def _in_one_line(error: Exception) -> str:
    """Return the start of an error's message without line breaks."""
    return " ".join(str(error).split())[:300]
