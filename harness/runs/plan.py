"""The plan of a run: everything that its numbers depend on. Another plan is another run.

Not in the plan are the address of the endpoint, the device, and how many photographs are attacked
together: they change a gradient by no more than the rounding of float32.
"""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

from harness.attacks.attack import Attack
from harness.dataset import pixels_sha256
from harness.results import AttackRecord, EndpointRecord
from harness.runs.options import Options
from harness.types import Case

Plan: TypeAlias = dict[str, Any]
"""A plan as it is in ``plan.json``."""

_PACKAGES = (
    "warpguard",
    "torch",
    "adversarial-robustness-toolbox",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python-headless",
    "pillow",
    "scipy",
)
_SHOWN = 4
"""How many differences between two plans are named."""


def plan_of(
    attack: Attack,
    cases: Sequence[Case],
    endpoint: EndpointRecord,
    surrogate: dict[str, str] | None,
    options: Options,
    chosen_by: str | None = None,
) -> Plan:
    """Return the plan of a run; see :class:`harness.runs.run.Setup` for ``chosen_by``."""
    plan: Plan = {
        "attack": attack_record(attack).model_dump(mode="json"),
        "endpoint": endpoint.model_dump(exclude={"url", "labels"}, exclude_defaults=True),
        "surrogate": surrogate,
        "seed": options.seed,
        "scoring_draws": options.scoring_draws,
        "rounds": options.rounds_of(attack),
        "sanity_images": options.sanity_images,
        "versions": versions(),
        "photographs": [
            {
                "file": case.file,
                "sha256": pixels_sha256(case),
                "label": case.label,
                "target": case.target,
            }
            for case in cases
        ],
    }
    if chosen_by is not None:
        plan["chosen_by"] = chosen_by
    as_stored: Plan = json.loads(json.dumps(plan))
    return as_stored


def differences(kept: Any, plan: Plan) -> str:
    """Name what differs between a stored plan and that of a run, such as ``seed (0, not 1)``.

    The keys inside a key are in brackets: ``attack (epsilon (0.05, not 0.02))``.
    """
    if not isinstance(kept, dict):
        return "form"
    words = []
    for key in [*plan, *(each for each in kept if each not in plan)]:
        before, wanted = kept.get(key), plan.get(key)
        if before == wanted:
            continue
        if key == "photographs":
            before, wanted = _by_file(before), _by_file(wanted)
            if before.keys() != wanted.keys():
                words.append(key)
                continue
        if isinstance(before, dict) and isinstance(wanted, dict):
            words.append(f"{key} ({differences(before, wanted) or 'order'})")
        else:
            words.append(f"{key} ({before}, not {wanted})")
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _by_file(photographs: Any) -> dict[str, Any]:
    """Return the photographs of a plan by name; none if the plan is not one of this version."""
    try:
        return {each["file"]: each for each in photographs}
    except (TypeError, KeyError):
        return {}


def attack_record(attack: Attack) -> AttackRecord:
    """Return an attack with all of its parameters."""
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
