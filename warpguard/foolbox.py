"""A running server as a model of Foolbox, for its attacks without gradients.

Attacks with gradients take ``foolbox.PyTorchModel(warpguard.torch.Defended(…), bounds=(0, 1))``.
"""

from typing import Any

from eagerpy import from_numpy
from eagerpy.astensor import astensor_
from foolbox.models.base import Model
from foolbox.types import Bounds

from warpguard.endpoint import Endpoint


class EndpointModel(Model):
    """A server that Foolbox can only query.

    It takes tensors of PyTorch, TensorFlow, JAX or NumPy, ``(N, 3, height, width)`` in [0, 1] at
    the size of the server's model, and returns ``(N, classes)`` probabilities of the same kind.

    Attributes:
        endpoint: what asks the server; it counts the queries.
    """

    data_format = "channels_first"

    def __init__(self, endpoint: Endpoint) -> None:
        """Query an endpoint."""
        self.endpoint = endpoint

    @property
    def bounds(self) -> Bounds:
        """The range of the values."""
        return Bounds(0, 1)

    def __call__(self, inputs: Any) -> Any:
        """Classify a batch; see :class:`Endpoint`."""
        images, restore = astensor_(inputs)
        return restore(from_numpy(images, self.endpoint(images.numpy())))
