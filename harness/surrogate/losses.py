"""The losses that an attacker minimises: from logits and goal classes to a value for each image."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Loss: TypeAlias = Literal["cross-entropy", "logit", "margin"]
LossFunction: TypeAlias = Callable[[Tensor, list[int]], Tensor]
"""From ``(n, classes)`` logits and n goal classes to ``(n,)`` values."""


def _cross_entropy(logits: Tensor, goals: list[int]) -> Tensor:
    wanted = torch.tensor(goals, device=logits.device)
    return functional.cross_entropy(logits, wanted, reduction="none")


def _logit(logits: Tensor, goals: list[int]) -> Tensor:
    """Return the negative goal logit, which does not saturate (Zhao et al. 2021)."""
    return -logits[torch.arange(len(goals), device=logits.device), goals]


def _margin(logits: Tensor, goals: list[int]) -> Tensor:
    """Return the highest other logit minus the goal logit (Carlini and Wagner 2017)."""
    rows = torch.arange(len(goals), device=logits.device)
    others = logits.clone()
    others[rows, goals] = -torch.inf
    return others.max(dim=1).values - logits[rows, goals]


LOSSES: MappingProxyType[Loss, LossFunction] = MappingProxyType(
    {"cross-entropy": _cross_entropy, "logit": _logit, "margin": _margin}
)
