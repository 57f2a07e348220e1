"""The page on signals names what an event really has, and what to do about each event and alert."""

import re
from pathlib import Path

import yaml

from service.signals.names import SIGNALS
from tests.service.signals.test_event import event

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "signals.md").read_text("utf-8")
RULES = yaml.safe_load((ROOT / "docker" / "prometheus" / "rules" / "warpguard.yml").read_text())


def rows(heading):
    """The cells of the table whose head begins with some text."""
    table = PAGE[PAGE.index(heading) :].partition("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


def get(found, path):
    for name, index in re.findall(r"(\w+)(?:\[(\d+)\])?", path):
        found = found[name][int(index)] if index else found[name]
    return found


def test_the_fields_of_the_table_are_those_of_an_event():
    table = rows("| OCSF | ECS | meaning |")
    events = [event(signals=SIGNALS), event("203.0.113.7", is_key=False)]
    for ocsf, ecs, _ in table:
        for path in re.findall(r"`([^`]+)`", ocsf):
            full = f"finding_info.{path}" if path == "last_seen_time" else path
            owners = [each for each in events if full.split(".")[-1] in str(each)]
            assert any(get(each, full) is not None for each in owners), full
        assert all(re.fullmatch(r"`@?[a-z_.]+`", each) for each in ecs.split(", ") if each), ecs
    fields = set(re.findall(r"`([^`]+)`", " ".join(ecs for _, ecs, _ in table)))
    assert fields >= {"@timestamp", "event.kind", "message", "rule.name", "user.name", "source.ip"}


def test_there_is_something_to_do_about_each_event_and_alert():
    alerts = {
        rule["alert"]
        for group in RULES["groups"]
        for rule in group["rules"]
        if "alert" in rule and "warpguard_signal" in rule["expr"]
    }
    table = rows("| what you see |")
    assert len(alerts) >= 4
    assert {re.search(r"`([^`]+)`", row[0])[1] for row in table} == alerts | set(SIGNALS)
    assert all(len(row) == 4 and all(row) for row in table)
