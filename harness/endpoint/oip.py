"""Any server of the Open Inference Protocol under attack, such as Triton, KServe and MLServer.

The protocol has no name for the defence in front of a model, no digest of the model, and no word
for what the outputs mean. The user states the defence. The model is watched by its metadata. A
grey image is posted once, to find out which output has the scores and whether they are logits.
"""

import re
from typing import Unpack
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from defenses import DefenseError, Pipeline
from harness.endpoint.answers import document
from harness.endpoint.description import Description
from harness.endpoint.form import form_of
from harness.endpoint.metadata import ModelMetadata, ServerMetadata
from harness.endpoint.reading import asked_output, reading_of
from harness.endpoint.target import Connection, Target
from harness.endpoint.transport import Answer
from harness.errors import EndpointError
from harness.types import Posted
from models import Manifest

_MODEL = re.compile(
    r"(?P<server>.*?)(?P<path>/v2/models/(?P<name>[^/?#]+)(?:/versions/(?P<version>[^/?#]+))?)/?"
)
_PASSWORD = re.compile(r"//[^/]*@")


class OipTarget(Target):
    """A model on a server of the Open Inference Protocol, of which nothing is known for sure."""

    def __init__(
        self,
        url: str,
        *,
        manifest: Manifest | None = None,
        defense: str | None = None,
        **connection: Unpack[Connection],
    ) -> None:
        """Connect to a server, read its metadata, and post one grey image.

        Args:
            url: the address of a model, such as ``http://127.0.0.1:8000/v2/models/mine``, maybe
                with ``/versions/1``.
            manifest: the user's description of the model.
            defense: the defence that the user assumes in front of the model; by default none.
            connection: the key, headers, certificates and transport; see :class:`Target`.

        Raises:
            EndpointError: the server cannot be reached, the model does not take one image, its
                answer does not have the scores of classes, or the metadata and the manifest leave
                something open or contradict each other.
        """
        parts = _MODEL.fullmatch(url)
        if parts is None:
            raise EndpointError(
                f"{_PASSWORD.sub('//', url)} is not the address of a model. With --protocol oip "
                "give one such as http://127.0.0.1:8000/v2/models/NAME, or with /versions/VERSION "
                "behind it."
            )
        self._path, self._name = parts["path"], unquote(parts["name"])
        self._version = unquote(parts["version"] or "")
        self._manifest, self._defense = manifest, defense
        super().__init__(parts["server"], "oip", **connection)

    @property
    def manifest(self) -> Manifest:
        """The size of the input, how a photograph is brought to it, and the classes."""
        own = self._manifest
        labels = own.labels if own else tuple(map(str, range(self.description.classes)))
        return self._form.manifest.model_copy(update={"labels": labels})

    def _begin(self) -> None:
        self.url = where = f"{self.url}{self._path}"
        try:
            defense = str(Pipeline.parse(self._defense or "none"))
        except DefenseError as error:
            raise EndpointError(f"--assume-defense: {error}") from None
        get = self._transport.get
        self._metadata = document(get(self._path), ModelMetadata)
        try:
            server = document(get("/v2"), ServerMetadata)
        except EndpointError:  # a gateway may pass on the model's own paths only
            server = ServerMetadata()
        self._form = form_of(self._metadata, server, self._manifest, where)
        self._asked = asked_output(self._metadata, self._manifest, where)
        self._reading = reading_of(self._infer(self._form.gray), self._asked, self._manifest)
        self.description = Description(
            model=self._name,
            model_sha256=None,
            height_px=self._form.manifest.input.height_px,
            width_px=self._form.manifest.input.width_px,
            defense=defense,
            classes=self._reading.classes,
            version=self._version or ", ".join(self._metadata.versions or ()) or None,
            defense_assumed=True,
            form=f"{self._form}; {self._reading}",
        )

    def _changed(self) -> str:
        now = document(self._transport.get(self._path), ModelMetadata)
        return "" if now == self._metadata else f"{now}, not {self._metadata}"

    def _class(self, image: Posted) -> int:
        return self._reading.most_probable(self._infer(image))

    def _probabilities(self, image: Posted, draws: int) -> NDArray[np.float32]:
        """Post the image once for each draw, because the protocol has no draws."""
        rows = [self._reading.probabilities(self._infer(image)) for _ in range(draws)]
        mean: NDArray[np.float32] = np.array(rows, np.float64).mean(axis=0).astype(np.float32)
        return mean

    def _infer(self, image: Posted) -> Answer:
        body, headers = self._form.body(image, self._asked)
        return self._post(f"{self._path}/infer", body, headers=headers)
