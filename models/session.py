"""The ONNX Runtime session behind a model, on the device that was asked for or not at all."""

import contextlib
import ctypes
import logging
import os
import sys
from collections.abc import Iterable
from typing import Any, Literal

# ONNX Runtime reports to its makers unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from models.cpus import available_cpus
from models.errors import ManifestError, ProviderError
from models.manifest import Manifest

Device = Literal["auto", "cpu", "cuda", "tensorrt"]

_CPU, _CUDA, _TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))
_PROVIDERS = {"cpu": (_CPU,), "cuda": (_CUDA, _CPU), "tensorrt": (_TENSORRT, _CUDA, _CPU)}
# HEURISTIC asks cuDNN for a convolution's algorithm; EXHAUSTIVE, the default, times them all, anew
# for every batch size, which stalls the first request of each size for seconds.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
# What loading a graph raises when the graph is at fault; they have no base of their own.
_GRAPH_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

_log = logging.getLogger(__name__)


class Classifier:
    """A model that is loaded and ready to run. Threads may share it.

    Attributes:
        manifest: what the model declares about itself; the graph has been compared with it.
    """

    def __init__(
        self,
        manifest: Manifest,
        graph_bytes: bytes,
        *,
        device: Device = "auto",
        threads: int | None = None,
        spinning: bool = False,
    ) -> None:
        """Load a graph.

        Args:
            manifest: the model's manifest.
            graph_bytes: its ONNX file.
            device: where to run it. ``auto`` is CUDA where that works, or else the CPU.
            threads: of the CPU, for one batch; by default as many as this process may use.
            spinning: let the threads that wait for work burn their CPU meanwhile. Batches that
                follow closely are a little faster then, and everything else that needs the CPU,
                such as decoding and defending images, is slower.

        Raises:
            ManifestError: the graph cannot be loaded, or is not the one the manifest describes.
            ProviderError: the graph does not run on the device.
        """
        self.manifest = manifest
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_cpus()
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        if device == "auto":
            chosen: Device = "cuda" if has_cuda() else "cpu"
        else:
            chosen = device
        if chosen != "cpu":
            _load_gpu_libraries()
        try:
            self._session = onnxruntime.InferenceSession(
                graph_bytes,
                options,
                providers=[
                    (name, _CUDA_OPTIONS if name == _CUDA else {}) for name in _PROVIDERS[chosen]
                ],
            )
        except _GRAPH_ERRORS as error:
            raise ManifestError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load the graph of "
                f"{manifest.name!r}: {error}"
            ) from error
        # Without its libraries or a device, ONNX Runtime takes the next provider and only logs it.
        if device != "auto" and self.provider != _PROVIDERS[device][0]:
            raise ProviderError(
                f"The device {device!r} was asked for, which is {_PROVIDERS[device][0]}, but ONNX "
                f"Runtime uses {self.provider}. Check that `nvidia-smi` lists a GPU here and that "
                "warpguard is installed with its CUDA libraries (`pip install 'warpguard[cuda]'`), "
                "or ask for the device 'cpu' or 'auto'."
            )
        _log.log(
            logging.INFO if self.provider == _PROVIDERS[chosen][0] else logging.WARNING,
            "%s runs on %s; %s was asked for",
            manifest.name,
            self.provider,
            device,
        )
        self._check_declarations()

    @property
    def provider(self) -> str:
        """The ONNX Runtime execution provider in use, such as ``CPUExecutionProvider``."""
        return str(self._session.get_providers()[0])

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score a batch of images.

        Args:
            batch: of shape (n, 3, height, width), or (n, height, width, 3) if that is the
                manifest's layout, n ≥ 1, scaled as the manifest says: see ``to_tensor``.

        Returns:
            The scores, of shape (n, classes): logits or probabilities, as the manifest says.

        Raises:
            ValueError: the batch is of another shape or dtype.
            ManifestError: the scores are of another shape or dtype than the manifest declares.
        """
        shape = _image_shape(self.manifest)
        if batch.dtype != np.float32 or batch.shape[1:] != shape or not len(batch):
            raise ValueError(
                f"{self.manifest.name!r} takes a batch of float32 images of shape {shape}, "
                f"got {batch.dtype} of shape {batch.shape}"
            )
        scores: NDArray[np.float32] = self._session.run(
            [self.manifest.output.name], {self.manifest.input.name: batch}
        )[0]
        expected = (len(batch), len(self.manifest.label_names))
        if scores.shape != expected or scores.dtype != np.float32:
            raise ManifestError(
                f"The output {self.manifest.output.name!r} of {self.manifest.name!r} should be "
                f"float32 of shape (batch, labels) = {expected}, and is {scores.dtype} of shape "
                f"{scores.shape}."
            )
        return scores

    def warm_up(self, batch_sizes: Iterable[int]) -> None:
        """Run batches of some sizes, so that no request pays for what a first run allocates."""
        shape = _image_shape(self.manifest)
        for size in batch_sizes:
            self.run(np.zeros((size, *shape), np.float32))

    def verify(self) -> None:
        """Run random batches of 1 and of 2, and see that the scores are as the manifest says.

        Raises:
            ManifestError: they are not.
        """
        rng = np.random.default_rng(0)
        name, kind = self.manifest.name, self.manifest.output.kind
        for size in (1, 2):
            batch = rng.standard_normal((size, *_image_shape(self.manifest)), dtype=np.float32)
            try:
                scores = self.run(batch)
            except _GRAPH_ERRORS as error:
                raise ManifestError(f"{name!r} fails on a batch of {size}: {error}") from error
            if not np.isfinite(scores).all():
                raise ManifestError(f"The scores of {name!r} should be finite, and are {scores}.")
            normalised = (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3)
            if normalised != (kind == "probabilities"):
                raise ManifestError(
                    f"The output of {name!r} is declared to be {kind}, but its rows "
                    f"{'are' if normalised else 'are not'} positive with a sum of 1; they sum to "
                    f"{scores.sum(axis=1)}."
                )

    def _check_declarations(self) -> None:
        manifest = self.manifest
        inputs = {node.name: node for node in self._session.get_inputs()}
        if list(inputs) != [manifest.input.name]:
            raise ManifestError(
                f"The graph of {manifest.name!r} should have the one input "
                f"{manifest.input.name!r}, and has {list(inputs)}."
            )
        node = inputs[manifest.input.name]
        shape = _image_shape(manifest)
        fits = len(node.shape) == 4 and not isinstance(node.shape[0], int)
        fits = fits and all(
            actual == expected or not isinstance(actual, int)
            for actual, expected in zip(node.shape[1:], shape, strict=True)
        )
        if not fits or node.type != "tensor(float)":
            raise ManifestError(
                f"The input {node.name!r} of {manifest.name!r} should be tensor(float) of shape "
                f"('batch', {', '.join(map(str, shape))}) ({manifest.input.layout}, any batch "
                f"size), and is {node.type} of shape {tuple(node.shape)}."
            )
        outputs = [node.name for node in self._session.get_outputs()]
        if manifest.output.name not in outputs:
            raise ManifestError(
                f"The graph of {manifest.name!r} should have the output "
                f"{manifest.output.name!r}, and has {outputs}."
            )


def probabilities(scores: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float32]:
    """Turn a model's scores into probabilities.

    Args:
        scores: of shape (n, classes), as ``Classifier.run`` returns them.
        manifest: that of the model; it says whether they are logits.

    Returns:
        float32 of shape (n, classes) in [0, 1]; each row sums to 1 if the scores are logits.
    """
    if manifest.output.kind == "probabilities":
        return scores
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    exponentials: NDArray[np.float64] = np.exp(shifted)
    total: NDArray[np.float64] = exponentials.sum(axis=1, keepdims=True)
    return (exponentials / total).astype(np.float32)


def _image_shape(manifest: Manifest) -> tuple[int, int, int]:
    height, width = manifest.input.height_px, manifest.input.width_px
    return (3, height, width) if manifest.input.layout == "NCHW" else (height, width, 3)


def has_cuda() -> bool:
    """Whether the driver finds an NVIDIA GPU; ONNX Runtime lists CUDA regardless."""
    if _CUDA not in onnxruntime.get_available_providers():
        return False
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    # https://docs.nvidia.com/cuda/cuda-driver-api: 0 is success, else there is no device
    return bool(driver.cuInit(0) == 0)


def _load_gpu_libraries() -> None:
    preload: Any = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            preload()
