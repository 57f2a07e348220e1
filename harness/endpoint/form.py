"""The form in which a server of the Open Inference Protocol takes an image.

The server's metadata has the input's name, datatype and shape. The user's manifest has the scaling
of FP32, and whatever the metadata leaves open.
"""

import io
from base64 import b64encode
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from pydantic_core import to_json

from harness.endpoint.metadata import ModelMetadata, ServerMetadata, TensorMetadata
from harness.endpoint.tensors import HEADER_LENGTH
from harness.errors import EndpointError
from harness.types import Posted
from models import GraphInput, Manifest, Scaling, to_tensor

_BINARY = "binary_tensor_data"
_PIXELS = Scaling(mean=(0, 0, 0), std=(255, 255, 255))
_MANIFEST = "Describe the input in a file, as in docs/models.md, and name it with --manifest."


@dataclass(frozen=True)
class Form:
    """How an image is posted.

    Attributes:
        name: the input's name.
        datatype: UINT8, pixels in [0, 255]; FP32, scaled as the manifest says; BYTES, a PNG file;
            or PIXELS, what warpguard takes: UINT8, or FP32 in [0, 1].
        before: the dimensions before those of the image: ``(1,)``, or none if the input has no
            batch dimension. For BYTES it is the whole shape.
        binary: whether the tensor follows the JSON as bytes.
        manifest: the layout, the size, the scaling, and how a photograph is brought to the size.
    """

    name: str
    datatype: Literal["UINT8", "FP32", "BYTES", "PIXELS"]
    before: tuple[int, ...]
    binary: bool
    manifest: Manifest

    @property
    def gray(self) -> NDArray[np.uint8]:
        """A grey image of the input's size."""
        size = self.manifest.input
        return np.full((size.height_px, size.width_px, 3), 128, np.uint8)

    def body(self, image: Posted, output: str | None) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers of a request for one image.

        Args:
            image: the image, at the size of the manifest.
            output: the name of the wanted output; None for whatever the server answers.

        Raises:
            EndpointError: the input has 8 bits a value, but the image is not rounded to them.
        """
        datatype, values = self._values(image)
        tensor: dict[str, Any] = {
            "name": self.name,
            "shape": [*self.before, *(() if datatype == "BYTES" else values.shape)],
            "datatype": datatype,
        }
        head: dict[str, Any] = {"id": "1", "inputs": [tensor]}
        if output is not None:
            head["outputs"] = [{"name": output}]
        if not self.binary:
            file = [b64encode(values.tobytes()).decode()]
            tensor["data"] = file if datatype == "BYTES" else values.ravel().tolist()
            return to_json(head), {"Content-Type": "application/json"}
        raw = values.tobytes()
        if datatype == "BYTES":
            raw = len(raw).to_bytes(4, "little") + raw
        tensor["parameters"] = {"binary_data_size": len(raw)}
        head["parameters"] = {"binary_data_output": True}
        before = to_json(head)
        return before + raw, {
            HEADER_LENGTH: str(len(before)),
            "Content-Type": "application/octet-stream",
        }

    def _values(self, image: Posted) -> tuple[str, NDArray[Any]]:
        """Return the datatype, and the values of an image; a file as its bytes."""
        if self.datatype == "FP32":
            return "FP32", to_tensor(image, self.manifest)
        if image.dtype != np.uint8 and self.datatype != "PIXELS":
            raise EndpointError(
                f"The input {self.name} takes {self.datatype}, which has 8 bits a value. Leave "
                "--unquantized out, and do not use attacks with quantized=false."
            )
        if self.datatype == "BYTES":
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG", compress_level=1)
            return "BYTES", np.frombuffer(file.getvalue(), np.uint8)
        pixels = image.transpose(2, 0, 1) if self.manifest.input.layout == "NCHW" else image
        return "UINT8" if image.dtype == np.uint8 else "FP32", np.ascontiguousarray(pixels)

    def __str__(self) -> str:
        """Return the datatype, the layout and the scaling, for the record of a run."""
        size, scaling = self.manifest.input, self.manifest.scaling
        pixels = f"{size.height_px}x{size.width_px} px"
        if self.datatype == "BYTES":
            return f"PNG files of {pixels}"
        words = f"{self.datatype} {size.layout} of {pixels}"
        if self.datatype == "FP32":
            words += f", (pixel - {[*scaling.mean]}) / {[*scaling.std]}"
        return words


def form_of(
    model: ModelMetadata, server: ServerMetadata, manifest: Manifest | None, where: str
) -> Form:
    """Return the form of a model's input.

    Args:
        model: the metadata of the model.
        server: the metadata of the server.
        manifest: the user's description of the model, if there is one.
        where: the model's address, for messages.

    Raises:
        EndpointError: the input does not take one image, or is not described well enough.
    """
    binary = _BINARY in (server.extensions or ())
    # warpguard passes on the metadata of the classifier behind it, and takes pixels in any case.
    pixels: Literal["PIXELS"] | None = "PIXELS" if server.name == "warpguard" else None
    if not model.inputs:
        if manifest is None:
            raise EndpointError(f"{where} does not report its input. {_MANIFEST}")
        return Form(manifest.input.name, pixels or "FP32", (1,), binary, manifest)
    if len(model.inputs) > 1:
        names = ", ".join(each.name for each in model.inputs)
        raise EndpointError(f"{where} takes several inputs ({names}), not an image alone.")
    (tensor,) = model.inputs
    if tensor.datatype == "BYTES" and len(tensor.shape) <= 2 and {*tensor.shape} <= {-1, 1}:
        if manifest is None:
            raise EndpointError(
                f"{where} takes files of images, and does not report the size that the model "
                f"sees. {_MANIFEST}"
            )
        before = (1,) * len(tensor.shape) if pixels is None else (1,)
        return Form(tensor.name, pixels or "BYTES", before, binary, manifest)
    if tensor.datatype == "UINT8":
        datatype: Literal["UINT8", "FP32"] = "UINT8"
    elif tensor.datatype == "FP32":
        datatype = "FP32"
    else:
        raise _no_image(tensor, where)
    if datatype == "FP32" and manifest is None and pixels is None:
        raise EndpointError(
            f"{where} takes FP32, and metadata do not have the mean and the std. {_MANIFEST}"
        )
    described = _with_size(tensor, manifest, where)
    before = (1,) if len(tensor.shape) == 4 or pixels else ()
    return Form(tensor.name, pixels or datatype, before, binary, described)


def _with_size(tensor: TensorMetadata, manifest: Manifest | None, where: str) -> Manifest:
    """Return the manifest with the layout of the metadata, if both have the same size."""
    *batch, first, second, third = tensor.shape if len(tensor.shape) in (3, 4) else (2, 0, 0, 0)
    if batch not in ([], [-1], [1]):
        raise _no_image(tensor, where)
    layouts = [name for name, channels in (("NHWC", third), ("NCHW", first)) if channels == 3]
    if manifest is not None and (manifest.input.layout in layouts or {first, third} == {-1}):
        layouts = [manifest.input.layout]
    if not layouts:
        raise _no_image(tensor, where)
    layout = layouts[0]
    height, width = (first, second) if layout == "NHWC" else (second, third)
    if manifest is None:
        if min(height, width) < 1:
            raise EndpointError(f"{where} takes images of any size. {_MANIFEST}")
    else:
        size = manifest.input
        if height not in (-1, size.height_px) or width not in (-1, size.width_px):
            raise EndpointError(
                f"{where} takes images of {height} x {width} px (height x width), but the manifest "
                f"says {size.height_px} x {size.width_px}. Correct the manifest."
            )
        height, width = size.height_px, size.width_px
    try:
        found = GraphInput.model_validate(
            {"name": tensor.name, "layout": layout, "height_px": height, "width_px": width}
        )
    except ValidationError:
        raise EndpointError(
            f"{where} takes images of {height} x {width} px (height x width); 8 to 4096 are "
            "allowed."
        ) from None
    described = manifest or Manifest(name="endpoint", scaling=_PIXELS)
    return described.model_copy(update={"input": found})


def _no_image(tensor: TensorMetadata, where: str) -> EndpointError:
    return EndpointError(
        f"{where} takes {tensor.datatype} of shape {tensor.shape}. Images are posted as UINT8 or "
        "FP32 of shape [-1, H, W, 3] or [-1, 3, H, W], one at a time, or as BYTES of shape [-1]."
    )
