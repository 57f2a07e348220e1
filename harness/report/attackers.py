"""The attackers of runs, by what they know: a verdict names them instead of their attacks."""

from typing import Literal, TypeAlias

from harness.results import Run

Attacker: TypeAlias = Literal[
    "control", "ready-made", "identity", "scores", "classes", "transfer", "exact", "other"
]

_BY_ATTACK: dict[str, Attacker] = {
    **dict.fromkeys(("noise", "stripes"), "control"),
    **dict.fromkeys(("fgsm", "i-fgsm", "l-bfgs", "cw", "deepfool"), "ready-made"),
    **dict.fromkeys(("bpda", "bpda-eot"), "identity"),
    **dict.fromkeys(("square", "simba", "nes"), "scores"),
    "hopskipjump": "classes",
    **dict.fromkeys(("semi-brute-force", "adaptive", "pgd"), "exact"),
}
_BY_KNOWLEDGE: dict[str, Attacker] = {
    "bare": "ready-made",
    "identity": "identity",
    "random": "exact",
    "exact": "exact",
}
MEASURABLE: tuple[Attacker, ...] = (
    "ready-made",
    "identity",
    "scores",
    "classes",
    "transfer",
    "exact",
)
"""The attackers that a complete evaluation has, from the least to the most knowledge."""
WITHOUT_DEFENSE: tuple[Attacker, ...] = ("ready-made", "scores", "classes")
"""The attackers that differ from each other on a model without a defence."""
SUBJECTS: dict[Attacker, str] = {
    "control": "random changes without a search",
    "ready-made": "ready-made adversarial images",
    "identity": "an attacker who takes gradients as if there were no defence (BPDA)",
    "scores": "an attacker who sees only the probabilities in the answers",
    "classes": "an attacker who sees only the classes in the answers",
    "transfer": "an attacker who knows the code of the defence, but not the model",
    "exact": "an attacker who knows the model and the code of the defence",
    "other": "an attack of another kind",
}
IN_SHORT: dict[Attacker, str] = {
    "control": "control, without a search",
    "ready-made": "ready-made images",
    "identity": "gradients without the defence",
    "scores": "sees probabilities",
    "classes": "sees classes",
    "transfer": "knows the code",
    "exact": "knows the model and the code",
    "other": "",
}
"""What distinguishes each attacker, for charts."""
PLURAL: tuple[Attacker, ...] = ("control", "ready-made")


def attacker_of(run: Run) -> Attacker:
    """Return what the attacker of a run knows; the parameter ``knowledge`` goes before the name."""
    knowledge = run.attack.parameters.get("knowledge")
    known = _BY_KNOWLEDGE.get(str(knowledge)) or _BY_ATTACK.get(run.attack.name, "other")
    return "transfer" if known == "exact" and gradients_of(run) else known


def gradients_of(run: Run) -> str | None:
    """Return the other model whose gradients the attacker took, or None.

    An endpoint that reports no SHA-256 may serve any model. Only the check ``endpoint`` shows then
    that its answers are those of the attacker's copy.
    """
    served, taken = run.endpoint.model_sha256, run.surrogate
    if taken is None or (served is not None and served == taken.get("sha256")):
        return None
    if served is None and any(check.name == "endpoint" and check.passed for check in run.checks):
        return None
    return taken.get("model") or "another model"
