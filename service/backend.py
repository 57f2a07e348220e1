"""What the routes share: the settings, the door, and the predictor that serves at the moment."""

import asyncio
import gc
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from defenses import Pipeline
from models import Classifier, ModelError
from service import __version__
from service.auth.keys import Keys
from service.errors import NotReadyError, ServiceError, UnknownDefenseError
from service.predictor import Predictor
from service.scheduling.admission import Admission
from service.scheduling.priority import yield_to_the_event_loop
from service.settings import Settings
from service.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)


class ServerState(ABC):
    """One server's state; lost without harm when the process ends.

    Attributes:
        failure: why the server cannot serve at all, where that is so.
        draining: whether the server is about to stop; it is not ready then.
        reader: the thread that reads large requests.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(__version__)
        self.admission = Admission(settings.max_in_flight)
        self.keys = Keys(settings.api_keys, settings.key_rate) if settings.api_keys else None
        self.failure: BaseException | None = None
        self.draining = False
        # Reads the JSON of requests, one at a time: a large one needs fifteen times its size. Its
        # priority is the event loop's: it holds the interpreter while it parses, and the loop would
        # wait for a nicer thread that waits for a processor.
        self.reader = ThreadPoolExecutor(1, "read")
        self._pipelines = settings.pipelines
        self.metrics.expect(self._pipelines, settings.max_in_flight)
        self.metrics.ready.set_function(lambda: self.is_ready)
        self.metrics.in_flight.set_function(lambda: self.admission.in_flight)

    @abstractmethod
    async def load(self) -> None:
        """Get ready; or, once ready, load anew what is served, which goes on meanwhile."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything."""

    @property
    @abstractmethod
    def model_name(self) -> str:
        """The name of what is served.

        Raises:
            NotReadyError: that is not known yet.
        """

    @property
    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it could serve when it was last asked."""

    @abstractmethod
    async def check_ready(self) -> None:
        """Return if requests can be served.

        Raises:
            NotReadyError: they cannot be, or the server is about to stop.
        """

    async def reload(self) -> bool:
        """Load anew; False if what was served before goes on, and then the log says why."""
        if self.keys is not None:
            self.keys.reload()
        try:
            await self.load()
        except Exception as error:  # noqa: BLE001  # whatever is wrong with the new one
            told = None if isinstance(error, ModelError | ServiceError) else error
            _log.error(
                "The model was not loaded anew; the old one goes on. %s", error, exc_info=told
            )
            return False
        return True

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


class State(ServerState):
    """The state of a server that runs its model itself."""

    def __init__(self, settings: Settings, load: Callable[[], Classifier]) -> None:
        super().__init__(settings)
        self._load = load
        self._loading = asyncio.Lock()
        self._predictor: Predictor | None = None
        self._users: dict[Predictor, int] = {}
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
    def model_name(self) -> str:
        """That of the predictor's model; see :class:`ServerState`."""
        return self.predictor.classifier.manifest.name

    @property
    def is_ready(self) -> bool:
        """Whether a model serves, and the server is not about to stop."""
        return self._predictor is not None and not self.draining

    async def check_ready(self) -> None:
        """Return if the model is loaded and warm; see :class:`ServerState`."""
        if self.draining:
            raise NotReadyError("The server is stopping.")
        self.predictor  # noqa: B018  # raises NotReadyError

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
            loader = ThreadPoolExecutor(1, initializer=yield_to_the_event_loop)
            try:
                classifier = await loop.run_in_executor(loader, self._load)
            finally:
                loader.shutdown(wait=False)  # cancelled, this does not wait for the thread
            predictor = Predictor(classifier, self.settings, self.metrics)
            await predictor.start()
            before, self._predictor = self._predictor, predictor
            self._users[predictor] = 0
            name = classifier.manifest.name
            self.metrics.model.info({"name": name, "provider": classifier.provider})
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

    async def close(self) -> None:
        """Stop every predictor."""
        self.draining = True
        self._predictor = None
        self.reader.shutdown(wait=False, cancel_futures=True)
        for predictor in tuple(self._users):
            await predictor.stop()
