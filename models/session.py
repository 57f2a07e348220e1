"""Run a model in an ONNX Runtime session, on the device that was asked for or not at all."""

import contextlib
import ctypes
import logging
import os
import sys
from collections.abc import Iterable
from typing import Any, Literal

# ONNX Runtime sends telemetry unless this variable is set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from models.cpus import available_cpus
from models.errors import ManifestError, ProviderError
from models.manifest import Manifest
from models.preprocess import to_tensor

Device = Literal["auto", "cpu", "cuda", "tensorrt"]

_CPU, _CUDA, _TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))
_PROVIDERS = {"cpu": (_CPU,), "cuda": (_CUDA, _CPU), "tensorrt": (_TENSORRT, _CUDA, _CPU)}
# HEURISTIC asks cuDNN for a convolution's algorithm. EXHAUSTIVE, the default, times all algorithms
# for every batch size, which stalls the first request of each size for seconds.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
# Without VNNI, ONNX Runtime's fast kernels for x86 add products of U8 and S8 in 16 bits, and the
# sums saturate. With this entry it takes exact kernels on such processors, which are slower.
_EXACT_INT8 = ("session.x64quantprecision", "1")
# The errors of a faulty graph. They have no common base class.
_GRAPH_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

_BATCH_TOLERANCE = 1e-3
"""How far an image's scores may differ between batches, as a fraction of the scores' spread."""

_log = logging.getLogger(__name__)


