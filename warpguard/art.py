"""The Adversarial Robustness Toolbox (ART) in front of a defence, with the defence's own gradient.

ART differentiates a preprocessor of its user as the identity unless it states a gradient, and
attacks that do so find nothing behind a random warp. Either way states it::

    PyTorchClassifier(warpguard.torch.Defended(model, "fd+rdg", draws=5), …)
    AnyClassifier(model, preprocessing_defences=[warpguard.art.Defense("fd+rdg")], …)

:class:`EndpointClassifier` is a running server as ART's black-box classifier. Importing this module
imports ART, which makes a folder ``~/.art``.
"""

from random import Random
from typing import Any

import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import BlackBoxClassifierNeuralNetwork
from torch import Tensor

import warpguard.torch
from warpguard.defenses import Pipeline, PipelineDraw
from warpguard.endpoint import Endpoint
from warpguard.torch import Through


class Defense(PreprocessorPyTorch):  # type: ignore[misc]
    """A defence as ART's preprocessor, for classifiers in PyTorch and in other frameworks.

    Each application draws once for each image. The gradient that ART estimates afterwards is that
    of the last application, on the same draws, if the batch has the same size.
    """

    params = ("apply_fit", "apply_predict")

    def __init__(
        self,
        defense: str | Pipeline = "fd+rdg",
        *,
        gradient: Through = "exact",
        generator: Random | torch.Generator | None = None,
        channels_first: bool = True,
        apply_fit: bool = False,
        apply_predict: bool = True,
        device_type: str = "gpu",
    ) -> None:
        """Set up the preprocessor.

        Args:
            defense: see :class:`warpguard.torch.Defense`.
            gradient: see :class:`warpguard.torch.Defense`.
            generator: see :class:`warpguard.torch.Defense`.
            channels_first: whether images are ``(N, 3, H, W)``, or ``(N, H, W, 3)``.
            apply_fit: whether ART defends images when it trains.
            apply_predict: whether ART defends images when it classifies.
            device_type: ART's ``cpu`` or ``gpu``: where arrays become tensors. The defence itself
                runs on the CPU.

        Raises:
            DefenseError: the specification is not valid.
        """
        super().__init__(
            device_type=device_type,
            is_fitted=True,
            apply_fit=apply_fit,
            apply_predict=apply_predict,
        )
        self.layer = warpguard.torch.Defense(defense, gradient=gradient, generator=generator)
        self._channels_first = channels_first
        self._rows: list[PipelineDraw] = []

    def forward(self, x: Tensor, y: Any = None) -> tuple[Tensor, Any]:
        """Defend a batch in [0, 1] on fresh draws; ``y`` is returned as it is."""
        self._rows = self.layer.sample(self._moved(x))
        return self._defended(x), y

    def estimate_forward(self, x: Tensor, y: Any = None) -> Tensor:
        """Defend a batch on the draws of the last one, so that its gradient belongs to it."""
        shape = tuple(self._moved(x).shape[2:])
        if [row.shape for row in self._rows] != [shape] * len(x):
            return self.forward(x, y)[0]
        return self._defended(x)

    def _defended(self, x: Tensor) -> Tensor:
        defended: Tensor = self.layer(self._moved(x), self._rows)
        return defended if self._channels_first else defended.permute(0, 2, 3, 1)

    def _moved(self, x: Tensor) -> Tensor:
        return x if self._channels_first else x.permute(0, 3, 1, 2)


class EndpointClassifier(BlackBoxClassifierNeuralNetwork):  # type: ignore[misc]
    """A running server as a classifier that ART can only query.

    It takes ``(N, 3, height, width)`` in [0, 1] at the size of the server's model.

    Attributes:
        endpoint: what asks the server; it counts the queries.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Query an endpoint."""
        self.endpoint = endpoint
        super().__init__(
            endpoint,
            endpoint.shape,
            endpoint.classes,
            channels_first=True,
            clip_values=(0.0, 1.0),
        )
