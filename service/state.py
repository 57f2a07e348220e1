"""What the routes share, from the first request on."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from models import Classifier
from service import __version__
from service.errors import NotReadyError
from service.metrics import Metrics
from service.predictor import Predictor
from service.priority import yield_to_the_event_loop
from service.settings import Settings

_log = logging.getLogger(__name__)


class State:
    """The settings, the metrics and, once it is ready, the predictor.

    Attributes:
        failure: why the model could not be loaded, where it could not.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(__version__)
        self.failure: BaseException | None = None
        self._predictor: Predictor | None = None

    @property
    def predictor(self) -> Predictor:
        """The predictor.

        Raises:
            NotReadyError: the model is still being loaded.
        """
        if self._predictor is None:
            raise NotReadyError("The model is being loaded; try again in a moment.")
        return self._predictor

    async def load(self, load: Callable[[], Classifier]) -> None:
        """Load the model and warm it up; ready after that."""
        started = time.perf_counter()
        with ThreadPoolExecutor(1, initializer=yield_to_the_event_loop) as loader:
            classifier = await asyncio.get_running_loop().run_in_executor(loader, load)
        predictor = Predictor(classifier, self.settings, self.metrics)
        await predictor.start()
        name = classifier.manifest.name
        self.metrics.model.info({"name": name, "provider": classifier.provider})
        # A full collection of what has been loaded by now would stop the event loop for 70 ms.
        gc.collect()
        gc.freeze()
        self.metrics.ready.set(1)
        self._predictor = predictor
        _log.info(
            "Serving %s on %s behind %s; ready after %.1f s",
            name,
            classifier.provider,
            self.settings.defense,
            time.perf_counter() - started,
        )

    async def close(self) -> None:
        """Stop the predictor, where there is one."""
        self.metrics.ready.set(0)
        predictor, self._predictor = self._predictor, None
        if predictor is not None:
            await predictor.stop()
