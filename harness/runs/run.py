"""One attack on one endpoint: attack → post → score → check, resumable after every round."""

import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.attacks.attack import Attack, Attacker
from harness.budget import as_pixels, l2_rms, linf
from harness.dataset import pixels_sha256
from harness.results import AttackRecord, DatasetRecord, EndpointRecord, ImageResult, Run, Score
from harness.runs.options import Options
from harness.runs.sanity import CheckContext, checks_of
from harness.runs.storage import ImageProgress, Storage, finished
from harness.types import Case, OnProgress, Posted, State

_PACKAGES = ("warpguard", "torch", "adversarial-robustness-toolbox", "numpy", "onnxruntime-gpu")


@dataclass(frozen=True)
class Setup:
    """What is attacked, with which attack, and in which folder the run is stored.

    Attributes:
        reuse_from: the folder of a run of the same attack, whose iterates are posted without a new
            search. An attack on the bare model finds the same images for any endpoint.
    """

    attack: Attack
    cases: Sequence[Case]
    attacker: Attacker
    endpoint: EndpointRecord
    dataset: DatasetRecord
    folder: Path
    surrogate: dict[str, str] | None = None
    options: Options = field(default_factory=Options)
    reuse_from: Path | None = None


def execute(setup: Setup, on_progress: OnProgress = lambda *_: None) -> Run:
    """Do a run, or the rest of an interrupted run, and write its result.

    Raises:
        HarnessError: see :mod:`harness.errors`. The work done so far stays stored.
    """
    plan = _plan(setup)
    storage = Storage(setup.folder, plan)
    results: list[ImageResult] = []
    at_once = setup.options.images_at_once
    total = len(setup.cases) * setup.attack.rounds
    for start in range(0, len(setup.cases), at_once):
        some = setup.cases[start : start + at_once]
        progress = [
            storage.load(case) or ImageProgress(setup.attack.begin(case, setup.attacker), [])
            for case in some
        ]
        for rounds in _attack(setup, plan, some, progress, storage):
            on_progress("attack", start * setup.attack.rounds + rounds, total)
        results += [_result(*pair) for pair in zip(some, progress, strict=True)]
    checks = checks_of(
        CheckContext(setup.attack, setup.cases, setup.attacker, setup.options, storage),
        results,
        on_progress,
    )
    run = Run(
        name=setup.folder.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=sum(result.seconds for result in results),
        versions=versions(),
        attack=_attack_record(setup.attack),
        endpoint=setup.endpoint,
        surrogate=setup.surrogate,
        dataset=setup.dataset,
        seed=setup.options.seed,
        scoring_draws=setup.options.scoring_draws,
        images=tuple(results),
        checks=tuple(checks),
    )
    run.write(setup.folder)
    return run


def _attack(
    setup: Setup,
    plan: dict[str, Any],
    cases: Sequence[Case],
    progress: Sequence[ImageProgress],
    storage: Storage,
) -> Iterator[int]:
    """Attack some photographs together, and yield after each round how many rounds all have."""
    attack = setup.attack
    scored = {0, *setup.options.rounds_of(attack)}
    pairs = list(zip(cases, progress, strict=True))
    while True:
        due = [(case, one) for case, one in pairs if one.is_due(scored)]
        if due:
            _score(setup, due, storage)
        active = [pair for pair in pairs if not pair[1].is_over(attack.rounds)]
        # After an interruption some photographs may be a round behind. They catch up first.
        least = min((one.state.round for _, one in active), default=0)
        active = [pair for pair in active if pair[1].state.round == least]
        if not active:
            break
        started = time.monotonic()
        states = _next_states(
            setup, plan, [case for case, _ in active], [one.state for _, one in active]
        )
        seconds_each = (time.monotonic() - started) / len(active)
        for (_, one), state in zip(active, states, strict=True):
            one.state, one.seconds = state, one.seconds + seconds_each
        if attack.early_stop:
            _stop_at_successes(setup, active)
        for case, one in active:
            storage.save(case, one)
        yield sum(attack.rounds if o.is_over(attack.rounds) else o.state.round for o in progress)
    yield len(cases) * attack.rounds


def _next_states(
    setup: Setup, plan: dict[str, Any], cases: Sequence[Case], states: Sequence[State]
) -> list[State]:
    if setup.reuse_from is None or not setup.attack.on_bare_model:
        return setup.attack.advance(cases, states, setup.attacker)
    return [finished(setup.reuse_from, plan, case).state for case in cases]


def _score(setup: Setup, due: Sequence[tuple[Case, ImageProgress]], storage: Storage) -> None:
    """Post each iterate several times, each time on a fresh draw, and store its score."""
    draws = setup.options.scoring_draws
    posted = [_posted(setup, case, one.state) for case, one in due]
    answers = setup.attacker.victim.classes([image for image in posted for _ in range(draws)])
    by_image = answers.reshape(len(due), draws).tolist()
    for (case, one), image, classes in zip(due, posted, by_image, strict=True):
        one.outside_budget += not setup.attack.budget.holds(case.image, one.state.adversarial)
        change = as_pixels(image) - case.image
        one.scores.append(
            Score(
                round=one.state.round,
                classes=tuple(classes),
                l2_rms=l2_rms(change),
                linf=linf(change),
            )
        )
        storage.save(case, one)
        if one.is_over(setup.attack.rounds):
            storage.save_images(case, image)


def _stop_at_successes(setup: Setup, active: Sequence[tuple[Case, ImageProgress]]) -> None:
    posted = [_posted(setup, case, one.state) for case, one in active]
    answers = setup.attacker.victim.classes(posted).tolist()
    for (case, one), answer in zip(active, answers, strict=True):
        one.state = replace(one.state, queries=one.state.queries + 1)
        if answer == case.target or (case.target is None and answer != case.label):
            one.first_success_round = one.state.round


def _posted(setup: Setup, case: Case, state: State) -> Posted:
    return setup.attack.budget.post(
        case.image, state.adversarial, quantized=setup.options.quantized
    )


def _result(case: Case, one: ImageProgress) -> ImageResult:
    state = one.state
    return ImageResult(
        file=case.file,
        sha256=pixels_sha256(case),
        label=case.label,
        target=case.target,
        scores=tuple(one.scores),
        gradients=state.gradients,
        queries=state.queries,
        seconds=round(one.seconds, 3),
        zero_gradients=state.zero_gradients,
        nonfinite_gradients=state.nonfinite_gradients,
        outside_budget=one.outside_budget,
        first_success_round=one.first_success_round,
    )


def _plan(setup: Setup) -> dict[str, Any]:
    """Return everything that must be equal to resume a run."""
    return {
        "attack": _attack_record(setup.attack).model_dump(mode="json"),
        "endpoint": setup.endpoint.model_dump(exclude={"url", "labels"}),
        "surrogate": setup.surrogate,
        "seed": setup.options.seed,
        "scoring_draws": setup.options.scoring_draws,
        "rounds": setup.options.rounds_of(setup.attack),
        "images": {case.file: pixels_sha256(case) for case in setup.cases},
    }


def _attack_record(attack: Attack) -> AttackRecord:
    parameters = asdict(attack)
    return AttackRecord(
        name=attack.name,
        summary=attack.summary,
        reference=attack.reference,
        parameters={k: list(v) if isinstance(v, tuple) else v for k, v in parameters.items()},
        norm=attack.norm,
        epsilon=attack.epsilon,
        targeted=attack.targeted,
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that affect a result."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
