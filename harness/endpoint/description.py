"""How an endpoint describes itself: the model that it serves, and the defence in front of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from defenses import OPERATIONS, DefenseError, FromFile, Pipeline, split_terms
from harness.endpoint.answers import ListedDefense, ListedDefenses, ServedModels, document
from harness.endpoint.transport import Answer
from harness.errors import EndpointError

_LONGEST_DEFENSE = 1000


@dataclass(frozen=True)
class Description:
    """How an endpoint describes itself.

    Attributes:
        model: the name of the served model.
        model_sha256: the SHA-256 of its ONNX graph.
        height_px, width_px: the size of the model's input.
        defense: the specification of the defence that is used for this target.
        classes: the number of the model's classes.
        version: the version of the model, if the endpoint reports one.
        defense_assumed: whether the user stated the defence, because the endpoint does not
            describe it.
        form: how images are posted and answers are read, if that is not the same for every model.
    """

    model: str
    model_sha256: str | None
    height_px: int
    width_px: int
    defense: str
    classes: int
    version: str | None = None
    defense_assumed: bool = False
    form: str | None = None

    @property
    def pipeline(self) -> Pipeline:
        """The defence."""
        return Pipeline.parse(self.defense)


def describe(get: Callable[[str], Answer], url: str, defense: str | None) -> Description:
    """Ask an endpoint what it serves, and compare its defence with that of this version.

    A defence such as ``quilt(bank=FILE)`` reads a file of this machine. It is parsed only if the
    user names it, because otherwise the endpoint would choose which files are read.

    Args:
        get: gets a document of the endpoint.
        url: its address, for messages.
        defense: the defence that the user names; None for the endpoint's default.

    Raises:
        EndpointError: the endpoint is not a warpguard service that runs its own model, does not
            allow the defence, or has another version of it.
    """
    models, defenses = get("/v1/models"), get("/v1/defenses")
    try:
        model = document(models, ServedModels).models[0]
        listed = document(defenses, ListedDefenses)
    except EndpointError as error:
        raise EndpointError(
            f"{url} does not describe itself as a warpguard service with its own model: {error} "
            "Give the address of 'warpguard serve' without --predictor-host."
        ) from None
    allowed = {each.name: each for each in listed.defenses}
    chosen = _named(defense, allowed, url) if defense is not None else _default(listed.default, url)
    if chosen not in allowed:
        raise EndpointError(
            f"{url} does not allow the defence {chosen!r}, only {', '.join(allowed)}. "
            f"Start it with --allow-defense {chosen!r}."
        )
    _require_same(allowed[chosen], url)
    return Description(
        model=model.name,
        model_sha256=model.sha256,
        height_px=model.input.height_px,
        width_px=model.input.width_px,
        defense=chosen,
        classes=model.classes,
    )


def _named(defense: str, allowed: dict[str, ListedDefense], url: str) -> str:
    try:
        return str(Pipeline.parse(defense))
    except DefenseError as error:
        raise EndpointError(f"{error} {url} allows {', '.join(allowed)}.") from None


def _default(default: str, url: str) -> str:
    """Return the endpoint's default defence, unless parsing it would read a file."""
    terms = split_terms(default[:_LONGEST_DEFENSE])
    reading = [
        name for name, *_ in terms if name in OPERATIONS and issubclass(OPERATIONS[name], FromFile)
    ]
    if reading or len(default) > _LONGEST_DEFENSE:
        raise EndpointError(
            f"The default defence of {url} is {default[:200]!r}, which would read a file of this "
            "machine. If you know and trust this file, repeat the command with --defense and this "
            "defence."
        )
    try:
        return str(Pipeline.parse(default))
    except DefenseError as error:
        raise EndpointError(
            f"The default defence of {url} is not one of this version: {error} "
            "Use the harness of the version that is served."
        ) from None


def _require_same(listed: ListedDefense, url: str) -> None:
    """Require that the endpoint's operations have the parameters that they have here."""
    operations = Pipeline.parse(listed.name).operations
    here = [{"name": each.name, "parameters": asdict(each)} for each in operations]
    there = [each.model_dump() for each in listed.operations]
    if here != there:
        raise EndpointError(
            f"{url} defends with {there}, but in this version {listed.name!r} is {here}. "
            "Use the harness of the version that is served."
        )
