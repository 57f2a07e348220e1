"""What a server of the Open Inference Protocol reports of itself and of a model."""

from typing import Annotated

from pydantic import Field

from harness.endpoint.answers import Document, Name

_Version = Annotated[str, Field(max_length=64)]
_Size = Annotated[int, Field(ge=-1, lt=2**63)]


class TensorMetadata(Document):
    """An input or an output. A dimension of any size is -1."""

    name: Name
    datatype: str = Field("", max_length=16)
    shape: list[_Size] = Field([], max_length=16)


class ModelMetadata(Document):
    """The answer of ``/v2/models/NAME``. KServe's and MLServer's may leave all but the name out."""

    name: Name | None = None
    versions: list[_Version] | None = Field(None, max_length=64)
    platform: str | None = Field(None, max_length=256)
    inputs: list[TensorMetadata] | None = Field(None, max_length=256)
    outputs: list[TensorMetadata] | None = Field(None, max_length=256)


class ServerMetadata(Document):
    """The answer of ``/v2``."""

    name: str | None = Field(None, max_length=256)
    extensions: list[str] | None = Field(None, max_length=256)
