"""Classifiers on ONNX Runtime: from a weights file to scores, without torch.

    weights ──────► graph ──────► store ──────► session ──────► scores
    catalog, hub    builders      Store         Classifier      probabilities
                                                    ▲
                    image ──────► fit ──────► to_tensor

A model of the catalogue is built from a weights file whose SHA-256 is known. An embedded model's
file is in an installed package, and the files of the other models are on the Hugging Face hub. The
store keeps the graph, and the ONNX files that users add, and verifies a graph each time it loads
it. ``precision`` chooses between a graph in FP32 and one in INT8, which ``int8`` writes. Each
model has a manifest, which describes its input, scaling, labels and source. ``obtain``
finds or builds a catalogue's model, ``custom`` adds a user's own, once ``verify`` has run it in a
process that can be ended.

>>> from models import Classifier, Store, choose, resolve
>>> store = Store()
>>> chosen = choose(store, resolve(store, "auto"))  # doctest: +SKIP
>>> classifier = Classifier(chosen.manifest, chosen.graph_bytes)  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.catalog import CATALOG, EMBEDDED
    from models.cpus import available_cpus
    from models.custom import add
    from models.errors import (
        ChecksumError,
        ManifestError,
        ModelError,
        NotInStoreError,
        PrecisionError,
        ProviderError,
        PullError,
        StoreError,
        UnknownModelError,
        WeightsError,
    )
    from models.files import write_atomically
    from models.int8.calibrate import calibrate_embedded
    from models.int8.variant import Images, Verdict, quantize
    from models.manifest import (
        GraphInput,
        GraphOutput,
        Manifest,
        Resize,
        Scaling,
        imagenet_labels,
    )
    from models.obtain import ensure, install, manifest_of, pull, resolve
    from models.precision import Precision, choose, expected
    from models.preprocess import fit, to_tensor
    from models.session import Classifier, probabilities
    from models.store import Store

__all__ = [
    "CATALOG",
    "EMBEDDED",
    "ChecksumError",
    "Classifier",
    "GraphInput",
    "GraphOutput",
    "Images",
    "Manifest",
    "ManifestError",
    "ModelError",
    "NotInStoreError",
    "Precision",
    "PrecisionError",
    "ProviderError",
    "PullError",
    "Resize",
    "Scaling",
    "Store",
    "StoreError",
    "UnknownModelError",
    "Verdict",
    "WeightsError",
    "add",
    "available_cpus",
    "calibrate_embedded",
    "choose",
    "ensure",
    "expected",
    "fit",
    "imagenet_labels",
    "install",
    "manifest_of",
    "probabilities",
    "pull",
    "quantize",
    "resolve",
    "to_tensor",
    "write_atomically",
]

_NAMES = {
    "catalog": ("CATALOG", "EMBEDDED"),
    "cpus": ("available_cpus",),
    "custom": ("add",),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "files": ("write_atomically",),
    "manifest": (
        *("GraphInput", "GraphOutput", "Manifest", "Resize", "Scaling"),
        "imagenet_labels",
    ),
    "obtain": ("ensure", "install", "manifest_of", "pull", "resolve"),
    "precision": ("Precision", "choose", "expected"),
    "preprocess": ("fit", "to_tensor"),
    "int8.calibrate": ("calibrate_embedded",),
    "int8.variant": ("Images", "Verdict", "quantize"),
    "session": ("Classifier", "probabilities"),
    "store": ("Store",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

# A module is imported when one of its names is first used (PEP 562), because ONNX Runtime, onnx,
# OpenCV and the client of the Hugging Face hub are slow to import. A type checker must not see
# __getattr__, because it would then accept every name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"models.{_MODULE_OF[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
