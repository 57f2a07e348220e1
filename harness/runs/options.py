"""The options of a run."""

from dataclasses import dataclass

from harness.attacks.attack import Attack
from harness.attacks.registry import ATTACKS
from harness.errors import OptionsError
from harness.results import OptionsRecord

_CURVE = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 700, 1000),
    *(2000, 3000, 5000, 7000, 10_000, 20_000, 30_000, 50_000, 70_000),
)


@dataclass(frozen=True)
class Options:
    """How a run is done. No option changes the attack itself.

    Attributes:
        seed: the seed of all of the attacker's randomness.
        scoring_draws: how often each scored iterate is posted.
        score_rounds: the rounds that are scored besides the last one. None chooses some of each
            order of magnitude.
        images_at_once: how many photographs are attacked together.
        quantized: whether 8-bit images are posted, or FP32 tensors as in the paper.
        sanity_images: how many photographs the checks attack again. 0 skips these checks.
    """

    seed: int = 0
    scoring_draws: int = 10
    score_rounds: tuple[int, ...] | None = None
    images_at_once: int = 8
    quantized: bool = True
    sanity_images: int = 5

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            OptionsError: a number is too small.
        """
        for name, least in (("scoring_draws", 1), ("images_at_once", 1), ("sanity_images", 0)):
            if (number := getattr(self, name)) < least:
                raise OptionsError(
                    f"--{name.replace('_', '-')} must be {least} or more, not {number}."
                )

    def rounds_of(self, attack: Attack) -> tuple[int, ...]:
        """Return the rounds of an attack that are scored. The last round is always one of them."""
        rounds = _CURVE if self.score_rounds is None else self.score_rounds
        return (*sorted(each for each in {*rounds} if 0 < each < attack.rounds), attack.rounds)

    def recorded(self, attack: Attack) -> OptionsRecord:
        """Return the options that no other part of a run records."""
        return OptionsRecord(
            score_rounds=self.rounds_of(attack),
            images_at_once=self.images_at_once,
            sanity_images=self.sanity_images,
        )


def require_use(attack: Attack, options: Options, source_model: str | None = None) -> None:
    """Require that the attack uses all of its options, because an ignored one would mislead.

    Args:
        attack: the attack.
        options: the options of its run.
        source_model: the other model whose gradients it is to take, if any.

    Raises:
        OptionsError: a round to be scored is not a round of the attack, or the attack takes no
            gradients and cannot take those of another model.
    """
    beyond = [each for each in options.score_rounds or () if not 1 <= each <= attack.rounds]
    if beyond:
        allowed = "1" if attack.rounds == 1 else f"1 to {attack.rounds}"
        raise OptionsError(
            f"{attack.name} has no round {', '.join(map(str, beyond))}. "
            f"The rounds of --score-rounds must be {allowed}."
        )
    if source_model is not None and not attack.needs_gradients:
        takers = [name for name, kind in ATTACKS.items() if kind.needs_gradients]
        raise OptionsError(
            f"{attack.name} takes no gradients and cannot use --source-model {source_model}. "
            f"Leave the option out, or take one of {', '.join(takers)}."
        )
