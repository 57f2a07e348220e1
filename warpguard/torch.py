"""A defence as a PyTorch module: batches in, batches out, with gradients.

::

    (N, 3, H, W) in [0, 1] ──► Defense ──► (N · draws, 3, H, W) ──► module ──► mean over the draws
                    ▲            │
                    └── vjp ◄────┘

>>> import torch
>>> from random import Random
>>> defense = Defense("fd+rdg", generator=Random(0))
>>> images = torch.full((2, 3, 32, 32), 0.5, requires_grad=True)
>>> defense(images).sum().backward()
>>> images.grad.shape, round(float(images.grad.sum()))
(torch.Size([2, 3, 32, 32]), 6144)
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, reduce
from itertools import islice
from random import Random, SystemRandom
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from warpguard.defenses import ImageError, Pipeline, PipelineDraw

Through: TypeAlias = Literal["exact", "identity", "none"]
"""How a gradient passes a defence. ``exact``: each operation's vector-Jacobian product, which is
exact through warps and straight through rounding. ``identity``: unchanged, as if there were no
defence (BPDA with the identity). ``none``: not at all."""
Outputs: TypeAlias = Literal["logits", "probabilities"]
T = TypeVar("T")


def defend(
    images: Tensor, defense: Pipeline, draws: Sequence[PipelineDraw], gradient: Through = "exact"
) -> Tensor:
    """Defend a batch with given draws.

    Operations before the first random one are applied once for all draws of an image.

    Args:
        images: ``(N, 3, H, W)`` in [0, 1], of any floating dtype, on any device. The defence runs
            in float32 on the CPU.
        defense: the defence.
        draws: ``N · k`` draws: first the k draws of the first image, then those of the second.
        gradient: how a gradient passes the defence.

    Returns:
        ``(N · k, 3, H, W)`` of the same dtype on the same device, in the order of the draws.

    Raises:
        ImageError: the tensor is not a batch of images in [0, 1].
        ValueError: the images do not have k draws each.
    """
    _check(images)
    each, more = divmod(len(draws), len(images)) if len(images) else (1, len(draws))
    if more or not each:
        raise ValueError(
            f"There must be as many draws for each image, not {len(draws)} for {len(images)}."
        )
    if gradient == "none":
        images = images.detach()
    rows = list(draws)
    if each > 1:
        fixed, defense = defense.split()
        count = len(fixed.operations)
        firsts = [PipelineDraw(row.shape, row.draws[:count]) for row in rows[::each]]
        images = _through(images, fixed, firsts, gradient)
        rows = [PipelineDraw(row.shape, row.draws[count:]) for row in rows]
    return _through(images, defense, rows, gradient)


class Defense(nn.Module):
    """A defence as a layer, with a fresh draw for each image; the same in training and evaluation.

    Attributes:
        defense: the pipeline.
        gradient: how a gradient passes it.
        generator: the source of the draws.
    """

    def __init__(
        self,
        defense: str | Pipeline = "fd+rdg",
        *,
        gradient: Through = "exact",
        generator: Random | torch.Generator | None = None,
    ) -> None:
        """Set up the layer.

        Args:
            defense: a specification, such as ``fd(step=20)+rdg``, or a pipeline.
            gradient: ``exact``, ``identity`` or ``none``; see :data:`Through`.
            generator: a seeded generator makes the draws repeatable. None is the operating system's
                generator, as in the service: ``torch.manual_seed`` does not change its draws.

        Raises:
            DefenseError: the specification is not valid.
            ValueError: the gradient has another name.
        """
        super().__init__()
        self.defense = Pipeline.parse(defense) if isinstance(defense, str) else defense
        self.gradient: Through = _one_of(gradient, get_args(Through), "gradient")
        self.generator = generator

    def sample(self, images: Tensor, draws: int = 1) -> list[PipelineDraw]:
        """Draw ``draws`` times for each image of a batch, in the order that ``forward`` takes.

        Raises:
            ImageError: images of this size cannot be defended.
        """
        _check(images)
        random = self._random()
        shape = tuple(images.shape[2:])
        return [self.defense.sample(random, shape) for _ in range(len(images) * draws)]

    def forward(self, images: Tensor, draws: Sequence[PipelineDraw] | None = None) -> Tensor:
        """Defend a batch; see :func:`defend`.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1].
            draws: what :meth:`sample` returned, to replay it; by default one fresh draw each.
        """
        return defend(
            images, self.defense, self.sample(images) if draws is None else draws, self.gradient
        )

    def extra_repr(self) -> str:
        """Describe the layer."""
        return f"{str(self.defense)!r}, gradient={self.gradient!r}"

    def _random(self) -> Random:
        if isinstance(self.generator, torch.Generator):
            device = self.generator.device
            seed = torch.randint(2**62, (), generator=self.generator, device=device)
            return Random(int(seed))  # noqa: S311  # to be repeatable is its purpose
        return self.generator or SystemRandom()


class Defended(nn.Module):
    """A classifier behind a defence: what the service computes, differentiable.

    With several draws the output is the logarithm of the mean probability, as logits of which the
    softmax is the answer of the service. With one draw it is what the classifier returns.

    Attributes:
        module: the classifier.
        defense: the layer in front of it.
        draws: over how many draws the probabilities are averaged.
    """

    def __init__(
        self,
        module: nn.Module,
        defense: str | Pipeline = "fd+rdg",
        *,
        draws: int = 1,
        gradient: Through = "exact",
        outputs: Outputs = "logits",
        generator: Random | torch.Generator | None = None,
    ) -> None:
        """Put a defence in front of a classifier.

        Args:
            module: from ``(N, 3, H, W)`` in [0, 1] to ``(N, classes)``. A classifier that takes
                normalised images needs its normalisation inside, behind the defence.
            defense: see :class:`Defense`.
            draws: 1 or more.
            gradient: see :class:`Defense`.
            outputs: what the classifier returns, ``logits`` or ``probabilities``.
            generator: see :class:`Defense`.

        Raises:
            DefenseError: the specification is not valid.
            ValueError: another argument is not allowed.
        """
        super().__init__()
        if draws < 1:
            raise ValueError(f"draws must be 1 or more, not {draws}.")
        self.module, self.draws = module, draws
        self.defense = Defense(defense, gradient=gradient, generator=generator)
        self.outputs: Outputs = _one_of(outputs, get_args(Outputs), "outputs")

    def sample(self, images: Tensor) -> list[PipelineDraw]:
        """Draw for a batch; see :meth:`Defense.sample`."""
        return self.defense.sample(images, self.draws)

    def forward(self, images: Tensor, draws: Sequence[PipelineDraw] | None = None) -> Tensor:
        """Classify a batch.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1].
            draws: what :meth:`sample` returned, to replay it; by default fresh draws.

        Returns:
            ``(N, classes)`` logits, or probabilities if the classifier returns these.

        Raises:
            ImageError: the tensor is not a batch of images in [0, 1].
        """
        rows = self.sample(images) if draws is None else draws
        by_draw: Tensor = self.module(self.defense(images, rows))
        each = len(rows) // max(1, len(images))
        if each <= 1:
            return by_draw
        by_draw = by_draw.reshape(len(images), each, *by_draw.shape[1:])
        if self.outputs == "probabilities":
            return by_draw.mean(dim=1)
        return by_draw.log_softmax(dim=-1).logsumexp(dim=1) - math.log(each)


class _Defend(torch.autograd.Function):
    """Each image on its draw, and the gradient that the defence states for itself."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, defense: Pipeline, rows: list[PipelineDraw], gradient: Through
    ) -> Tensor:
        ctx.defense, ctx.rows, ctx.gradient, ctx.count = defense, rows, gradient, len(images)
        given: NDArray[Any] = images.detach().float().cpu().numpy()
        each, out = len(rows) // len(images), np.empty((len(rows), *given.shape[1:]), np.float32)

        def one(row: int) -> None:
            out[row] = cv2.split(defense.apply(cv2.merge(tuple(given[row // each])), rows[row]))

        deque(_map(one, len(rows)), maxlen=0)
        return torch.from_numpy(out).to(images.device, images.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        if ctx.gradient == "identity":
            rows = upstream.reshape(ctx.count, -1, *upstream.shape[1:])
            return rows.sum(dim=1), None, None, None
        precise = upstream if upstream.dtype == torch.float64 else upstream.float()
        given: NDArray[Any] = precise.cpu().numpy()
        each, out = len(ctx.rows) // ctx.count, np.empty((ctx.count, *given.shape[1:]), given.dtype)

        def one(row: int) -> NDArray[Any]:
            found: NDArray[Any] = ctx.defense.vjp(cv2.merge(tuple(given[row])), ctx.rows[row])
            return found

        found = iter(_map(one, len(ctx.rows)))
        for image in range(ctx.count):
            out[image] = cv2.split(reduce(np.add, islice(found, each)))
        gradient = torch.from_numpy(out).to(upstream.device, upstream.dtype)
        return gradient, None, None, None


def _through(
    images: Tensor, defense: Pipeline, rows: list[PipelineDraw], gradient: Through
) -> Tensor:
    if not (defense.operations and len(images)):
        return images.repeat_interleave(len(rows) // max(1, len(images)), dim=0)
    defended: Tensor = _Defend.apply(images, defense, rows, gradient)  # type: ignore[no-untyped-call]
    return defended


def _map(of: Callable[[int], T], rows: int) -> Iterable[T]:
    """Call a function for each row, on as many threads as PyTorch uses; results are in order."""
    threads = torch.get_num_threads()
    if threads == 1 or rows == 1:
        return map(of, range(rows))
    return _pool(os.getpid(), threads).map(of, range(rows))


@cache
def _pool(pid: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process: those of its parent do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"defense-{pid}")


def _check(images: Tensor) -> None:
    """Make sure of the dtype and the shape; the values are checked when they are defended."""
    if not images.is_floating_point():
        raise ImageError(f"Images are floating point in [0, 1], not {images.dtype}: divide by 255.")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ImageError(
            f"A batch of images has the shape (N, 3, H, W), not {tuple(images.shape)}."
        )


def _one_of(value: Any, allowed: tuple[str, ...], name: str) -> Any:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return value
