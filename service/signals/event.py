"""An event for the operator: an OCSF Detection Finding, which machines for security events read.

https://schema.ocsf.io/1.5.0/classes/detection_finding
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from service import __version__
from service.signals.episode import Episode, Tally

OCSF_VERSION = "1.5.0"
ATLAS_VERSION = "5.6.0"

_CLASS_UID = 2004
_CREATE, _UPDATE = (1, "Create"), (2, "Update")
_API_ACCESS = {
    "version": ATLAS_VERSION,
    "technique": {"uid": "AML.T0040", "name": "AI Model Inference API Access"},
}


@dataclass(frozen=True)
class _Kind:
    """What is fixed for a signal; the ids are those of OCSF and of MITRE ATLAS."""

    noun: str
    rule: int
    severity: tuple[int, str]
    confidence: tuple[int, str]
    technique: tuple[str, str]
    sub_technique: tuple[str, str] | None


_LOW, _MEDIUM, _HIGH = (2, "Low"), (2, "Medium"), (3, "High")
_RULE, _BEHAVIORAL, _STATISTICAL = 1, 2, 3
_CRAFT = ("AML.T0043", "Craft Adversarial Data")
_BLACK_BOX = ("AML.T0043.001", "Black-Box Optimization")
KINDS = {  # the most certain signal first
    "same-picture": _Kind(
        "versions of one picture", _RULE, (3, "Medium"), _HIGH, _CRAFT, _BLACK_BOX
    ),
    "squeeze": _Kind(
        "images that the defence moves far", _STATISTICAL, (3, "Medium"), _MEDIUM, _CRAFT, None
    ),
    "concentration": _Kind(
        "images that look alike to the model", _BEHAVIORAL, _LOW, _MEDIUM, _CRAFT, _BLACK_BOX
    ),
}


def sentence(client: str, episode: Episode) -> str:
    """What has happened, in a sentence."""
    noticed = (f"{tally.images} {KINDS[name].noun} ({name})" for name, tally in _noticed(episode))
    return f"{client or 'A client'} has posted {' and '.join(noticed)}."


def finding(
    client: str, episode: Episode, *, is_key: bool, epoch_ms: Callable[[float], int], now_s: float
) -> dict[str, Any]:
    """Make an event.

    Args:
        client: the name of the key, or the address.
        episode: what was noticed; at least one signal counts.
        is_key: whether the client is a key.
        epoch_ms: turns a time of :func:`time.monotonic` into milliseconds since 1970.
        now_s: the time of the event, as :func:`time.monotonic` counts.
    """
    noticed = _noticed(episode)
    activity_id, activity = _CREATE if episode.events == 1 else _UPDATE
    name, tally = noticed[0]
    kind = KINDS[name]
    first_ms = epoch_ms(min(each.first_s for _, each in noticed))
    last_ms = epoch_ms(max(each.last_s for _, each in noticed))
    analytics = [
        {"name": each, "type_id": KINDS[each].rule, "version": __version__} for each, _ in noticed
    ]
    return {
        "metadata": {
            "version": OCSF_VERSION,
            "product": {
                "name": "warpguard",
                "vendor_name": "warpguard",
                "version": __version__,
            },
        },
        "time": epoch_ms(now_s),
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": _CLASS_UID,
        "class_name": "Detection Finding",
        "activity_id": activity_id,
        "activity_name": activity,
        "type_uid": 100 * _CLASS_UID + activity_id,
        "severity_id": kind.severity[0],
        "severity": kind.severity[1],
        "confidence_id": kind.confidence[0],
        "confidence": kind.confidence[1],
        "status_id": 1,
        "status": "New",
        "is_alert": True,
        "message": sentence(client, episode),
        "count": tally.images,
        "start_time": first_ms,
        "end_time": last_ms,
        "finding_info": {
            "uid": episode.uid,
            "title": f"Many {kind.noun} from one client",
            "analytic": analytics[0],
            "related_analytics": analytics[1:],
            "first_seen_time": first_ms,
            "last_seen_time": last_ms,
            "attacks": [{"version": ATLAS_VERSION, **_technique(kind)}, _API_ACCESS],
        },
        "evidences": [{**_who(client, is_key=is_key), "data": dict(map(_evidence, noticed))}],
    }


def _noticed(episode: Episode) -> list[tuple[str, Tally]]:
    """The signals of an episode that have an event, the most certain first."""
    return [(name, episode.tally(name)) for name in KINDS if episode.has(name)]


def _technique(kind: _Kind) -> dict[str, Any]:
    uid, name = kind.technique
    found: dict[str, Any] = {"technique": {"uid": uid, "name": name}}
    if kind.sub_technique is not None:
        uid, name = kind.sub_technique
        found["sub_technique"] = {"uid": uid, "name": name}
    return found


def _evidence(noticed: tuple[str, Tally]) -> tuple[str, dict[str, Any]]:
    name, tally = noticed
    found: dict[str, Any] = {"images": tally.images}
    if tally.agreement is not None:
        found["mean_agreement"] = round(tally.agreement, 3)
    return name, found


def _who(client: str, *, is_key: bool) -> dict[str, Any]:
    if is_key:
        return {"actor": {"user": {"name": client}}}
    try:
        ip_address(client)
    except ValueError:  # the network of an IPv6 address, or a socket without an address
        return {"src_endpoint": {"name": client or "unknown"}}
    return {"src_endpoint": {"ip": client}}
