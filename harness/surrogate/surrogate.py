"""The model and the defence that the endpoint serves, differentiable.

:data:`Knowledge` is what an attacker knows of the defence g in front of the model f::

    bare        f            the model alone
    identity    f(g(x))      gradients as if g were the identity: the paper's BPDA
    random      f(g1(x))     g1, the random operations of g, is differentiated exactly
    exact       f(g(x))      rounding is passed straight through, all else is differentiated exactly
"""

import copy
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from defenses import Gradient, Image, Pipeline, PipelineDraw
from harness.errors import SurrogateError
from harness.surrogate.losses import LOSSES, Loss
from harness.surrogate.onnx_to_torch import OnnxModule, difference
from models import Classifier, Manifest, available_cpus, to_tensor

Knowledge: TypeAlias = Literal["bare", "identity", "random", "exact"]
LARGEST_DIFFERENCE = 1e-4
_BATCH = {"cpu": 4, "cuda": 128}
"""How many images run through the model at once. On a CPU more images take more memory and no less
time."""


@dataclass(frozen=True)
class Gradients:
    """The result of one gradient evaluation.

    Attributes:
        values: ``(n, H, W, 3)`` float32, the derivative of ``losses`` by the pixels in [0, 1].
        losses: ``(n,)``, the mean loss over the draws, which the attacker minimises.
    """

    values: NDArray[np.float32]
    losses: NDArray[np.float32]


