"""Classifiers on ONNX Runtime: from a weights file to scores, without torch.

    weights ──────► graph ──────► store ──────► session ──────► scores
    catalog, hub    builders      Store         Classifier      probabilities
                                                    ▲
                    image ──────► fit ──────► to_tensor

A model of the catalogue is built from a weights file whose SHA-256 is known: the embedded ones from
an installed package, the others from the Hugging Face hub. The store keeps its graph, beside those
that users add as ONNX files, and verifies it at every load. Each model has a manifest: its input,
scaling, labels and source.

>>> from models import Classifier, Store, ensure, resolve
>>> store = Store()
>>> classifier = Classifier(*ensure(store, resolve(store, "auto")))  # doctest: +SKIP
"""

from models.catalog import CATALOG, EMBEDDED
from models.cpus import available_cpus
from models.custom import add
from models.errors import (
    ChecksumError,
    ManifestError,
    ModelError,
    NotInStoreError,
    ProviderError,
    PullError,
    StoreError,
    UnknownModelError,
    WeightsError,
)
from models.manifest import GraphInput, GraphOutput, Manifest, Resize, Scaling
from models.obtain import ensure, install, manifest_of, pull, resolve
from models.preprocess import fit, to_tensor
from models.session import Classifier, Device, probabilities
from models.store import Store

__all__ = [
    "CATALOG",
    "EMBEDDED",
    "ChecksumError",
    "Classifier",
    "Device",
    "GraphInput",
    "GraphOutput",
    "Manifest",
    "ManifestError",
    "ModelError",
    "NotInStoreError",
    "ProviderError",
    "PullError",
    "Resize",
    "Scaling",
    "Store",
    "StoreError",
    "UnknownModelError",
    "WeightsError",
    "add",
    "available_cpus",
    "ensure",
    "fit",
    "install",
    "manifest_of",
    "probabilities",
    "pull",
    "resolve",
    "to_tensor",
]
