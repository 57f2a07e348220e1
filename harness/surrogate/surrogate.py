"""The attacker's own copy of what is served: the model and the defence, with gradients.

What an attacker knows of the defence is a :class:`View`::

    bare        f            the model alone
    identity    f(g(x))      gradients as if g were the identity: BPDA as the paper has it
    random      f(g1(x))     only the random operations of g, differentiated exactly
    exact       f(g(x))      rounding straight through, everything else differentiated exactly
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from defenses import Draw, Gradient, Image, Operation, Pipeline, PipelineDraw
from harness.errors import SurrogateError
from harness.surrogate.onnx_to_torch import OnnxModule, difference
from models import Classifier, Manifest, available_cpus, to_tensor

Knowledge: TypeAlias = Literal["bare", "identity", "random", "exact"]
Loss: TypeAlias = Literal["cross-entropy", "logit", "margin"]
LARGEST_DIFFERENCE = 1e-4
_ROWS = {"cpu": 4, "cuda": 128}
"""How many images go through the model at once; on a CPU more take memory and no less time."""


@dataclass(frozen=True)
class Gradients:
    """What one gradient evaluation gives.

    Attributes:
        values: ``(n, H, W, 3)`` float32: of the mean loss over the draws, by the pixels in [0, 1].
        losses: ``(n,)``, the mean over the draws; what the attacker wants to be small.
    """

    values: NDArray[np.float32]
    losses: NDArray[np.float32]


class Surrogate:
    """A model and a defence that an attacker can differentiate.

    Attributes:
        manifest: the model's.
        defense: the endpoint's.
        module: ``(n, 3, H, W)`` pixels in [0, 1] to ``(n, classes)`` logits, as libraries want it.
        largest_difference: between this model's scores and those of ONNX Runtime.
    """

    def __init__(
        self, manifest: Manifest, graph: bytes, defense: Pipeline, device: str = "auto"
    ) -> None:
        """Read a graph, and compare it with ONNX Runtime on some images.

        Args:
            manifest: the model's.
            graph: its ONNX file.
            defense: what the endpoint does to an image first.
            device: ``cpu``, ``cuda`` or ``auto``.

        Raises:
            SurrogateError: the graph cannot be differentiated, or computes something else here.
        """
        self.manifest, self.defense = manifest, defense
        if manifest.output.kind != "logits":
            raise SurrogateError(f"{manifest.name} gives probabilities; attacks need its logits.")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device == "cuda" and not torch.cuda.is_available():
            raise SurrogateError("PyTorch finds no CUDA device here; take the device cpu or auto.")
        self._device = torch.device(device)
        self._graph = graph
        self._onnx = OnnxModule(graph).to(self._device)
        self.module = _Scaled(self._onnx, manifest).to(self._device).eval()
        self._threads = ThreadPoolExecutor(available_cpus(), thread_name_prefix="draws")
        self.largest_difference = 0.0

    def with_defense(self, defense: Pipeline) -> "Surrogate":
        """The same model behind another defence."""
        other = copy.copy(self)
        other.defense = defense
        return other

    def check(self, images: Sequence[Image]) -> None:
        """Compare the model with ONNX Runtime.

        Raises:
            SurrogateError: a score differs by more than 1e-4.
        """
        batch = np.stack([to_tensor(image, self.manifest) for image in images])
        scores = Classifier(self.manifest, self._graph, device="cpu").run(batch)
        self.largest_difference = difference(self._onnx, batch, scores)
        if self.largest_difference > LARGEST_DIFFERENCE:
            raise SurrogateError(
                f"In PyTorch {self.manifest.name} gives other scores than in ONNX Runtime, by up "
                f"to {self.largest_difference:.2g}; gradients of it would be of another model."
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
        """The mean gradient over draws of the defence (EOT), for each of some images.

        Args:
            images: n times ``(H, W, 3)`` float32 in [0, 1].
            goals: for each the target class, or untargeted the true one.
            randoms: for each, what its draws come from.
            knowledge: what the attacker knows of the defence.
            loss: of the logits and the goal.
            draws: how many draws are averaged; one is enough for a bare model.
            targeted: whether the goal is to be reached, or to be left.
        """
        seen = self._view(knowledge)
        if not seen.random:
            draws = 1
        rows = [
            _Row(index, image, goal, seen.sample(random, image.shape))
            for index, (image, goal, random) in enumerate(zip(images, goals, randoms, strict=True))
            for _ in range(draws)
        ]
        total = np.zeros((len(images), *images[0].shape), np.float32)
        losses = np.zeros(len(images), np.float32)
        chunk = _ROWS[self._device.type]
        for start in range(0, len(rows), chunk):
            some = rows[start : start + chunk]

            def back(pair: tuple[Gradient, _Row]) -> Gradient:
                gradient, row = pair
                return gradient if knowledge == "identity" else seen.vjp(gradient, row.draw)

            batch = self._stacked(
                self._threads.map(lambda row: seen.apply(row.image, row.draw), some)
            )
            batch.requires_grad_()
            each = _LOSSES[loss](self.module(batch), [row.goal for row in some])
            each = each if targeted else -each
            (by_pixel,) = torch.autograd.grad(each.sum(), batch)
            pixels = by_pixel.permute(0, 2, 3, 1).contiguous().cpu().numpy()
            for row, gradient, value in zip(
                some,
                self._threads.map(back, zip(pixels, some, strict=True)),
                each.tolist(),
                strict=True,
            ):
                total[row.index] += gradient / draws
                losses[row.index] += value / draws
        return Gradients(total, losses)

    def classes(self, images: Sequence[Image]) -> NDArray[np.intp]:
        """The most probable class of each image behind the defence, each on a fresh draw."""
        best: NDArray[np.intp] = self._logits(images).argmax(axis=1)
        return best

    def probabilities(self, images: Sequence[Image], draws: int = 1) -> NDArray[np.float32]:
        """The mean over fresh draws of the probabilities: ``(n, classes)`` float32."""
        repeated = [image for image in images for _ in range(draws)]
        by_draw = torch.from_numpy(self._logits(repeated)).softmax(dim=1)
        mean: NDArray[np.float32] = by_draw.view(len(images), draws, -1).mean(dim=1).numpy()
        return mean

    def _logits(self, images: Sequence[Image]) -> NDArray[np.float32]:
        random = SystemRandom()
        scores = []
        chunk = _ROWS[self._device.type]
        for start in range(0, len(images), chunk):
            some = images[start : start + chunk]
            batch = self._stacked(self._threads.map(lambda i: self.defense(i, random), some))
            with torch.no_grad():
                scores.append(self.module(batch).cpu().numpy())
        return np.concatenate(scores)

    def _stacked(self, images: Any) -> Tensor:
        """Images of either dtype as ``(n, 3, H, W)`` in [0, 1], on the device."""
        pixels = np.stack(list(images))
        batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2).contiguous()
        return batch.float() / 255 if pixels.dtype == np.uint8 else batch

    def is_random(self, knowledge: Knowledge) -> bool:
        """Whether what the attacker sees of the defence is random, so that draws differ."""
        return self._view(knowledge).random

    def _view(self, knowledge: Knowledge) -> Pipeline:
        if knowledge == "bare":
            return Pipeline()
        if knowledge == "random":
            return Pipeline([each for each in self.defense.operations if each.random])
        return self.defense


@dataclass(frozen=True, eq=False)
class _Row:
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


def _cross_entropy(logits: Tensor, goals: list[int]) -> Tensor:
    wanted = torch.tensor(goals, device=logits.device)
    return functional.cross_entropy(logits, wanted, reduction="none")


def _logit(logits: Tensor, goals: list[int]) -> Tensor:
    """The goal's logit alone, which does not saturate (Zhao et al. 2021)."""
    return -logits[torch.arange(len(goals), device=logits.device), goals]


