"""The input of an upstream classifier, and defended images in that form."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from defenses import Image
from models import GraphInput, Manifest, ManifestError, Scaling, fit, to_tensor
from service.errors import InvalidParameterError
from service.images.png import encode_png

_PLAIN = Manifest(
    name="upstream",
    input=GraphInput(layout="NHWC"),
    scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)),
)


class _Tensor(BaseModel):
    name: str = Field(max_length=256)
    datatype: str = Field(max_length=16)
    shape: list[Annotated[int, Field(ge=-1, lt=2**63)]] = Field(max_length=16)


class _Metadata(BaseModel):
    inputs: list[_Tensor] = Field(min_length=1, max_length=1)


@dataclass(frozen=True)
class InputSpec:
    """The input of an upstream classifier: by default FP32 in [0, 1], NHWC, of any size.

    Attributes:
        manifest: its layout, size and scaling, and how an image of another size is resized.
        datatype: UINT8, pixels in [0, 255]; FP32, scaled; or BYTES, image files: PNG.
        fixed: whether images are resized to the manifest's size; if not, each keeps its own.
        name: the input's name; None keeps the client's.
        column: whether the shape of BYTES is ``[N, 1]``.
        binary: whether the upstream takes tensors as bytes beside JSON.
        described: whether a manifest gives the scaling; if not, it is a guess.
    """

    manifest: Manifest = _PLAIN
    datatype: str = "FP32"
    fixed: bool = False
    name: str | None = None
    column: bool = False
    binary: bool = False
    described: bool = False

    @classmethod
    def of_manifest(cls, manifest: Manifest, *, binary: bool = False) -> Self:
        """The input that a manifest describes: FP32 of a fixed size."""
        name = manifest.input.name
        return cls(manifest, fixed=True, name=name, binary=binary, described=True)

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, Any], *, binary: bool) -> Self:
        """The input in the metadata of a server of the Open Inference Protocol.

        UINT8 takes pixels in [0, 255], FP32 takes them in [0, 1]: the metadata has no scaling.

        Raises:
            ManifestError: the metadata does not describe one input for images.
        """
        try:
            (tensor,) = _Metadata.model_validate(metadata).inputs
        except ValidationError:
            raise ManifestError(
                "The upstream's metadata has not one input with a name, a datatype and a shape. "
                f"{_DESCRIBE}"
            ) from None
        name, datatype, shape = tensor.name, tensor.datatype, tensor.shape
        if datatype == "BYTES" and shape and shape[1:] in ([], [1]):
            return cls(datatype=datatype, name=name, column=shape[1:] == [1], binary=binary)
        if datatype not in ("UINT8", "FP32") or len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise ManifestError(f"The upstream takes {datatype} of shape {shape}. {_DESCRIBE}")
        layout = "NHWC" if shape[3] == 3 else "NCHW"
        height, width = shape[1:3] if layout == "NHWC" else shape[2:]
        fixed = min(height, width) > 0
        size = {"height_px": height, "width_px": width} if fixed else {}
        try:
            graph_input = GraphInput.model_validate({"layout": layout, **size})
        except ValidationError:
            raise ManifestError(f"The upstream takes images of {width} x {height} px.") from None
        manifest = _PLAIN.model_copy(update={"input": graph_input})
        return cls(manifest, datatype, fixed, name, binary=binary)

    @property
    def guesses_scaling(self) -> bool:
        """Whether pixels are scaled to [0, 1] although the upstream may take other values."""
        return self.datatype == "FP32" and not self.described

    @property
    def decode_to_px(self) -> int | None:
        """See :attr:`models.Manifest.decode_to_px`; None if images keep their sizes."""
        return self.manifest.decode_to_px if self.fixed else None

    def fit(self, image: Image) -> Image:
        """Resize an ``(H, W, 3)`` image to the size; see :func:`models.fit`."""
        return fit(image, self.manifest) if self.fixed else image

    def rows(self, images: Sequence[Image]) -> list[NDArray[Any]]:
        """The rows of the tensor, one for each ``(H, W, 3)`` image.

        Returns:
            Arrays of one shape: uint8 or float32 in the layout, or object for a file's bytes.

        Raises:
            InvalidParameterError: the images keep their sizes, and these differ.
        """
        if self.datatype == "BYTES":
            shape = (1,) if self.column else ()
            files = [encode_png(_to_uint8(image)) for image in images]
            if not self.binary:  # JSON holds text: base64, as KServe's and MLServer's examples do
                files = [b64encode(file) for file in files]
            return [np.array(file, object).reshape(shape) for file in files]
        if len({image.shape for image in images}) > 1:
            raise InvalidParameterError(
                "The images of this request differ in size and cannot form one tensor: send them "
                "one by one."
            )
        if self.datatype == "FP32":
            return [to_tensor(image, self.manifest) for image in images]
        pixels = [_to_uint8(image) for image in images]
        first = self.manifest.input.layout == "NCHW"
        return [each.transpose(2, 0, 1) for each in pixels] if first else list(pixels)


_DESCRIBE = (
    "Images are UINT8 or FP32 of shape [N, H, W, 3] or [N, 3, H, W], or BYTES of shape [N]: "
    "describe the input in a file, and name it with --predictor-manifest."
)


def _to_uint8(image: Image) -> NDArray[np.uint8]:
    pixels = image if image.dtype == np.uint8 else np.rint(image * np.float32(255))
    return pixels.astype(np.uint8, copy=False)
