"""The command that makes a run again, from what its file records."""

import re
import shlex
from typing import Any, Final

from harness.attacks import ATTACKS, parse_attack, specification
from harness.attacks.attack import Attack
from harness.errors import AttackError, RunError
from harness.plain import plain
from harness.report.attackers import gradients_of
from harness.results import Run
from harness.runs.options import Options

_DEMONSTRATION: Final = ("foolbox", re.compile(r"imagenet_\d+_\d+\.jpg"))
"""The default photographs, for which there is no --data: their name, and those of their files."""
_NOT_IN_A_NAME: Final = re.compile(r"[^\w.+-]+")


def command_of(run: Run) -> tuple[str, tuple[str, ...]]:
    """Return the command, and the options that the file does not have.

    The folder of the photographs is written by its name. A key or a header that the endpoint
    requires is not in the file.

    Raises:
        RunError: this version does not know the attack, or one of its parameters.
    """
    attack = _attack(run)
    words: list[str] = ["warpguard-harness", "run", specification(attack)]
    named = "--assume-defense" if run.endpoint.defense_assumed else "--defense"
    words += ["--endpoint", plain(run.endpoint.url), named, plain(run.endpoint.defense)]
    if run.endpoint.protocol != "v2":
        words += ["--protocol", plain(run.endpoint.protocol)]
    if not _is_demonstration(run):
        words += ["--data", plain(run.dataset.name)]
    words += ["--limit", str(run.dataset.selected), "--seed", str(run.seed)]
    words += ["--scoring-draws", str(run.scoring_draws)]
    words += _rounds(run, attack)
    missing = []
    sanity_images, at_once = _recorded(run)
    if sanity_images is None:
        missing.append("--sanity-images")
    else:
        words += ["--sanity-images", str(sanity_images)]
    if at_once is None:
        missing.append("--images-at-once")
    else:
        words += ["--images-at-once", str(at_once)]
    if not run.endpoint.quantized:
        words.append("--unquantized")
    if run.endpoint.protocol == "oip":  # files of the user, whose paths are not recorded
        missing += ["--manifest", *(["--model"] if run.surrogate is not None else [])]
    elif (source := gradients_of(run)) is not None:
        words += ["--source-model", plain(source)]
    words += ["--out", f"runs/{_NOT_IN_A_NAME.sub('_', run.name).lstrip('.') or 'run'}"]
    return shlex.join(words), tuple(missing)


def _attack(run: Run) -> Attack:
    parameters: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in run.attack.parameters.items()
    }
    try:
        attack = ATTACKS[run.attack.name](**parameters)
        if parse_attack(specification(attack)) == attack:
            return attack
    except (KeyError, TypeError, AttackError):
        pass
    made_with = run.versions.get("warpguard")
    raise RunError(
        f"Run {run.name!r} cannot be in a dossier: its command cannot be written, because this "
        f"version does not read the attack {run.attack.name!r} with its parameters. Make the "
        f"dossier with the version that made the run{f', {made_with}' if made_with else ''}."
    )


def _is_demonstration(run: Run) -> bool:
    name, file = _DEMONSTRATION
    return run.dataset.name == name and all(file.fullmatch(each.file) for each in run.images)


def _rounds(run: Run, attack: Attack) -> list[str]:
    """Return the option for the scored rounds, or nothing if they are the default ones."""
    if run.options is not None:
        rounds = run.options.score_rounds
    else:
        rounds = tuple(sorted({score.round for each in run.images for score in each.scores} - {0}))
    if not rounds or rounds == Options().rounds_of(attack):
        return []
    named = rounds[:-1] if len(rounds) > 1 and rounds[-1] == attack.rounds else rounds
    return ["--score-rounds", ",".join(map(str, named))]


def _recorded(run: Run) -> tuple[int | None, int | None]:
    """Return the numbers of checked photographs and of those attacked at once, if recorded."""
    if run.options is not None:
        return run.options.sanity_images, run.options.images_at_once
    for check in run.checks:  # older files have the first number in the check, where it was done
        if check.name == "fixed-draw" and "images" in check.measured:
            return int(check.measured["images"]), None
    return None, None
