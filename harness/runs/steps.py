"""The steps inside the single round of an attack on the bare model, which may take minutes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from harness.attacks.attack import Attack
from harness.types import OnProgress


@contextmanager
def counted_steps(
    module: nn.Module, attack: Attack, images: int, on_progress: OnProgress
) -> Iterator[None]:
    """Report each gradient step of a module as progress.

    Args:
        module: the model.
        attack: the attack, whose ``iterations`` and ``search_steps`` bound its steps. Many attacks
            end before that.
        images: how many images are attacked.
        on_progress: called with ``steps``, how many all images have, and how many they may have.
    """
    most = images * getattr(attack, "iterations", 1) * getattr(attack, "search_steps", 1)
    done = 0

    def count(_: nn.Module, __: object, logits: Tensor) -> None:
        nonlocal done
        if logits.requires_grad:  # otherwise the attack only looks at the answer
            done = min(done + len(logits), most - 1)
            on_progress("steps", done, most)

    hook = module.register_forward_hook(count)
    try:
        yield
    finally:
        hook.remove()
        on_progress("steps", most, most)
