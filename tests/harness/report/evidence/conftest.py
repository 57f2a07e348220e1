import hashlib

import pytest

from harness.report.attackers import attacker_of
from harness.report.evidence.assess import assess
from harness.report.groups import grouped
from harness.results import Check

MET = (
    Check(name="fixed-draw", passed=True, detail="it succeeds", measured={"images": 4.0}),
    Check(name="draws", passed=True, detail="they differ"),
    Check(name="noise", passed=True, detail="noise does nothing", measured={"asr": 0.0}),
)
UNMET = (*MET, Check(name="epsilon", passed=False, detail="it does not rise"))
NOTHING = {0: 0, 10: 0}
EVERYTHING = {0: 0, 10: 10}
SERVED, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture(scope="session")
def make(make_run):
    """Makes a run of an attack: on 40 photographs, with all checks met, and with a surrogate."""

    def run(attack="adaptive", *, surrogate=SERVED, queries=0, **changes):
        made = make_run(attack, **{"images": 40, "checks": MET, "name": attack} | changes)
        gradients = attacker_of(made) not in ("scores", "classes", "control")
        taken = {"model": "lite2" if surrogate == SERVED else "lite0", "sha256": surrogate}
        images = tuple(image.model_copy(update={"queries": queries}) for image in made.images)
        return made.model_copy(update={"surrogate": taken if gradients else None, "images": images})

    return run


@pytest.fixture(scope="session")
def with_digests():
    """Pairs runs with digests, as they are read from files."""
    return lambda *runs: [
        (run, hashlib.sha256(run.model_dump_json().encode()).hexdigest()) for run in runs
    ]


@pytest.fixture(scope="session")
def assessed():
    return lambda *runs: assess(grouped(runs))
