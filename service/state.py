"""What the routes share: the settings, the door, and the predictor that serves at the moment."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from defenses import Pipeline
from models import Classifier
from service import __version__
from service.admission import Admission
from service.errors import NotReadyError, UnknownDefenseError
from service.metrics import Metrics
from service.predictor import Predictor
from service.priority import yield_to_the_event_loop
from service.settings import Settings

_log = logging.getLogger(__name__)


class State:
    """One server's state; lost without harm when the process ends.

    Attributes:
        failure: why the first model could not be loaded, where it could not.
        draining: whether the server is about to stop; it is not ready then.
    """

    def __init__(self, settings: Settings, load: Callable[[], Classifier]) -> None:
        self.settings = settings
        self.metrics = Metrics(__version__)
        self.admission = Admission(settings.max_in_flight)
        self.failure: BaseException | None = None
        self.draining = False
        self._load = load
        self._loading = asyncio.Lock()
        self._pipelines = settings.pipelines
        self._predictor: Predictor | None = None
        self._users: dict[Predictor, int] = {}
        self.metrics.in_flight.set_function(lambda: self.admission.in_flight)
        self.metrics.queued.set_function(
            lambda: sum(predictor.queued_images for predictor in self._users)
        )

    @property
    def predictor(self) -> Predictor:
        """The predictor that serves at the moment.

        Raises:
            NotReadyError: the first model is still being loaded.
        """
        if self._predictor is None:
            raise NotReadyError("The model is being loaded; try again in a moment.")
        return self._predictor

    @property
    def is_inferring(self) -> bool:
        """Whether a model runs at this moment."""
        return any(predictor.is_inferring for predictor in self._users)

    def pipeline(self, name: str | None) -> Pipeline:
        """The defence that a request asked for, or the default one.

        Raises:
            UnknownDefenseError: the operator does not allow it.
        """
        if name is None:
            return self._pipelines[self.settings.defense]
        # In a query string an unescaped + is a space.
        pipeline = self._pipelines.get("+".join(name.split()))
        if pipeline is None:
            allowed = ", ".join(self._pipelines)
            raise UnknownDefenseError(f"There is no such defence here. There are: {allowed}.")
        return pipeline

    @contextmanager
    def admit(self, images: int) -> Iterator[Predictor]:
        """Hold places for some images, and the predictor until they are answered.

        Args:
            images: how many, each draw counting as one.

        Raises:
            NotReadyError: the first model is still being loaded.
            TooManyImagesError: more than are ever taken at once.
            BusyError: more than can be taken now.
        """
        predictor = self.predictor
        with self.admission.admit(images):
            self._users[predictor] += 1
            try:
                yield predictor
            finally:
                self._users[predictor] -= 1

    async def load(self) -> None:
        """Load the model, warm it up and serve it; one that served before goes when it is idle.

        Raises:
            ModelError: it cannot be loaded; the one that served before still does.
        """
        async with self._loading:
            started = time.perf_counter()
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(1, initializer=yield_to_the_event_loop) as loader:
                classifier = await loop.run_in_executor(loader, self._load)
            predictor = Predictor(classifier, self.settings, self.metrics)
            await predictor.start()
            before, self._predictor = self._predictor, predictor
            self._users[predictor] = 0
            name = classifier.manifest.name
            self.metrics.model.info({"name": name, "provider": classifier.provider})
            self.metrics.ready.set(1)
            _log.info(
                "Serving %s on %s behind %s; ready after %.1f s",
                name,
                classifier.provider,
                self.settings.defense,
                time.perf_counter() - started,
            )
            if before is not None:
                await self._retire(before)
            # A full collection of what has been loaded would stop the event loop for 70 ms.
            gc.collect()
            gc.freeze()

    async def _retire(self, predictor: Predictor) -> None:
        while self._users[predictor]:
            await asyncio.sleep(0.01)
        del self._users[predictor]
        await predictor.stop()

    def drain(self) -> None:
        """Be not ready from now on; what comes in is still answered."""
        self.draining = True
        self.metrics.ready.set(0)

    async def close(self) -> None:
        """Stop every predictor."""
        self.drain()
        self._predictor = None
        for predictor in self._users:
            await predictor.stop()
