"""Everything that an attack on one endpoint needs, checked before the attack begins."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from defenses import Pipeline
from harness.attacks.attack import Attack, Attacker
from harness.dataset import Dataset
from harness.endpoint import HttpTarget
from harness.errors import EndpointError, SurrogateError
from harness.results import DatasetRecord, EndpointRecord
from harness.runs.options import Options
from harness.runs.run import Setup
from harness.surrogate.replica import Replica
from harness.surrogate.surrogate import Surrogate
from harness.types import Case
from models import (
    CATALOG,
    Manifest,
    ModelError,
    NotInStoreError,
    Store,
    StoreError,
    UnknownModelError,
    ensure,
)

_COMPARED_PHOTOGRAPHS = 4
"""On how many photographs the surrogate's scores are compared with those of ONNX Runtime."""


_LISTED = 10
"""How many of the store's models a message lists."""


@dataclass(frozen=True)
class Experiment:
    """An endpoint, a surrogate of what it serves, and photographs.

    Attributes:
        target: the endpoint.
        surrogate: the same graph and the same defence as the endpoint has. It is differentiable
            only if an attack needs gradients.
        source: the model whose gradients are taken: the surrogate, or another model (transfer).
        dataset: the photographs and their classes.
        limit: how many photographs are attacked of those that the bare model gets right.
    """

    target: HttpTarget
    surrogate: Replica
    source: Replica
    dataset: Dataset
    limit: int | None
    _chosen: dict[bool, list[Case]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls,
        target: HttpTarget,
        *,
        data: Path | None = None,
        limit: int | None = None,
        device: str = "auto",
        source_model: str | None = None,
        needs_gradients: bool = True,
    ) -> "Experiment":
        """Build the surrogate, and compare it with the endpoint's model and with ONNX Runtime.

        Photographs are read after that, so a model that cannot be attacked is refused before.

        Args:
            target: the endpoint.
            data: a folder with a ``labels.csv``; by default the photographs of the demonstration.
            limit: how many photographs are attacked; None for all.
            device: the device of the surrogate: ``cpu``, ``cuda`` or ``auto``.
            source_model: the name of another model whose gradients are taken instead.
            needs_gradients: whether an attack needs them. If none does, any served model will do.

        Raises:
            HarnessError: see :mod:`harness.errors`.
        """
        described = target.description
        manifest, graph = _model(described.model)
        if manifest.sha256 != described.model_sha256:
            raise SurrogateError(
                f"{target.url} serves {described.model} with the SHA-256 {described.model_sha256}, "
                f"but the store of this machine has {manifest.sha256}. Install the served model."
            )
        classes = len(manifest.label_names)
        if described.classes != classes:
            raise EndpointError(
                f"{target.url} reports {described.classes} classes of {described.model}, but the "
                f"model has {classes}."
            )
        other = None if source_model is None else _model(source_model)
        surrogate: Replica
        if needs_gradients and other is None:
            surrogate = Surrogate(manifest, graph, described.pipeline, device)
        else:
            surrogate = Replica(manifest, graph, described.pipeline)
        source = surrogate if other is None else Surrogate(*other, described.pipeline, device)
        dataset = Dataset.demo(classes) if data is None else Dataset.read(data, classes)
        experiment = cls(target, surrogate, source, dataset, limit)
        if isinstance(source, Surrogate):
            cases = experiment.cases(targeted=False)[:_COMPARED_PHOTOGRAPHS]
            source.check([case.image for case in cases])
        return experiment

    def cases(self, *, targeted: bool) -> list[Case]:
        """Return the photographs to attack: those that the bare model gets right."""
        if targeted not in self._chosen:
            bare = self.surrogate.with_defense(Pipeline())
            self._chosen[targeted] = self.dataset.cases(
                self.surrogate.manifest, bare.classes, self.limit, targeted=targeted
            )
        return self._chosen[targeted]

    def with_endpoint(self, target: HttpTarget) -> "Experiment":
        """Return the same model and photographs with another endpoint, and with its defence."""
        defense = target.description.pipeline
        return replace(
            self,
            target=target,
            surrogate=self.surrogate.with_defense(defense),
            source=self.source.with_defense(defense),
        )

    def with_dataset(self, dataset: Dataset, limit: int | None) -> "Experiment":
        """Return the same endpoint and model with other photographs."""
        return replace(self, dataset=dataset, limit=limit, _chosen={})

    def setup(
        self, attack: Attack, folder: Path, options: Options, reuse_from: Path | None = None
    ) -> Setup:
        """Prepare one attack to run in a folder; see :class:`Setup` for ``reuse_from``."""
        cases = self.cases(targeted=attack.targeted)
        described = self.target.description
        served, manifest = self.surrogate.manifest, self.source.manifest
        return Setup(
            attack=attack,
            cases=cases,
            attacker=Attacker(self.source, self.target, options.seed),
            endpoint=EndpointRecord(
                url=self.target.url,
                model=described.model,
                model_sha256=described.model_sha256,
                defense=described.defense,
                protocol=self.target.protocol,
                quantized=options.quantized,
                labels="imagenet-1k" if served.labels == "imagenet-1k" else "own",
            ),
            dataset=DatasetRecord(
                name=self.dataset.name,
                candidates=len(self.dataset.photographs),
                selected=len(cases),
            ),
            folder=folder,
            surrogate={"model": manifest.name, "sha256": manifest.sha256 or ""}
            if attack.needs_gradients
            else None,
            options=options,
            reuse_from=reuse_from,
            copy=self.surrogate,
            confirm=self.target.confirm,
        )


def _model(name: str) -> tuple[Manifest, bytes]:
    store = Store()
    try:
        return ensure(store, name)
    except (UnknownModelError, NotInStoreError) as error:
        others = sorted(_available(store) - {name})
        more = len(others) - _LISTED
        listed = ", ".join(others[:_LISTED]) + (f" and {more} more" if more > 0 else "")
        missing = isinstance(error, UnknownModelError)
        reason = f"the store {store.root} does not have it." if missing else str(error)
        raise SurrogateError(
            f"There is no surrogate of {name}: {reason} Available without a download: {listed}."
        ) from None
    except ModelError as error:
        raise SurrogateError(f"There is no surrogate of {name}: {error}") from None


def _available(store: Store) -> set[str]:
    """Return the models that need no download: those in the store, and the embedded ones."""
    embedded = {name for name, entry in CATALOG.items() if entry.embedded}
    try:
        return embedded | {*store.names()}
    except StoreError:
        return embedded
