"""The model and the defence that the endpoint serves, differentiable.

:data:`Knowledge` is what an attacker knows of the defence g in front of the model f::

    bare        f            the model alone
    identity    f(g(x))      gradients as if g were the identity: the paper's BPDA
    random      f(g1(x))     g1, the random operations of g, is differentiated exactly
    exact       f(g(x))      rounding is passed straight through, all else is differentiated exactly
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from defenses import Image, Pipeline, PipelineDraw
from harness.errors import SurrogateError
from harness.surrogate.compare import LARGEST_DIFFERENCE, difference, probes, wrong_node
from harness.surrogate.losses import LOSSES, Loss, LossFunction
from harness.surrogate.onnx_to_torch import OnnxModule
from harness.surrogate.replica import Replica
from models import Manifest, to_tensor
from warpguard.torch import Through, defend

Knowledge: TypeAlias = Literal["bare", "identity", "random", "exact"]
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


class Surrogate(Replica):
    """A model and a defence that an attacker can differentiate.

    Attributes:
        onnx: the graph, which takes what :func:`models.to_tensor` returns.
        module: from ``(n, 3, H, W)`` pixels in [0, 1] to ``(n, classes)`` logits.
        largest_difference: the largest difference of a score from ONNX Runtime's that :meth:`check`
            found, as a fraction of the scores' spread.
    """

    def __init__(
        self, manifest: Manifest, graph: bytes, defense: Pipeline, device: str = "auto"
    ) -> None:
        """Convert a graph to PyTorch, and compare it with ONNX Runtime on images made for that.

        Args:
            manifest: the model's manifest.
            graph: the model's ONNX file.
            defense: what the endpoint does to an image before it classifies it.
            device: ``cpu``, ``cuda`` or ``auto``.

        Raises:
            SurrogateError: the graph cannot be read or differentiated, its scores are not logits or
                differ from those of ONNX Runtime, or the device does not exist.
        """
        if manifest.output.kind != "logits":
            raise SurrogateError(
                f"{manifest.name} outputs probabilities, but gradients need logits. Serve a model "
                "that outputs logits, or use an attack without gradients, such as square."
            )
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device == "cuda" and not torch.cuda.is_available():
            raise SurrogateError("PyTorch finds no CUDA device here. Use the device cpu or auto.")
        super().__init__(manifest, graph, defense)
        self._device = torch.device(device)
        self.onnx = OnnxModule(graph, manifest.output.name).to(self._device)
        self.module = _Scaled(self.onnx, manifest).to(self._device).eval()
        self.largest_difference = 0.0
        self.check([])

    def check(self, images: Sequence[Image]) -> None:
        """Compare the model's scores of some images, and of made ones, with ONNX Runtime's.

        The scores of a quantised graph are not compared, but each of its nodes is: ONNX Runtime
        itself computes other scores with other optimisations.

        Raises:
            SurrogateError: a score differs by more than 1e-4 of the scores' spread, or a node of a
                quantised graph computes something else.
        """
        made = probes(self.manifest)
        batch = np.stack([*made, *(to_tensor(image, self.manifest) for image in images)])
        with torch.no_grad():
            own = self.onnx(torch.from_numpy(batch).to(self._device)).float().cpu().numpy()
        scores = self._classifier.run(batch)
        self.largest_difference = difference(own, scores)
        alike = self.largest_difference <= LARGEST_DIFFERENCE
        if alike and not self.onnx.quantized:
            return
        cause = wrong_node(self.onnx, made[-2:])
        if not cause and not self.onnx.quantized:
            cause = (
                f"the scores differ by up to {self.largest_difference:.2g} of their spread, and "
                f"{LARGEST_DIFFERENCE:g} is allowed"
            )
        if cause:
            raise SurrogateError(
                f"{self.manifest.name} is not the same in PyTorch as in ONNX Runtime: {cause}. "
                "Gradients would be those of a different model."
            )

    def gradients(
        self,
        images: Sequence[NDArray[np.float32]],
        goals: Sequence[int],
        randoms: Sequence[Random],
        *,
        knowledge: Knowledge = "exact",
        loss: Loss | LossFunction = "cross-entropy",
        draws: int = 1,
        targeted: bool = True,
    ) -> Gradients:
        """Average the gradient of each image over draws of the defence (EOT).

        Args:
            images: n images, ``(H, W, 3)`` float32 in [0, 1].
            goals: the target class of each image, or its true class if untargeted.
            randoms: the source of randomness for the draws of each image.
            knowledge: what the attacker knows of the defence.
            loss: the function of the logits and the goal, or the name of one.
            draws: how many draws to average. If no known operation is random, one is made.
            targeted: whether the attacker wants to reach the goal, or to leave it.
        """
        defense = self._known_defense(knowledge)
        if not defense.random:
            draws = 1
        loss_of = loss if callable(loss) else LOSSES[loss]
        rows = [
            _Row(index, image, goal, defense.sample(random, image.shape))
            for index, (image, goal, random) in enumerate(zip(images, goals, randoms, strict=True))
            for _ in range(draws)
        ]
        total = np.zeros((len(images), *images[0].shape), np.float32)
        losses = np.zeros(len(images), np.float32)

        through: Through = "identity" if knowledge == "identity" else "exact"
        size = _BATCH[self._device.type]
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            batch = self._stacked(row.image for row in some).requires_grad_()
            defended = defend(batch, defense, [row.draw for row in some], through)
            by_row = loss_of(self.module(defended), [row.goal for row in some])
            by_row = by_row if targeted else -by_row
            (by_pixel,) = torch.autograd.grad(by_row.sum(), batch)
            gradients = by_pixel.permute(0, 2, 3, 1).cpu().numpy()
            for row, gradient, value in zip(some, gradients, by_row.tolist(), strict=True):
                total[row.index] += gradient / draws
                losses[row.index] += value / draws
        return Gradients(total, losses)

    def is_random(self, knowledge: Knowledge) -> bool:
        """Return whether an operation that the attacker knows is random, so that draws differ."""
        return self._known_defense(knowledge).random

    def _stacked(self, images: Iterable[NDArray[np.float32]]) -> Tensor:
        """Return images as ``(n, 3, H, W)``, on the device."""
        pixels = torch.from_numpy(np.stack(list(images)))
        return pixels.to(self._device).permute(0, 3, 1, 2).contiguous()

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
