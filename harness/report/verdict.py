"""The verdict: what a defence stops and what it does not, in sentences made of the runs alone.

::

    groups ── by model and defence ── by attacker ── outcome of each run ── sentences

Each sentence names the runs that it rests on. A run whose check was not met bears a success, which
is a lower bound, but no failure, because a broken attack fails too.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from harness.rates import Rate, Rates
from harness.report.attackers import (
    MEASURABLE,
    PLURAL,
    SUBJECTS,
    WITHOUT_DEFENSE,
    Attacker,
    attacker_of,
)
from harness.report.controls import MISSING, Stripes, stripes_of, wants_stripes
from harness.report.groups import Entry, Group, plain
from harness.report.outcomes import LARGEST_OPEN as LARGEST_OPEN
from harness.report.outcomes import SMALLEST_GAIN as SMALLEST_GAIN
from harness.report.outcomes import Outcome as Outcome
from harness.report.outcomes import is_checked, progress
from harness.report.outcomes import outcome as outcome
from harness.report.tables import budget, number, percent, rate, unmet

Kind: TypeAlias = Literal[Outcome, "clean", "unmeasured"]

_ALL = 0.95
"""From this part of the budget on, all of it counts as spent."""
_TOO_FEW = "The photographs are too few for a verdict on "
_MADE_FOR_IT = "adversarial images made for this model"


@dataclass(frozen=True)
class Sentence:
    """A sentence of the verdict.

    Attributes:
        kind: what it reports: an outcome, the cost without an attack, or what is missing.
        text: the sentence. It has no markup.
        entries: the runs that it rests on; none if it reports what is missing.
        attackers: the attackers that it is about.
    """

    kind: Kind
    text: str
    entries: tuple[Entry, ...] = ()
    attackers: tuple[Attacker, ...] = ()

    @property
    def basis(self) -> str:
        """The runs and their photographs: ``i-fgsm, cw; 50 photographs``."""
        if not self.entries:
            return ""
        sizes = sorted({len(entry.run.images) for entry in self.entries}, reverse=True)
        count = " or ".join(map(str, sizes))
        names = ", ".join(dict.fromkeys(entry.attack for entry in self.entries))
        return f"{names}; {count} photograph{'' if sizes == [1] else 's'}"


@dataclass(frozen=True)
class Verdict:
    """What is known of one defence in front of one model.

    Attributes:
        title: the defence and the model.
        headline: at most two sentences: what is stopped, and the strongest attacker that is not.
        remarks: further sentences, ordered by weight; the last one says what was not measured.
        entries: all runs on this defence and this model.
    """

    title: str
    headline: tuple[Sentence, ...]
    remarks: tuple[Sentence, ...]
    entries: tuple[Entry, ...]

    @property
    def text(self) -> str:
        """The headline as one paragraph."""
        return " ".join(sentence.text for sentence in self.headline)


def verdicts(groups: Iterable[Group]) -> tuple[Verdict, ...]:
    """Return a verdict for each defence and model, the one with the most runs first.

    Runs without a defence come last, because they are what the defences are compared with.
    """
    members: dict[tuple[str, str | None, str], list[Entry]] = {}
    for group in groups:
        for entry in group.entries:
            endpoint = entry.run.endpoint
            key = (endpoint.model, endpoint.model_sha256, entry.defense)
            members.setdefault(key, []).append(entry)
    ordered = sorted(members.values(), key=lambda some: (_bare(some), -len(some)))
    return tuple(_verdict(entries) for entries in ordered)


def _bare(entries: Sequence[Entry]) -> bool:
    return entries[0].run.endpoint.defense == "none"


def _verdict(entries: Sequence[Entry]) -> Verdict:
    by_attacker: dict[Attacker, list[Entry]] = {}
    for entry in entries:
        by_attacker.setdefault(attacker_of(entry.run), []).append(entry)
    order: tuple[Attacker, ...] = (*MEASURABLE, "other")
    found = [
        sentence
        for each in order
        if each in by_attacker
        for sentence in _sentences(each, by_attacker[each])
    ]
    stopped = [sentence for sentence in found if sentence.kind == "stopped"]
    through = [s for s in found if s.kind in ("reaches", "degrades")]
    # The attacker with the most knowledge goes first if several gain equally much.
    through.sort(
        key=lambda s: (
            s.kind != "reaches",
            -round(progress(s.entries[0]), 2),
            -order.index(s.attackers[0]),
        )
    )
    headline = [*([_joined(stopped)] if stopped else []), *through[:1]]
    few = [sentence for sentence in found if sentence.kind == "too-few"]
    remarks = [
        *through[1:],
        *(s for s in found if s.kind in ("says-little", "void")),
        *([_joined(few)] if few else []),
    ]
    remarks.append(_clean(entries))
    wanted = WITHOUT_DEFENSE if _bare(entries) else MEASURABLE
    if missing := [each for each in wanted if each not in by_attacker]:
        names = "; ".join(_subject(each, entries) for each in missing)
        remarks.append(Sentence("unmeasured", f"Not measured: {names}.", (), tuple(missing)))
    if not headline:
        headline, remarks = remarks[:1], remarks[1:]
    defense = entries[0].defense
    if _bare(entries):
        defense = defense.replace("none", "without a defence", 1)
    title = f"{plain(entries[0].run.endpoint.model)} · {defense}"
    return Verdict(title, tuple(headline), tuple(remarks), tuple(entries))


def _sentences(attacker: Attacker, entries: Sequence[Entry]) -> Iterable[Sentence]:
    """Yield the sentences about one attacker: its strongest outcome, and which runs say little."""
    outcomes: dict[Outcome, list[Entry]] = {}
    for entry in entries:
        outcomes.setdefault(outcome(entry), []).append(entry)
    subject = _subject(attacker, entries)
    if reached := outcomes.get("reaches"):
        best = max(reached, key=lambda entry: (progress(entry), entry.run.attack.targeted))
        yield Sentence(
            "reaches", _first_upper(_reaches(attacker, subject, best)), (best,), (attacker,)
        )
    elif degraded := outcomes.get("degrades"):
        best = min(degraded, key=lambda entry: entry.final.acc.share)
        yield Sentence(
            "degrades", _first_upper(_degrades(attacker, subject, best)), (best,), (attacker,)
        )
    elif stopped := outcomes.get("stopped"):
        text = _stopped(attacker, subject, stopped)
        yield Sentence("stopped", _first_upper(text), tuple(stopped), (attacker,))
    for entry in outcomes.get("says-little", ()):
        text = f"{subject}: {_figure(entry)}, which says little ({unmet(entry)})."
        yield Sentence("says-little", _first_upper(text), (entry,), (attacker,))
    if (few := outcomes.get("too-few")) and not set(outcomes) & {"reaches", "degrades", "stopped"}:
        most = max(few, key=lambda entry: (len(entry.run.images), entry.final.asr.share))
        text = f"{_TOO_FEW}{subject}: {rate(most.final.asr)}."
        yield Sentence("too-few", text, tuple(few), (attacker,))
    for entry in outcomes.get("void", ()):
        text = f"{subject}: the figures of this run do not count ({unmet(entry)})."
        yield Sentence("void", _first_upper(text), (entry,), (attacker,))


def _joined(alike: Sequence[Sentence]) -> Sentence:
    """Make one sentence of several of one kind."""
    first, *others = (sentence.text.removesuffix(".") for sentence in alike)
    others = [text.removeprefix(_TOO_FEW) for text in others]
    return Sentence(
        alike[0].kind,
        "; ".join([first, *(text[0].lower() + text[1:] for text in others)]) + ".",
        tuple(entry for sentence in alike for entry in sentence.entries),
        tuple(attacker for sentence in alike for attacker in sentence.attackers),
    )


def _stopped(attacker: Attacker, subject: str, entries: Sequence[Entry]) -> str:
    worst = max(entries, key=lambda entry: entry.final.asr.share)
    verb = "are" if attacker in PLURAL else "is"
    unchecked = "" if any(map(is_checked, entries)) else " (it was not checked that it works)"
    posts = _posts(worst)
    within = f" within {number(round(posts))} posts for each photograph" if posts >= 1 else ""
    return f"{subject} {verb} stopped{within}: {_figure(worst)}{unchecked}."


def _reaches(attacker: Attacker, subject: str, entry: Entry) -> str:
    s, asr = "" if attacker in PLURAL else "s", entry.final.asr
    gained = (
        f"get{s} {rate(asr)} of the answers"
        if entry.run.attack.targeted
        else f"make{s} {rate(asr)} of the answers wrong"
    )
    spent = _spent(entry, lambda rates: rates.asr.share)
    beyond = _beyond(entry, asr.share, entry.clean.asr.share, lambda stripes: stripes.success)
    but = f" ({unmet(entry)})" if entry.failed else ""
    return f"{subject} {gained}{spent}{beyond}{but}."


def _degrades(attacker: Attacker, subject: str, entry: Entry) -> str:
    does, s = ("do", "") if attacker in PLURAL else ("does", "s")
    acc, clean = entry.final.acc, 1 - entry.clean.acc.share
    wrong = Rate(1 - acc.share, 1 - acc.high, 1 - acc.low)
    spent = _spent(entry, lambda rates: 1 - rates.acc.share)
    but = f" ({unmet(entry)}: that it misses its class says little)" if entry.failed else ""
    beyond = _beyond(entry, wrong.share, clean, lambda stripes: stripes.wrong)
    return (
        f"{subject} {does} not reach the wanted class ({rate(entry.final.asr)}), but make{s} "
        f"{rate(wrong)} of the answers wrong{spent}{beyond}{but}."
    )


def _spent(entry: Entry, gain: Callable[[Rates], float]) -> str:
    """Describe what it took: `` after 25 rounds, at 48 % of the budget (l2 ≤ 0.05)``."""
    run, posts = entry.run, _posts(entry)
    if posts >= 1:
        return f" after {number(round(posts))} posts for each photograph, within {budget(run)}"
    if len(entry.by_round) <= 2:  # one round, such as an attack on the bare model
        return f", within {budget(run)}"
    reached, rates = next(
        (round_, rates)
        for round_, rates in entry.by_round.items()
        if gain(rates) >= gain(entry.final)
    )
    used = (rates.l2_rms if run.attack.norm == "l2" else rates.linf) / run.attack.epsilon
    spent = f"at {100 * used:.0f} % of the budget ({budget(run)})"
    return f" after {reached} rounds, {spent if used < _ALL else f'within {budget(run)}'}"


def _posts(entry: Entry) -> float:
    """Return how many images were posted to find one adversarial image."""
    return sum(image.queries for image in entry.run.images) / len(entry.run.images)


def _beyond(
    entry: Entry, reached: float, clean: float, of_stripes: Callable[[Stripes], float]
) -> str:
    """Compare with the clean photographs and, for attacks without gradients, with stripes."""
    without = f"; without an attack it is {percent(clean)}" if clean > 0 else ""
    if not wants_stripes(entry.run):
        return without
    stripes = stripes_of(entry.run)
    if stripes is None:
        return f"{without}; there is {MISSING}"
    control = of_stripes(stripes)
    points = 100 * (reached - max(control, clean))
    gained = f"the search adds {points:.0f} points" if points >= 1 else "the search adds nothing"
    return f"{without}; random stripes, never scored, reach {percent(control)}, so {gained}"


def _figure(entry: Entry) -> str:
    shown = rate(entry.final.asr)
    if entry.run.attack.targeted:
        return f"{shown} of the answers are the attacker's"
    return (
        f"{shown} of the answers are wrong, and {percent(entry.clean.asr.share)} without the attack"
    )


def _clean(entries: Sequence[Entry]) -> Sentence:
    most = max(entries, key=lambda entry: len(entry.run.images))
    return Sentence(
        "clean",
        f"Without an attack, {rate(most.clean.acc)} of the answers are right.",
        (most,),
    )


def _subject(attacker: Attacker, entries: Sequence[Entry]) -> str:
    return _MADE_FOR_IT if attacker == "ready-made" and _bare(entries) else SUBJECTS[attacker]


def _first_upper(text: str) -> str:
    return text[0].upper() + text[1:]
