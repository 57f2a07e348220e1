"""One attack on one endpoint: attack → post → score → check, resumable after a kill."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.attacks.attack import Attack, Attacker
from harness.budget import as_pixels, l2_rms, linf
from harness.dataset import pixels_sha256
from harness.results import DatasetRecord, EndpointRecord, ImageResult, Run, Score
from harness.runs.check_context import CheckContext
from harness.runs.endpoint_check import Copy, with_assumptions
from harness.runs.options import Options
from harness.runs.plan import Plan, attack_record, plan_of, versions
from harness.runs.sanity import checks_of
from harness.runs.states import ImageProgress
from harness.runs.steps import counted_steps
from harness.runs.storage import Storage, finished, opened
from harness.types import Case, OnProgress, Posted, State

SAVE_EVERY_S = 10.0
"""How much work may be lost. If every short round were stored, 2,000 rounds of 50 photographs would
write about 100 GB."""


@dataclass(frozen=True)
class Setup:
    """What is attacked, with which attack, and in which folder the run is stored.

    Attributes:
        reuse_from: the folder of a run of the same attack, whose iterates are posted without a new
            search. An attack on the bare model finds the same images for any endpoint.
        copy: the served model on this machine, with which the endpoint is compared.
        chosen_by: what chose the photographs, if the endpoint reports no digest of its model. It is
            part of the plan.
        confirm: raises an error if the endpoint's answers since its last call are not to be stored,
            because they may come from another model; see :meth:`Target.confirm`.
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
    copy: Copy | None = None
    chosen_by: str | None = None
    confirm: Callable[[], None] = lambda: None


def execute(setup: Setup, on_progress: OnProgress = lambda *_: None) -> Run:
    """Do a run, or the rest of an interrupted run, and write its result.

    Raises:
        HarnessError: see :mod:`harness.errors`. The work done so far stays stored.
    """
    plan = plan_of(
        *(setup.attack, setup.cases, setup.endpoint, setup.surrogate, setup.options),
        setup.chosen_by,
    )
    with opened(setup.folder, plan, setup.confirm) as storage:
        results = _results(setup, plan, storage, on_progress)
        checks = checks_of(
            CheckContext(
                setup.attack, setup.cases, setup.attacker, setup.options, storage, setup.copy
            ),
            results,
            on_progress,
        )
        if setup.endpoint.defense_assumed:
            checks = with_assumptions(checks, chosen_by_endpoint=setup.copy is None)
        setup.confirm()
        run = Run(
            name=setup.folder.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=sum(result.seconds for result in results),
            versions=versions(),
            attack=attack_record(setup.attack),
            endpoint=setup.endpoint,
            surrogate=setup.surrogate,
            dataset=setup.dataset,
            seed=setup.options.seed,
            scoring_draws=setup.options.scoring_draws,
            options=setup.options.recorded(setup.attack),
            images=tuple(results),
            checks=tuple(checks),
        )
        run.write(setup.folder)
    return run


def _results(
    setup: Setup, plan: Plan, storage: Storage, on_progress: OnProgress
) -> list[ImageResult]:
    """Attack all photographs, some at once."""
    results: list[ImageResult] = []
    at_once = setup.options.images_at_once
    total = len(setup.cases) * setup.attack.rounds
    for start in range(0, len(setup.cases), at_once):
        some = setup.cases[start : start + at_once]
        progress = [
            storage.load(case) or ImageProgress(setup.attack.begin(case, setup.attacker), [])
            for case in some
        ]
        for rounds in _attack(setup, plan, some, progress, storage, on_progress):
            on_progress("attack", start * setup.attack.rounds + rounds, total)
        results += [_result(*pair) for pair in zip(some, progress, strict=True)]
    return results


def _attack(
    setup: Setup,
    plan: Plan,
    cases: Sequence[Case],
    progress: Sequence[ImageProgress],
    storage: Storage,
    on_progress: OnProgress,
) -> Iterator[int]:
    """Attack some photographs together, and yield after each round how many rounds all have."""
    attack = setup.attack
    scored = {0, *setup.options.rounds_of(attack)}
    pairs = list(zip(cases, progress, strict=True))
    saved_s = time.monotonic()
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
            setup, plan, [case for case, _ in active], [one.state for _, one in active], on_progress
        )
        seconds_each = (time.monotonic() - started) / len(active)
        for (_, one), state in zip(active, states, strict=True):
            one.state, one.seconds = state, one.seconds + seconds_each
        if attack.early_stop:
            _stop_at_successes(setup, active)
        if time.monotonic() - saved_s >= SAVE_EVERY_S:
            for case, one in active:
                storage.save(case, one)
            saved_s = time.monotonic()
        yield sum(attack.rounds if o.is_over(attack.rounds) else o.state.round for o in progress)
    yield len(cases) * attack.rounds


def _next_states(
    setup: Setup,
    plan: Plan,
    cases: Sequence[Case],
    states: Sequence[State],
    on_progress: OnProgress,
) -> list[State]:
    attack = setup.attack
    if not attack.on_bare_model:
        return attack.advance(cases, states, setup.attacker)
    if setup.reuse_from is not None:
        return [finished(setup.reuse_from, plan, case).state for case in cases]
    module = setup.attacker.surrogate_for(attack).module
    with counted_steps(module, attack, len(cases), on_progress):
        return attack.advance(cases, states, setup.attacker)


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