class Classifier:
    """A model that is loaded and ready to run. Threads may share it.

    Attributes:
        manifest: the model's manifest, with which the graph has been compared.
        precision_reason: why the graph of this precision was chosen, for people.
    """

    def __init__(
        self,
        manifest: Manifest,
        graph_bytes: bytes,
        *,
        device: Device = "auto",
        threads: int | None = None,
        spinning: bool = False,
        precision_reason: str = "",
    ) -> None:
        """Load a graph.

        Args:
            manifest: the model's manifest.
            graph_bytes: the model's ONNX file.
            device: the device that runs the model. ``auto`` is CUDA if it works, and the CPU
                otherwise.
            threads: the number of CPU threads for one batch; by default as many as this process
                may use.
            spinning: let threads wait for work in a busy loop. Batches that follow closely are then
                a little faster, but everything else that needs the CPU, such as decoding and
                defending images, is slower.
            precision_reason: why the graph of this precision was chosen.

        Raises:
            ManifestError: the graph cannot be loaded, or the manifest describes another graph.
            ProviderError: the graph does not run on the device.
        """
        self.manifest = manifest
        self.precision_reason = precision_reason
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_cpus()
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        options.add_session_config_entry(*_EXACT_INT8)
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
        # ONNX Runtime only logs that it uses the next provider, if one lacks libraries or a device.
        if device != "auto" and self.provider != _PROVIDERS[device][0]:
            raise ProviderError(
                f"The device {device!r} was asked for. It needs {_PROVIDERS[device][0]}, but ONNX "
                f"Runtime uses {self.provider}. Check that `nvidia-smi` lists a GPU and that "
                "warpguard is installed with its CUDA libraries (`pip install 'warpguard[cuda]'`), "
                "or choose the device 'cpu' or 'auto'."
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
            batch: an array of shape (n, 3, height, width), or (n, height, width, 3) if that is the
                manifest's layout, n ≥ 1, scaled as ``to_tensor`` does.

        Returns:
            The scores, of shape (n, classes): logits or probabilities, as the manifest says.

        Raises:
            ValueError: the batch has another shape or dtype.
            ManifestError: the scores do not have the shape or dtype that the manifest declares.
        """
        shape = self.manifest.input.shape
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
                f"float32 of shape (batch, labels) = {expected}, but it is {scores.dtype} of shape "
                f"{scores.shape}."
            )
        return scores

    def warm_up(self, batch_sizes: Iterable[int]) -> None:
        """Run batches of some sizes, so that no request pays for the allocations of a first run."""
        shape = self.manifest.input.shape
        for size in batch_sizes:
            self.run(np.zeros((size, *shape), np.float32))

    def verify(self) -> None:
        """Run images alone and together, and compare the scores with the manifest.

        Raises:
            ManifestError: the scores contradict the manifest, depend on the other images of a
                batch, or differ from one run to the next.
        """
        manifest = self.manifest
        if len(manifest.label_names) < 2 or not all(manifest.label_names):
            raise ManifestError(
                f"{manifest.name!r} needs two labels or more, and none of them empty, but has "
                f"{list(manifest.label_names)}. A model with one output that is the probability of "
                "a class needs a second output for its absence."
            )
        images = _sample_images(manifest)
        alone = np.concatenate([self._verified(images[i : i + 1]) for i in range(len(images))])
        again, together = self._verified(images[-1:]), self._verified(images)
        allowed = _BATCH_TOLERANCE * np.ptp(alone, axis=0).max() + 1e-5 * np.abs(alone).max()
        if (apart := float(np.abs(alone[-1:] - again).max())) > allowed:
            raise ManifestError(
                f"The scores of {manifest.name!r} differ by {apart:.2g} if the same image is run "
                "twice. Export the model without random operators, in evaluation mode."
            )
        if (apart := float(np.abs(alone - together).max())) > allowed:
            raise ManifestError(
                f"The scores that {manifest.name!r} gives an image change by {apart:.2g} with the "
                "other images of a batch. Export the model in evaluation mode, and quantise it "
                "statically."
            )

    def _verified(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores of a batch, if they are what the manifest declares."""
        name, kind = self.manifest.name, self.manifest.output.kind
        try:
            scores = self.run(batch)
        except _GRAPH_ERRORS as error:
            raise ManifestError(f"{name!r} fails on a batch of {len(batch)}: {error}") from error
        if not np.isfinite(scores).all():
            raise ManifestError(f"The scores of {name!r} should be finite, but are {scores}.")
        normalised = (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3)
        if normalised != (kind == "probabilities"):
            raise ManifestError(
                f"The output of {name!r} is declared to be {kind}, but its rows "
                f"{'are' if normalised else 'are not'} positive with a sum of 1. They sum to "
                f"{scores.sum(axis=1)}."
            )
        return scores

    def _check_declarations(self) -> None:
        manifest = self.manifest
        inputs = {node.name: node for node in self._session.get_inputs()}
        if list(inputs) != [manifest.input.name]:
            raise ManifestError(
                f"The graph of {manifest.name!r} should have the one input "
                f"{manifest.input.name!r}, but it has {list(inputs)}."
            )
        node = inputs[manifest.input.name]
        shape = manifest.input.shape
        fits = len(node.shape) == 4 and not isinstance(node.shape[0], int)
        fits = fits and all(
            actual == expected or not isinstance(actual, int)
            for actual, expected in zip(node.shape[1:], shape, strict=True)
        )
        if not fits or node.type != "tensor(float)":
            raise ManifestError(
                f"The input {node.name!r} of {manifest.name!r} should be tensor(float) of shape "
                f"('batch', {', '.join(map(str, shape))}) ({manifest.input.layout}, any batch "
                f"size), but it is {node.type} of shape {tuple(node.shape)}."
            )
        outputs = [node.name for node in self._session.get_outputs()]
        if manifest.output.name not in outputs:
            raise ManifestError(
                f"The graph of {manifest.name!r} should have the output "
                f"{manifest.output.name!r}, but it has {outputs}."
            )


def probabilities(scores: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float32]:
    """Turn a model's scores into probabilities.

    Args:
        scores: an array of shape (n, classes), as ``Classifier.run`` returns it.
        manifest: the model's manifest, which says whether the scores are logits.

    Returns:
        A float32 array of shape (n, classes) in [0, 1]. Rows sum to 1 if the scores are logits.

    >>> from models import Scaling
    >>> manifest = Manifest(name="mine", scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)))
    >>> probabilities(np.log(np.array([[1, 3]], np.float32)), manifest).tolist()
    [[0.25, 0.75]]
    """
    if manifest.output.kind == "probabilities":
        return scores
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    exponentials: NDArray[np.float64] = np.exp(shifted)
    total: NDArray[np.float64] = exponentials.sum(axis=1, keepdims=True)
    return (exponentials / total).astype(np.float32)


def _sample_images(manifest: Manifest) -> NDArray[np.float32]:
    """Return noise, black and white, scaled for the model: images with very different scores."""
    shape = manifest.input.height_px, manifest.input.width_px, 3
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images = (noise, np.zeros_like(noise), np.full_like(noise, 255))
    return np.stack([to_tensor(each, manifest) for each in images])


def has_cuda() -> bool:
    """Return whether the driver finds an NVIDIA GPU. ONNX Runtime lists CUDA even without a GPU."""
    if _CUDA not in onnxruntime.get_available_providers():
        return False
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    # 0 is success; any other number means no device: https://docs.nvidia.com/cuda/cuda-driver-api
    return bool(driver.cuInit(0) == 0)


def _load_gpu_libraries() -> None:
    preload: Any = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        with contextlib.redirect_stdout(sys.stderr):  # it prints which libraries are missing
            preload()
