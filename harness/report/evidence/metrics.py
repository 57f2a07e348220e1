"""The figures for a provider's instructions for use, under the EU AI Act.

Article 15(3) wants the levels and metrics of accuracy declared, Article 13(3)(b)(ii) also what was
tested of robustness and cybersecurity, and Article 15(5) names inputs that are made to cause a
mistake. None of them has a threshold.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean

from harness.plain import plain
from harness.rates import Rate, accuracy, score_at, worst_case
from harness.report import tables
from harness.report.evidence.assess import Assessed
from harness.report.evidence.model import Metric, Share
from harness.report.evidence.standards import DECLARED, RESILIENCE


def metrics(assessed: Sequence[Assessed]) -> tuple[Metric, ...]:
    """Return the figures of the runs on one defence, and what was not measured."""
    groups: dict[str, list[Assessed]] = {}
    for each in assessed:
        if each.outcome == "does not count":
            continue
        groups.setdefault(each.group.title, []).append(each)
    largest_first = sorted(groups.values(), key=lambda members: -len(members[0].run.images))
    found = [metric for members in largest_first for metric in _metrics(members)]
    return (*found, *_NOT_MEASURED)


def _metrics(members: Sequence[Assessed]) -> Iterable[Metric]:
    run = members[0].run
    where = f"{len(run.images)} photographs of {plain(run.dataset.name)}"
    yield Metric(
        name="Accuracy without an attack",
        condition=f"{where}, all draws of {len(members)} run{'s' if len(members) > 1 else ''}",
        measured=Share.of(_clean(members)),
        articles=DECLARED,
    )
    for (budget, posted), each in _by_budget(members).items():
        yield Metric(
            name="Accuracy under attack",
            condition=f"{where}, {budget}, {posted} images: {_named(each)}",
            measured=Share.of(worst_case([one.run for one in each]).acc),
            articles=RESILIENCE,
        )
        targeted = [one for one in each if one.run.attack.targeted]
        if targeted:
            yield Metric(
                name="Success of attackers who want a given class",
                condition=f"{where}, {budget}, {posted} images: {_named(targeted)}",
                measured=Share.of(worst_case([one.run for one in targeted]).asr),
                articles=RESILIENCE,
            )


def _clean(members: Sequence[Assessed]) -> Rate:
    """Return the accuracy on the photographs themselves, over the draws of all runs."""
    by_file: dict[str, list[float]] = {}
    for each in members:
        for image in each.run.images:
            by_file.setdefault(image.file, []).append(accuracy(image, score_at(image, 0)))
    return Rate.of(fmean(shares) for shares in by_file.values())


def _by_budget(members: Sequence[Assessed]) -> dict[tuple[str, str], list[Assessed]]:
    budgets: dict[tuple[str, str], list[Assessed]] = {}
    for each in members:
        if each.attacker != "control":
            key = tables.budget(each.run), tables.posted(each.run)
            budgets.setdefault(key, []).append(each)
    return budgets


def _named(members: Sequence[Assessed]) -> str:
    return "; ".join(each.entry.attack for each in members)


_NOT_MEASURED = (
    Metric(
        name="Accuracy in use",
        condition="the photographs of a run are chosen because the model gets them right",
        measured=None,
        articles=DECLARED,
    ),
    Metric(
        name="Resilience against errors, faults and inconsistencies",
        condition="the runs attack the service, and cause no fault in it",
        measured=None,
        articles="15(4)",
    ),
    Metric(
        name="Resilience against data and model poisoning, and attacks on confidentiality",
        condition="the harness makes evasion attacks only",
        measured=None,
        articles="15(5)",
    ),
)
