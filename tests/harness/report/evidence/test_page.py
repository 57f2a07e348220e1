"""The page: what it opens with, that it loads nothing, and that hostile names stay text."""

import pytest

from harness.report.evidence import build, files
from harness.results import Check
from tests.harness.report.evidence.conftest import EVERYTHING, MET, NOTHING
from tests.harness.report.test_page import LOADS, Page

HOSTILE = "<script>alert(1)</script>{{ 7 * 7 }}\x1b[31m\u202e`x`\"'"


@pytest.fixture
def page(with_digests):
    return lambda *runs: Page(files(build(with_digests(*runs)))["dossier.html"])


def test_it_opens_with_the_verdict_and_the_attackers(page, make):
    text = page(make("i-fgsm", successes=NOTHING), make("adaptive", successes=EVERYTHING)).text
    parts = [
        "Robustness dossier: lite2 behind fd+rdg",
        "Ready-made adversarial images are stopped",
        "An attacker who knows the model and the code of the defence gets 100 % [91…100]",
        "What the service stops, and what it does not",
        "Figures for the instructions for use (EU AI Act)",
        "OWASP AISVS 1.0 (2026), chapter C11",
        "MITRE ATLAS 5.6.0",
        "Why RobustBench refuses this defence",
        "warpguard-harness run adaptive --endpoint http://127.0.0.1:1 --defense fd+rdg",
        "Sources",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_it_loads_nothing_and_links_only_to_itself_and_the_sources(page, make):
    shown = page(make(successes=EVERYTHING))
    assert shown.all("script") == shown.all("link") == shown.all("img") == []
    addresses = [
        value for _, attributes in shown.tags for name, value in attributes.items() if name in LOADS
    ]
    assert all(each.startswith(("#run-", "https://")) for each in addresses)
    assert not any("url(" in style or "@import" in style for style in shown.styles)
    inside = {attributes["id"] for _, attributes in shown.tags if "id" in attributes}
    assert {each[1:] for each in addresses if each.startswith("#")} <= inside


def test_hostile_names_stay_text(page, make):
    run = make(
        name=HOSTILE,
        model=HOSTILE,
        dataset=HOSTILE,
        checks=(*MET, Check(name=HOSTILE, passed=False, detail=HOSTILE)),
        successes=EVERYTHING,
    )
    attack = run.attack.model_copy(update={"summary": HOSTILE, "reference": HOSTILE})
    endpoint = run.endpoint.model_copy(update={"url": HOSTILE})
    changes = {"attack": attack, "endpoint": endpoint, "versions": {HOSTILE: HOSTILE}}
    shown = page(run.model_copy(update=changes))
    assert shown.all("script") == []
    assert "<script>alert(1)</script>{{ 7 * 7 }} [31m" in shown.text
    assert "\x1b" not in shown.text
    assert "\u202e" not in shown.text
    assert not any(name.startswith("on") for _, attributes in shown.tags for name in attributes)


def test_runs_on_other_defences_are_shown_apart(page, make):
    shown = page(make(), make("i-fgsm"), make("i-fgsm", defense="none"))
    assert "Runs on other defences, for comparison" in shown.text
    assert "compared with none" in shown.text
    assert "Runs on other defences" not in page(make()).text
