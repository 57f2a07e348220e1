"""A running warpguard as a function of arrays, for attack libraries that only ask for classes."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from warpguard.answers import Answer
from warpguard.client import Client
from warpguard.errors import ClientError

_MOST_CLASSES = 1000
"""How many classes an answer may name."""


class Endpoint:
    """The probabilities of a server, by queries.

    Attributes:
        client: the client, which repeats requests while the server is busy.
        shape: of one image, ``(3, height, width)``: the size that the server's model sees.
        classes: how many classes there are.
        queries: how many images have been classified so far.
    """

    def __init__(
        self,
        client: Client,
        *,
        defense: str | None = None,
        draws: int | None = None,
        batch_size: int = 8,
    ) -> None:
        """Ask the server for the size and the classes of its model.

        Args:
            client: of the server.
            defense: see :meth:`Client.predict`.
            draws: see :meth:`Client.predict`.
            batch_size: how many images to send in one request.

        Raises:
            ClientError: see :meth:`Client.predict`.
        """
        self.client, self.queries = client, 0
        self._options: dict[str, Any] = {
            "defense": defense,
            "draws": draws,
            "batch_size": batch_size,
        }
        (model, *_) = client.models()
        self.classes = model.classes
        self.shape = (3, int(model.input["height_px"]), int(model.input["width_px"]))

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Classify images, which are sent as PNG files and so have 8 bits a value.

        Args:
            images: ``(N, 3, height, width)`` in [0, 1].

        Returns:
            ``(N, classes)`` probabilities. Classes that the server does not name share what is left
            of 1; if it names the class alone, this class has 1.

        Raises:
            ValueError: the images have another size.
            ClientError: the server refuses or cannot be reached.
        """
        if images.ndim != 4 or images.shape[1:] != self.shape:
            wanted = ", ".join(map(str, self.shape))
            raise ValueError(f"Images have the shape (N, {wanted}), not {images.shape}.")
        found = np.empty((len(images), self.classes), np.float32)
        files = (_png(image) for image in images)
        top_k = min(self.classes, _MOST_CLASSES)
        answers = self.client.predict_files(files, top_k=top_k, **self._options)
        for row, answer in enumerate(answers):
            if answer.prediction is None:
                raise ClientError(f"{self.client.url} refused an image: {answer.error}")
            found[row] = self._probabilities(answer.prediction)
            self.queries += 1
        return found

    def _probabilities(self, answer: Answer) -> NDArray[np.float32]:
        indices = [each.index for each in answer.predictions]
        values = [
            1.0 if each.probability is None else each.probability for each in answer.predictions
        ]
        rest = max(0.0, 1 - sum(values)) / max(1, self.classes - len(indices))
        row = np.full(self.classes, rest, np.float32)
        row[indices] = values
        return row


def _png(image: NDArray[Any]) -> bytes:
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    done, file = cv2.imencode(".png", cv2.cvtColor(pixels.transpose(1, 2, 0), cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError("OpenCV could not write the image as PNG.")
    return file.tobytes()
