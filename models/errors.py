"""Everything that can go wrong between a weights file and a loaded model.

    ModelError
    ├── ManifestError      a manifest is not valid, or its graph contradicts it
    ├── WeightsError       a weights file cannot be read or does not fit the architecture
    ├── ChecksumError      a file has a SHA-256 that is not the expected one
    ├── UnknownModelError  a name is neither in the catalogue nor in the store
    ├── NotInStoreError    the weights of a model of the catalogue have not been pulled yet
    ├── StoreError         the store cannot be read or written
    ├── PullError          the hub cannot be reached or does not have the file
    ├── PrecisionError     a model cannot run in INT8 or FP32, or its INT8 does not pay
    └── ProviderError      ONNX Runtime does not use the device that was asked for

Each message says what is wrong and what to do about it.
"""


class ModelError(Exception):
    """The base class of all errors of this package."""


class ManifestError(ModelError):
    """A manifest is not valid, or its graph contradicts it."""


class WeightsError(ModelError):
    """A weights file cannot be read, or its tensors do not fit the architecture."""


class ChecksumError(ModelError):
    """A file has a SHA-256 that is not the expected one."""


class UnknownModelError(ModelError):
    """A name is neither in the catalogue nor in the store."""


class NotInStoreError(ModelError):
    """The weights of a model of the catalogue have not been pulled yet."""


class StoreError(ModelError):
    """The store cannot be read or written."""


class PullError(ModelError):
    """The hub cannot be reached, or does not have the file."""


class PrecisionError(ModelError):
    """A model cannot run in the precision that was asked for, or its graph in INT8 does not pay."""


class ProviderError(ModelError):
    """ONNX Runtime does not use the device that was asked for."""
