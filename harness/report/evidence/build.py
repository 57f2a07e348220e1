"""From runs to a dossier. The same runs give the same dossier, in whatever order they are named."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import fmean

from harness.errors import RunError
from harness.plain import plain
from harness.report import tables
from harness.report.attackers import attacker_of
from harness.report.evidence.aisvs import requirements
from harness.report.evidence.assess import ORDER, RULES, Assessed, assess, by_attacker
from harness.report.evidence.command import command_of
from harness.report.evidence.metrics import metrics
from harness.report.evidence.model import (
    AttackerEvidence,
    CheckEvidence,
    CheckResult,
    DataSet,
    Dossier,
    Photograph,
    RunEvidence,
    Service,
    Share,
)
from harness.report.evidence.robustbench import robustbench
from harness.report.evidence.standards import SOURCES
from harness.report.evidence.threats import evasion_of, terms_of
from harness.report.groups import grouped
from harness.report.verdict import verdicts
from harness.results import Run

_SHA256_CHARACTERS = 64
_RESULTS: dict[bool | None, CheckResult] = {True: "met", False: "not met", None: "not done"}


def build(runs: Sequence[tuple[Run, str]]) -> Dossier:
    """Return the dossier of runs on one model.

    Its subject is the defence with the most attacks. Runs on other defences are listed, and answer
    no question.

    Args:
        runs: each with the SHA-256 of its file.

    Raises:
        RunError: there are no runs, they are on more than one model, or a run lacks something that
            a dossier must have.
    """
    if not runs:
        raise RunError("A dossier needs at least one run.")
    for run, _ in runs:
        _require_complete(run)
    _require_one_model([run for run, _ in runs])
    subject = _subject([run for run, _ in runs])
    ordered = sorted(runs, key=lambda each: _key(each[0], subject))
    groups = grouped([run for run, _ in ordered])
    everything = assess(groups)
    verdict = next(v for v in verdicts(groups) if v.entries[0].run.endpoint.defense == subject)
    digests = [digest for _, digest in ordered]
    about = [each for each in everything if each.run.endpoint.defense == subject]
    data_sets = {data.sha256: data for data in (_data_set(each.run) for each in everything)}
    return Dossier(
        made_with=f"warpguard {_version()}",
        verdict=tuple(sentence.text for sentence in verdict.headline),
        remarks=tuple(sentence.text for sentence in verdict.remarks),
        service=_service(everything, subject),
        attackers=tuple(
            AttackerEvidence(
                attacker=worst.words,
                outcome=worst.outcome,
                most_successful=worst.entry.number,
                runs=tuple(each.entry.number for each in some),
            )
            for worst, some in by_attacker(about)
        ),
        runs=tuple(
            _evidence(each, digest) for each, digest in zip(everything, digests, strict=True)
        ),
        data_sets=tuple(data_sets.values()),
        metrics=metrics(about),
        requirements=requirements(about),
        robustbench=robustbench(subject),
        rules=RULES,
        sources=SOURCES,
    )


def _require_complete(run: Run) -> None:
    """Refuse a run that lacks what an auditor asks for first.

    Raises:
        RunError: it has no versions, or a photograph without a digest.
    """
    what = ""
    if not run.versions:
        what = "it has no versions of packages"
    elif any(not _is_digest(image.sha256) for image in run.images):
        what = "a photograph has no SHA-256"
    elif run.endpoint.model_sha256 is not None and not _is_digest(run.endpoint.model_sha256):
        what = "the SHA-256 of its model is not valid"
    if what:
        raise RunError(
            f"Run {run.name!r} cannot be in a dossier: {what}. Make the run again, or leave it out."
        )


def _is_digest(text: str) -> bool:
    return len(text) == _SHA256_CHARACTERS and set(text) <= set("0123456789abcdef")


def _require_one_model(runs: Sequence[Run]) -> None:
    models = sorted({_model(run) for run in runs})
    if len(models) > 1:
        raise RunError(
            f"A dossier is about one model, but the runs are on {len(models)}: "
            f"{', '.join(models)}. Write a dossier for each."
        )


def _model(run: Run) -> str:
    endpoint = run.endpoint
    known_by = endpoint.model_sha256 or endpoint.model_version or "without a SHA-256"
    return f"{endpoint.model} ({known_by})"


def _subject(runs: Sequence[Run]) -> str:
    """Return the defence with the most attacks; of several, one that is not ``none``."""
    counts = Counter({run.endpoint.defense: 0 for run in runs})
    counts.update(run.endpoint.defense for run in runs if attacker_of(run) != "control")
    return min(counts, key=lambda defense: (-counts[defense], defense == "none", defense))


def _key(run: Run, subject: str) -> tuple[bool, str, int, str, str]:
    """Return what runs are sorted by: their subject, and then the weakest attacker first."""
    defense = run.endpoint.defense
    other = defense != subject
    rank = ORDER.index(attacker_of(run))
    return other, defense, rank, run.attack.name, run.model_dump_json()


def _service(assessed: Sequence[Assessed], subject: str) -> Service:
    endpoint = assessed[0].run.endpoint
    about = [each.run.endpoint for each in assessed if each.run.endpoint.defense == subject]
    others = dict.fromkeys(each.run.endpoint.defense for each in assessed)
    return Service(
        model=plain(endpoint.model),
        model_sha256=endpoint.model_sha256,
        model_version=endpoint.model_version and plain(endpoint.model_version),
        defense=plain(subject),
        defense_assumed=any(each.defense_assumed for each in about),
        addresses=tuple(sorted({plain(each.run.endpoint.url) for each in assessed})),
        compared=tuple(plain(each) for each in others if each != subject),
    )


def _data_set(run: Run) -> DataSet:
    photographs = sorted(
        (Photograph(file=i.file, sha256=i.sha256, label=i.label) for i in run.images),
        key=lambda each: each.file,
    )
    listed = [[each.file, each.sha256, each.label] for each in photographs]
    return DataSet(
        name=plain(run.dataset.name),
        sha256=hashlib.sha256(json.dumps(listed).encode()).hexdigest(),
        photographs=tuple(photographs),
    )


def _evidence(each: Assessed, digest: str) -> RunEvidence:
    run, clean, final = each.run, each.entry.clean, each.entry.final
    command, missing = command_of(run)
    terms = terms_of(run)
    evasion, note = evasion_of(each.entry)
    return RunEvidence(
        number=each.entry.number,
        name=plain(run.name),
        file_sha256=digest,
        created=plain(run.created),
        defense=plain(run.endpoint.defense),
        attack=each.entry.attack,
        attacker=each.words,
        summary=plain(run.attack.summary),
        reference=plain(run.attack.reference),
        goal="a given wrong class" if run.attack.targeted else "any wrong class",
        budget=tables.budget(run),
        posted=tables.posted(run),
        outcome=each.outcome,
        nist=terms.nist,
        atlas=(*terms.atlas, *evasion),
        atlas_note=note,
        data_set=_data_set(run).sha256,
        photographs=len(run.images),
        draws=run.scoring_draws,
        seed=run.seed,
        surrogate=None
        if run.surrogate is None
        else {plain(key): plain(run.surrogate[key]) for key in sorted(run.surrogate)},
        clean_accuracy=Share.of(clean.acc),
        accuracy=Share.of(final.acc),
        clean_success=Share.of(clean.asr),
        success=Share.of(final.asr),
        any_of=Share.of(final.any),
        majority_of=Share.of(final.majority),
        l2_rms=round(final.l2_rms, 6),
        linf=round(final.linf, 6),
        gradients=round(fmean(image.gradients for image in run.images), 3),
        queries=round(fmean(image.queries for image in run.images), 3),
        checks=tuple(
            CheckEvidence(
                name=plain(check.name), result=_RESULTS[check.passed], detail=plain(check.detail)
            )
            for check in run.checks
        ),
        versions={plain(key): plain(run.versions[key]) for key in sorted(run.versions)},
        command=command,
        not_recorded=missing,
    )


def _version() -> str:
    try:
        return version("warpguard")
    except PackageNotFoundError:
        return "(not installed)"