class Surrogate:
    """A model and a defence that an attacker can differentiate.

    Attributes:
        manifest: the model's manifest.
        defense: the endpoint's defence.
        module: from ``(n, 3, H, W)`` pixels in [0, 1] to ``(n, classes)`` logits.
        largest_difference: the largest difference of a score from ONNX Runtime's that :meth:`check`
            found, and 0 before the first check.
    """

    def __init__(
        self, manifest: Manifest, graph: bytes, defense: Pipeline, device: str = "auto"
    ) -> None:
        """Convert a graph to PyTorch. Call :meth:`check` to compare it with ONNX Runtime.

        Args:
            manifest: the model's manifest.
            graph: the model's ONNX file.
            defense: what the endpoint does to an image before it classifies it.
            device: ``cpu``, ``cuda`` or ``auto``.

        Raises:
            SurrogateError: the graph cannot be read or differentiated, its scores are not logits,
                or there is no such device.
        """
        self.manifest, self.defense = manifest, defense
        if manifest.output.kind != "logits":
            raise SurrogateError(
                f"{manifest.name} outputs probabilities, but attacks need logits. "
                "Serve a model that outputs logits."
            )
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device == "cuda" and not torch.cuda.is_available():
            raise SurrogateError("PyTorch finds no CUDA device here. Use the device cpu or auto.")
        self._device = torch.device(device)
        self._graph = graph
        self._onnx = OnnxModule(graph).to(self._device)
        self.module = _Scaled(self._onnx, manifest).to(self._device).eval()
        self._threads = ThreadPoolExecutor(available_cpus(), thread_name_prefix="draws")
        self.largest_difference = 0.0

    def with_defense(self, defense: Pipeline) -> "Surrogate":
        """Return the same model with another defence."""
        other = copy.copy(self)
        other.defense = defense
        return other

    def check(self, images: Sequence[Image]) -> None:
        """Compare the model's scores of some images with those of ONNX Runtime.

        Raises:
            SurrogateError: a score differs by more than 1e-4.
        """
        batch = np.stack([to_tensor(image, self.manifest) for image in images])
        scores = Classifier(self.manifest, self._graph, device="cpu").run(batch)
        self.largest_difference = difference(self._onnx, batch, scores)
        if self.largest_difference > LARGEST_DIFFERENCE:
            raise SurrogateError(
                f"The scores of {self.manifest.name} in PyTorch differ from those in ONNX Runtime "
                f"by up to {self.largest_difference:.2g}; {LARGEST_DIFFERENCE:g} is allowed. "
                "Gradients would be those of a different model."
            )

    def gradients(
        self,
        images: Sequence[NDArray[np.float32]],
        goals: Sequence[int],
        randoms: Sequence[Random],
        *,
        knowledge: Knowledge = "exact",
        loss: Loss = "cross-entropy",
        draws: int = 1,
        targeted: bool = True,
    ) -> Gradients:
        """Average the gradient of each image over draws of the defence (EOT).

        Args:
            images: n images, ``(H, W, 3)`` float32 in [0, 1].
            goals: the target class of each image, or its true class if untargeted.
            randoms: the source of randomness for the draws of each image.
            knowledge: what the attacker knows of the defence.
            loss: the function of the logits and the goal.
            draws: how many draws to average. If no known operation is random, one is made.
            targeted: whether the attacker wants to reach the goal, or to leave it.
        """
        defense = self._known_defense(knowledge)
        if not defense.random:
            draws = 1
        rows = [
            _Row(index, image, goal, defense.sample(random, image.shape))
            for index, (image, goal, random) in enumerate(zip(images, goals, randoms, strict=True))
            for _ in range(draws)
        ]
        total = np.zeros((len(images), *images[0].shape), np.float32)
        losses = np.zeros(len(images), np.float32)

        def before_defense(gradient: Gradient, row: _Row) -> Gradient:
            return gradient if knowledge == "identity" else defense.vjp(gradient, row.draw)

        size = _BATCH[self._device.type]
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            batch = self._stacked(
                self._threads.map(lambda row: defense.apply(row.image, row.draw), some)
            )
            batch.requires_grad_()
            by_row = LOSSES[loss](self.module(batch), [row.goal for row in some])
            by_row = by_row if targeted else -by_row
            (by_pixel,) = torch.autograd.grad(by_row.sum(), batch)
            pixels = by_pixel.permute(0, 2, 3, 1).contiguous().cpu().numpy()
            gradients = self._threads.map(before_defense, pixels, some)
            for row, gradient, value in zip(some, gradients, by_row.tolist(), strict=True):
                total[row.index] += gradient / draws
                losses[row.index] += value / draws
        return Gradients(total, losses)

    def classes(self, images: Sequence[Image]) -> NDArray[np.intp]:
        """Return the most probable class of each image, each on a fresh draw: ``(n,)``."""
        best: NDArray[np.intp] = self._logits(images).argmax(axis=1)
        return best

    def probabilities(self, images: Sequence[Image], draws: int = 1) -> NDArray[np.float32]:
        """Return the mean probabilities over fresh draws: ``(n, classes)`` float32."""
        repeated = [image for image in images for _ in range(draws)]
        by_draw = torch.from_numpy(self._logits(repeated)).softmax(dim=1)
        mean: NDArray[np.float32] = by_draw.view(len(images), draws, -1).mean(dim=1).numpy()
        return mean

    def is_random(self, knowledge: Knowledge) -> bool:
        """Return whether an operation that the attacker knows is random, so that draws differ."""
        return self._known_defense(knowledge).random

    def _logits(self, images: Sequence[Image]) -> NDArray[np.float32]:
        random = SystemRandom()
        scores = []
        size = _BATCH[self._device.type]
        for start in range(0, len(images), size):
            some = images[start : start + size]
            batch = self._stacked(self._threads.map(lambda i: self.defense(i, random), some))
            with torch.no_grad():
                scores.append(self.module(batch).cpu().numpy())
        return np.concatenate(scores)

    def _stacked(self, images: Iterable[Image]) -> Tensor:
        """Return images of either dtype as ``(n, 3, H, W)`` in [0, 1], on the device."""
        pixels = np.stack(list(images))
        batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2).contiguous()
        return batch.float() / 255 if pixels.dtype == np.uint8 else batch

    def _known_defense(self, knowledge: Knowledge) -> Pipeline:
        if knowledge == "bare":
            return Pipeline()
        if knowledge == "random":
            return Pipeline([each for each in self.defense.operations if each.random])
        return self.defense


@dataclass(frozen=True, eq=False)
class _Row:
    """One row of a batch: one image on one draw."""

    index: int
    image: NDArray[np.float32]
    goal: int
    draw: PipelineDraw


class _Scaled(nn.Module):
    """A model that takes pixels in [0, 1]."""

    def __init__(self, model: nn.Module, manifest: Manifest) -> None:
        super().__init__()
        self._model = model
        mean, std = torch.tensor(manifest.scaling.mean), torch.tensor(manifest.scaling.std)
        self._height_last = manifest.input.layout == "NHWC"
        self._scale = nn.Buffer((255 / std)[:, None, None])
        self._shift = nn.Buffer((-mean / std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        scaled = pixels * self._scale + self._shift
        logits: Tensor = self._model(scaled.permute(0, 2, 3, 1) if self._height_last else scaled)
        return logits
