"""How a run is done."""

from dataclasses import dataclass

from harness.attacks.attack import Attack
from harness.attacks.registry import ATTACKS
from harness.errors import OptionsError

_CURVE = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 700, 1000)


@dataclass(frozen=True)
class Options:
    """How a run is done; none of it changes what the attack is.

    Attributes:
        seed: of all of the attacker's randomness.
        scoring_draws: how often each scored iterate is posted.
        score_rounds: which rounds are scored besides the last; None takes some of each magnitude.
        images_at_once: how many photographs are attacked together.
        quantized: post 8-bit images; else FP32 tensors, the paper's setting.
        sanity_images: how many photographs the checks take; 0 leaves out what needs attacks anew.
    """

    seed: int = 0
    scoring_draws: int = 10
    score_rounds: tuple[int, ...] | None = None
    images_at_once: int = 8
    quantized: bool = True
    sanity_images: int = 5

    def rounds_of(self, attack: Attack) -> tuple[int, ...]:
        """The rounds that are scored, the last one among them."""
        some = _CURVE if self.score_rounds is None else self.score_rounds
        return (*sorted(each for each in {*some} if 0 < each < attack.rounds), attack.rounds)


def require_use(attack: Attack, options: Options, source_model: str | None = None) -> None:
    """See that the attack has a use for all that it is given; what it ignores would mislead.

    Args:
        attack: what is run.
        options: how.
        source_model: another model, whose gradients it is to take.

    Raises:
        OptionsError: a round is to be scored that the attack never comes to, or it is to take
            another model's gradients and takes none.
    """
    beyond = [each for each in options.score_rounds or () if not 1 <= each <= attack.rounds]
    if beyond:
        allowed = "1" if attack.rounds == 1 else f"1 to {attack.rounds}"
        raise OptionsError(
            f"{attack.name}: --score-rounds are {allowed}, the attack's own rounds; "
            f"not {', '.join(map(str, beyond))}."
        )
    if source_model is not None and not attack.needs_gradients:
        takers = [name for name, kind in ATTACKS.items() if kind.needs_gradients]
        raise OptionsError(
            f"{attack.name} takes no gradients, so it has no use for --source-model "
            f"{source_model}; {', '.join(takers)} do."
        )