def _margin(logits: Tensor, goals: list[int]) -> Tensor:
    """The best other logit minus the goal's (Carlini and Wagner 2017)."""
    rows = torch.arange(len(goals), device=logits.device)
    others = logits.clone()
    others[rows, goals] = -torch.inf
    return others.max(dim=1).values - logits[rows, goals]


_LOSSES: dict[str, Callable[[Tensor, list[int]], Tensor]] = {
    "cross-entropy": _cross_entropy,
    "logit": _logit,
    "margin": _margin,
}


@dataclass(frozen=True)
class Frozen(Operation[Draw]):
    """An operation without its randomness: every draw of it is the same one."""

    name: ClassVar[str] = "frozen"
    summary: ClassVar[str] = "An operation with one draw, again and again"
    reference: ClassVar[str] = ""

    operation: Operation[Any]
    seed: int = 0

    @property
    def random(self) -> bool:
        """As the operation, so that a view which takes the random ones takes this one too."""
        return self.operation.random

    def sample(self, rng: Random, shape: tuple[int, ...]) -> Draw:
        """The one draw."""
        del rng
        draw: Draw = self.operation.sample(Random(self.seed), shape)
        return draw

    def _apply(self, image: Image, params: Draw) -> Image:
        return self.operation.apply(image, params)

    def _vjp(self, grad: Gradient, params: Draw) -> Gradient:
        return self.operation.vjp(grad, params)


def frozen(defense: Pipeline) -> Pipeline:
    """A defence with one fixed draw."""
    return Pipeline([Frozen(operation) for operation in defense.operations])
