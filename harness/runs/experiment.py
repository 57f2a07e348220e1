"""Everything that an attack on one endpoint needs, checked before the attack begins."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from defenses import Pipeline
from harness.attacks.attack import Attack, Attacker
from harness.dataset import Dataset
from harness.endpoint import Description, OipTarget, Target
from harness.errors import EndpointError, SurrogateError
from harness.results import DatasetRecord, EndpointRecord
from harness.runs.models import from_store
from harness.runs.options import Options
from harness.runs.run import Setup
from harness.runs.storage import planned_photographs
from harness.surrogate.replica import Replica
from harness.surrogate.surrogate import Surrogate
from harness.types import Case
from models import Manifest

_COMPARED_PHOTOGRAPHS = 4
"""On how many photographs the surrogate's scores are compared with those of ONNX Runtime."""


@dataclass(frozen=True)
class Experiment:
    """An endpoint, a surrogate of what it serves, and photographs.

    Attributes:
        target: the endpoint.
        manifest: the size of the model's input, and its classes.
        surrogate: the same graph and the same defence as the endpoint has. It is differentiable
            only if an attack needs gradients. None if the model is not on this machine.
        source: the model whose gradients are taken: the surrogate, or another model (transfer).
        dataset: the photographs and their classes.
        limit: how many photographs are attacked of those that the bare model gets right. Without
            a surrogate it is those that the endpoint gets right when they are posted once.
    """

    target: Target
    manifest: Manifest
    surrogate: Replica | None
    source: Replica | None
    dataset: Dataset
    limit: int | None
    _chosen: dict[tuple[bool, frozenset[str]], list[Case]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls,
        target: Target,
        *,
        data: Path | None = None,
        limit: int | None = None,
        device: str = "auto",
        source_model: str | None = None,
        needs_gradients: bool = True,
        own_copy: tuple[Manifest, bytes] | None = None,
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
            own_copy: the manifest and the graph of the served model, if the endpoint is not one
                of warpguard, which reports a digest by which the store's copy is known.

        Raises:
            HarnessError: see :mod:`harness.errors`.
        """
        described = target.description
        if isinstance(target, OipTarget):
            copy, manifest = own_copy, target.manifest
        else:
            copy = _served(described, target.url)
            manifest = copy[0]
        other = None if source_model is None else from_store(source_model)
        surrogate: Replica | None = None
        if copy is not None and needs_gradients and other is None:
            surrogate = Surrogate(*copy, described.pipeline, device)
        elif copy is not None:
            surrogate = Replica(*copy, described.pipeline)
        source = surrogate if other is None else Surrogate(*other, described.pipeline, device)
        if needs_gradients and source is None:
            raise SurrogateError(
                f"This attack takes gradients, but {target.url} does not describe its model. Name "
                "your own copy with --model and --manifest, or another model with --source-model, "
                "or take an attack without gradients, such as square."
            )
        classes = described.classes
        dataset = Dataset.demo(classes) if data is None else Dataset.read(data, classes)
        experiment = cls(target, manifest, surrogate, source, dataset, limit)
        if isinstance(source, Surrogate):
            cases = experiment.cases(targeted=False)[:_COMPARED_PHOTOGRAPHS]
            source.check([case.image for case in cases])
        return experiment

    def cases(self, *, targeted: bool, known: frozenset[str] = frozenset()) -> list[Case]:
        """Return the photographs to attack: those that the bare model gets right.

        Args:
            targeted: whether each has a target.
            known: the names of those that were found right before; see :meth:`Dataset.cases`.
        """
        key = targeted, known
        if key not in self._chosen:
            bare = self.surrogate and self.surrogate.with_defense(Pipeline())
            classify = (bare or self.target).classes
            self._chosen[key] = self.dataset.cases(
                self.manifest, classify, self.limit, targeted=targeted, known=known
            )
        return self._chosen[key]

    def with_endpoint(self, target: Target) -> "Experiment":
        """Return the same model and photographs with another endpoint, and with its defence."""
        defense = target.description.pipeline
        return replace(
            self,
            target=target,
            surrogate=self.surrogate and self.surrogate.with_defense(defense),
            source=self.source and self.source.with_defense(defense),
        )

    def with_dataset(self, dataset: Dataset, limit: int | None) -> "Experiment":
        """Return the same endpoint and model with other photographs."""
        return replace(self, dataset=dataset, limit=limit, _chosen={})

    def setup(
        self, attack: Attack, folder: Path, options: Options, reuse_from: Path | None = None
    ) -> Setup:
        """Prepare one attack to run in a folder; see :class:`Setup` for ``reuse_from``."""
        # A random endpoint would get other photographs right when the run is resumed.
        known = planned_photographs(folder) if self.surrogate is None else frozenset()
        cases = self.cases(targeted=attack.targeted, known=known)
        described, source = self.target.description, self.source
        return Setup(
            attack=attack,
            cases=cases,
            attacker=Attacker(source, self.target, options.seed),
            endpoint=EndpointRecord(
                url=self.target.url,
                model=described.model,
                model_sha256=described.model_sha256,
                defense=described.defense,
                protocol=self.target.protocol,
                quantized=options.quantized,
                labels="imagenet-1k" if self.manifest.labels == "imagenet-1k" else "own",
                defense_assumed=described.defense_assumed,
                model_version=described.version,
                form=described.form,
            ),
            dataset=DatasetRecord(
                name=self.dataset.name,
                candidates=len(self.dataset.photographs),
                selected=len(cases),
            ),
            folder=folder,
            surrogate={"model": source.manifest.name, "sha256": source.manifest.sha256 or ""}
            if attack.needs_gradients and source is not None
            else None,
            options=options,
            reuse_from=reuse_from,
            copy=self.surrogate,
            chosen_by=self._chosen_by() if described.defense_assumed else None,
            confirm=self.target.confirm,
        )

    def _chosen_by(self) -> str:
        """Return what chose the photographs, if the endpoint's digest does not identify it."""
        if self.surrogate is not None:
            return f"the model with the SHA-256 {self.surrogate.manifest.sha256}"
        return f"the endpoint, with limit {self.limit}, of {self.dataset.sha256}"


def _served(described: Description, url: str) -> tuple[Manifest, bytes]:
    """Return the store's copy of the model that warpguard serves.

    Raises:
        SurrogateError: the store does not have this very model.
        EndpointError: the endpoint reports another number of classes.
    """
    manifest, graph = from_store(described.model, described.model_sha256)
    if manifest.sha256 != described.model_sha256:
        raise SurrogateError(
            f"{url} serves {described.model} with the SHA-256 {described.model_sha256}, "
            f"but the store of this machine has {manifest.sha256}. Install the served model."
        )
    classes = len(manifest.label_names)
    if described.classes != classes:
        raise EndpointError(
            f"{url} reports {described.classes} classes of {described.model}, but the "
            f"model has {classes}."
        )
    return manifest, graph
