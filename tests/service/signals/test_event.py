"""An event is a valid OCSF Detection Finding of the pinned version."""

import json
from pathlib import Path

import jsonschema
import pytest

from service.signals.episode import Episode
from service.signals.event import KINDS, OCSF_VERSION, finding
from service.signals.names import SIGNALS

SCHEMA = json.loads(
    Path(__file__).with_name(f"ocsf_detection_finding_{OCSF_VERSION}.json").read_text("utf-8")
)


def event(client="shop", is_key=True, signals=("same-picture",), events=1):
    episode = Episode(events=events)
    for number, signal in enumerate(signals):
        tally = episode.tally(signal)
        tally.add(20 + number, 1.0 + number, 5.0 + number)
        tally.add_agreement([0.5, 0.75])
    return finding(
        client, episode, is_key=is_key, epoch_ms=lambda at_s: int(1000 * at_s), now_s=9.0
    )


@pytest.mark.parametrize("signals", [*((each,) for each in SIGNALS), SIGNALS])
@pytest.mark.parametrize(
    ("client", "is_key"),
    [("shop", True), ("203.0.113.7", False), ("2001:db8::/64", False), ("", False)],
)
@pytest.mark.parametrize("events", [1, 2])
def test_it_is_valid(signals, client, is_key, events):
    jsonschema.validate(json.loads(json.dumps(event(client, is_key, signals, events))), SCHEMA)


@pytest.mark.parametrize("missing", SCHEMA["required"])
def test_the_schema_refuses_what_is_not_a_finding(missing):
    one = event()
    del one[missing]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(one, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**event(), "fingerprint": [1]}, SCHEMA)


def test_it_says_who_what_and_when():
    one = event(signals=("concentration", "same-picture"))
    assert one["metadata"]["version"] == "1.5.0"
    assert (one["class_uid"], one["type_uid"], one["activity_name"]) == (2004, 200401, "Create")
    assert one["count"] == 21  # of same-picture, the more certain signal
    assert one["message"] == (
        "shop has posted 21 versions of one picture (same-picture) and "
        "20 images that look alike to the model (concentration)."
    )
    found = one["finding_info"]
    assert found["analytic"]["name"] == "same-picture"
    assert [each["name"] for each in found["related_analytics"]] == ["concentration"]
    assert (found["first_seen_time"], found["last_seen_time"]) == (1000, 6000)
    (evidence,) = one["evidences"]
    assert evidence["actor"]["user"]["name"] == "shop"
    assert evidence["data"]["concentration"] == {"images": 20, "mean_agreement": 0.625}


def test_an_address_is_an_endpoint():
    (evidence,) = event("203.0.113.7", is_key=False)["evidences"]
    assert evidence["src_endpoint"] == {"ip": "203.0.113.7"}
    (evidence,) = event("2001:db8::/64", is_key=False)["evidences"]
    assert evidence["src_endpoint"] == {"name": "2001:db8::/64"}


def test_later_events_update_the_first():
    assert event(events=2)["activity_name"] == "Update"
    assert event(events=2)["type_uid"] == 200402


def test_no_event_claims_that_the_model_was_evaded():
    assert set(KINDS) == set(SIGNALS)
    for signal in SIGNALS:
        attacks = event(signals=(signal,))["finding_info"]["attacks"]
        assert {each["version"] for each in attacks} == {"5.6.0"}
        assert "AML.T0040" in {each["technique"]["uid"] for each in attacks}
        assert "AML.T0015" not in json.dumps(attacks)
