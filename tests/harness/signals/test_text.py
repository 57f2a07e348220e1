"""The tables: the worst row comes first, and every figure has its words."""

from harness.results import DatasetRecord
from harness.signals import Measurement, markdown
from harness.signals.outcome import ClientRecord, KindRecord

SEEN = ClientRecord(
    posts=100,
    right=80,
    noticed=80,
    flagged={"same-picture": 80, "concentration": 40},
    first={"same-picture": 21, "concentration": 33},
    squeezed=100,
    far=3,
    events=(21, 90),
    skipped={"identical": 5},
)
LATER = SEEN.model_copy(update={"first": {"same-picture": 25}, "events": (25,)})
UNSEEN = ClientRecord(posts=100, right=50)


def kind(name, *clients, who="attack", wrong=0.5):
    return KindRecord(
        name=name,
        summary=name,
        who=who,
        attack=None,
        clients=clients,
        reached_bare=None,
        wrong=wrong,
    )


def tables(*kinds):
    done = Measurement(
        model="m",
        model_sha256=None,
        defense="fd+rdg",
        dataset=DatasetRecord(name="d", candidates=3, selected=2),
        limit=2,
        posts=24,
        seed=0,
        versions={},
        kinds=kinds,
    )
    return markdown(Measurement.model_validate_json(done.model_dump_json()))


def rows(text):
    return [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines()]


def test_a_row_has_all_figures():
    text = tables(kind("Square", SEEN, LATER))
    assert (
        "| Square | 200 (190 different) | 80 % from post 21–25 | 40 % from post 33 "
        "| 3.0 % over 1.1 | post 21–25 | 50 % |" in text
    )


def test_the_attackers_that_are_noticed_least_come_first():
    text = tables(
        kind("seen", SEEN),
        kind("half", SEEN, UNSEEN),
        kind("harmless", UNSEEN, wrong=0.1),
        kind("harmful", UNSEEN, wrong=0.9, who="knows the signals"),
    )
    assert rows(text)[2:] == ["harmful", "harmless", "half", "seen"]
    assert "post 21, 1 of 2 clients" in text
    assert "| none | none | not measured | never |" in text


def test_the_ordinary_traffic_that_is_flagged_most_comes_first():
    text = tables(kind("quiet", UNSEEN, who="ordinary"), kind("loud", SEEN, who="ordinary"))
    assert rows(text) == ["ordinary traffic", "---", "loud", "quiet"]
