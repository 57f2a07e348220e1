"""Everything that an attack on one endpoint needs, checked before it begins."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defenses import Pipeline
from harness.attacks.attack import Attack, Attacker
from harness.dataset import Dataset
from harness.endpoint import HttpTarget
from harness.errors import SurrogateError
from harness.results import DatasetRecord, EndpointRecord
from harness.runs.options import Options
from harness.runs.run import Setup
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

_COMPARED = 4
"""On how many photographs the surrogate is compared with ONNX Runtime."""


@dataclass(frozen=True)
class Experiment:
    """An endpoint, the attacker's copy of what it serves, and photographs.

    Attributes:
        surrogate: the very graph and defence that the endpoint has.
        source: the model whose gradients are taken: another one for transfer, or the surrogate.
        limit: how many photographs are attacked, of those that the bare model gets right.
    """

    target: HttpTarget
    surrogate: Surrogate
    source: Surrogate
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
    ) -> "Experiment":
        """Build the surrogate and compare it with what the endpoint serves, and with ONNX Runtime.

        Args:
            target: the endpoint.
            data: a folder with a ``labels.csv``; by default the photographs of the demonstration.
            limit: how many photographs.
            device: of the surrogate: ``cpu``, ``cuda`` or ``auto``.
            source_model: take the gradients of this model instead.

        Raises:
            HarnessError: one of them is not what it must be.
        """
        described = target.description
        manifest, graph = _model(described.model)
        if manifest.sha256 != described.model_sha256:
            raise SurrogateError(
                f"{target.url} serves {described.model} with the SHA-256 {described.model_sha256}, "
                f"this machine's store has {manifest.sha256}. Install the model that is served."
            )
        classes = len(manifest.label_names)
        other = None if source_model is None else _model(source_model)
        dataset = Dataset.demo(classes) if data is None else Dataset.read(data, classes)
        surrogate = Surrogate(manifest, graph, described.pipeline, device)
        source = surrogate if other is None else Surrogate(*other, described.pipeline, device)
        experiment = cls(target, surrogate, source, dataset, limit)
        sample = [case.image for case in experiment.cases(targeted=False)[:_COMPARED]]
        surrogate.check(sample)
        if source is not surrogate:
            source.check(sample)
        return experiment

    def cases(self, *, targeted: bool) -> list[Case]:
        """The photographs to attack."""
        bare = self.surrogate.with_defense(Pipeline())

        def right(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.intp]:
            return bare.classes(images)

        if targeted not in self._chosen:
            self._chosen[targeted] = self.dataset.cases(
                self.surrogate.manifest, right, self.limit, targeted=targeted
            )
        return self._chosen[targeted]

    def with_endpoint(self, target: HttpTarget) -> "Experiment":
        """The same photographs and the same model, behind what another endpoint defends with."""
        defense = target.description.pipeline
        return replace(
            self,
            target=target,
            surrogate=self.surrogate.with_defense(defense),
            source=self.source.with_defense(defense),
        )

    def with_dataset(self, dataset: Dataset, limit: int | None) -> "Experiment":
        """The same endpoint and model, with other photographs."""
        return replace(self, dataset=dataset, limit=limit, _chosen={})

    def setup(
        self, attack: Attack, folder: Path, options: Options, reuse_from: Path | None = None
    ) -> Setup:
        """One attack, ready to be executed in a folder; see :class:`Setup` for ``reuse_from``."""
        cases = self.cases(targeted=attack.targeted)
        described = self.target.description
        served, manifest = self.surrogate.manifest, self.source.manifest
        return Setup(
            attack=attack,
            cases=cases,
            attacker=Attacker(self.source, self.target, options.seed),
            endpoint=EndpointRecord(
                url=self.target.public_url,
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
        )


def _model(name: str) -> tuple[Manifest, bytes]:
    store = Store()
    try:
        return ensure(store, name)
    except (UnknownModelError, NotInStoreError) as error:
        others = ", ".join(sorted(_at_hand(store) - {name}))
        raise SurrogateError(
            f"The attacker's copy of {name}: {error} At hand are: {others}."
        ) from None
    except ModelError as error:
        raise SurrogateError(f"The attacker's copy of {name}: {error}") from None


def _at_hand(store: Store) -> set[str]:
    """The models that need no download: those in the store, and those that are embedded."""
    embedded = {name for name, entry in CATALOG.items() if entry.embedded}
    try:
        return embedded | {*store.names()}
    except StoreError:
        return embedded
