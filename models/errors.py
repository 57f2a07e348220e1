"""Everything that can go wrong between a weights file and a loaded model.

    ModelError
    ├── ManifestError      a manifest that says something impossible
    ├── WeightsError       a weights file that cannot be read or does not fit the architecture
    ├── ChecksumError      bytes that are not the ones they should be
    ├── UnknownModelError  a name that is neither in the catalogue nor in the store
    ├── NotInStoreError    a model of the catalogue whose weights have not been pulled yet
    ├── StoreError         the store cannot be read or written
    ├── PullError          the hub cannot be reached or does not have the file
    └── ProviderError      the device asked for is not the one in use

Each message says what is wrong and what to do about it.
"""


class ModelError(Exception):
    """The root."""


class ManifestError(ModelError):
    """A manifest that says something impossible, or that its graph contradicts."""


class WeightsError(ModelError):
    """A weights file that cannot be read, or whose tensors do not fit the architecture."""


class ChecksumError(ModelError):
    """Bytes whose SHA-256 is not the one that was promised."""


class UnknownModelError(ModelError):
    """A name that is neither in the catalogue nor in the store."""


class NotInStoreError(ModelError):
    """A model of the catalogue whose weights have not been pulled yet."""


class StoreError(ModelError):
    """The store cannot be read or written."""


class PullError(ModelError):
    """The hub cannot be reached, or does not have the file."""


class ProviderError(ModelError):
    """The device that was asked for is not the one ONNX Runtime uses."""
