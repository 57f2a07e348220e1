"""What the routes share: the settings, admission, and the engine that serves at the moment.

::

    Backend ──┬── LocalBackend      engine: a Predictor, which runs the model here
              └── UpstreamBackend   engine: a Transformer, which forwards (service/transformer)
"""

import asyncio
import gc
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ClassVar, Generic, Protocol, TypeVar

from defenses import Pipeline
from models import Classifier, ModelError
from service import __version__
from service.auth.client import Client
from service.auth.keys import Keys
from service.error_response import ErrorResponder
from service.errors import NotReadyError, ServiceError, SetupError, UnknownDefenseError
from service.predictor import Predictor
from service.scheduling.admission import Admission
from service.scheduling.joined import Joined
from service.scheduling.priority import lower_thread_priority
from service.scheduling.scheduler import Scheduler
from service.settings import Settings
from service.signals.calibration import Calibration
from service.signals.names import OnEvent
from service.signals.watch import Watch
from service.telemetry.metrics import Metrics


class Engine(Protocol):
    """What serves images: a predictor or a transformer, with threads of its own."""

    @property
    def is_ready(self) -> bool:
        """Whether it takes images."""

    @property
    def queued_images(self) -> int:
        """The images that wait for a thread or a batch."""

    def stop(self) -> None:
        """Take no more images."""


T = TypeVar("T")
EngineT = TypeVar("EngineT", bound=Engine)

_log = logging.getLogger(__name__)


class Backend(ABC, Generic[EngineT]):
    """One server's state, which is lost without harm when the process ends.

    Attributes:
        settings: all of them.
        metrics: this server's own.
        errors: answers errors, and counts them.
        keys: the API keys; None if everyone may ask.
        failure: why the server cannot serve at all; None if it can.
        draining: whether the server is about to stop; it is not ready then.
    """

    _starting: ClassVar[str]
    """Why there is no engine yet, in a sentence for clients."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(__version__)
        self.errors = ErrorResponder(self.metrics.count_error)
        self.keys = Keys(settings.api_keys, settings.key_rate) if settings.api_keys else None
        self.failure: BaseException | None = None
        self.draining = False
        self._admission = Admission(settings.max_in_flight)
        self._reload = Joined(self._load_again)
        self._engine: EngineT | None = None
        self._requests_in_flight: dict[EngineT, int] = {}  # of every engine that was not stopped
        # Parses the JSON of requests, one at a time: a large one needs fifteen times its size. Its
        # priority is the event loop's. It holds Python's lock while it parses, so the loop would
        # wait for a thread of lower priority that waits for a processor.
        self._json = Scheduler(threads=1, preprocess_threads=1, lower_priority=False)
        self._pipelines = settings.pipelines
        self.metrics.expect(self._pipelines, settings.max_in_flight)
        self.metrics.ready.set_function(lambda: self.is_ready)
        self.metrics.in_flight.set_function(lambda: self._admission.in_flight)
        self.metrics.queued.set_function(
            lambda: sum(engine.queued_images for engine in self._requests_in_flight)
        )

    def start(self) -> None:
        """Start the thread that parses JSON; :meth:`load` starts the engine."""
        self._json.start()

    @property
    def engine(self) -> EngineT:
        """What serves at the moment.

        Raises:
            NotReadyError: the server is still starting.
        """
        if self._engine is None:
            raise NotReadyError(self._starting)
        return self._engine

    @property
    @abstractmethod
    def model_name(self) -> str:
        """The name of the served model.

        Raises:
            NotReadyError: the name is not known yet.
        """

    @abstractmethod
    async def load(self) -> None:
        """Get ready; if the server is ready, reload the model while the previous one serves."""

    @property
    def is_ready(self) -> bool:
        """Whether the server could serve when it was last checked."""
        engine = self._engine
        return engine is not None and self._threads_live(engine) and not self.draining

    def _threads_live(self, engine: EngineT) -> bool:
        return engine.is_ready and self._json.is_open

    async def check_ready(self) -> None:
        """Return if requests can be served.

        Raises:
            NotReadyError: they cannot be, or the server is about to stop.
        """
        if self.draining:
            raise NotReadyError("The server is stopping.")
        if not self._threads_live(self.engine):
            raise NotReadyError("The server has failed; its log says why.")

    async def close(self) -> None:
        """Stop every engine."""
        self.draining = True
        self._engine = None
        self._json.stop()
        for engine in self._requests_in_flight:
            engine.stop()

    async def _swap(self, engine: EngineT) -> None:
        """Serve with a new engine; the previous one is stopped once it is idle."""
        previous, self._engine = self._engine, engine
        self._requests_in_flight[engine] = 0
        if previous is not None:
            while self._requests_in_flight[previous]:
                await asyncio.sleep(0.01)
            del self._requests_in_flight[previous]
            previous.stop()

    async def reload(self) -> bool:
        """Read the keys and load again; False if loading failed, with the reason in the log.

        The previous engine goes on then. Calls while a reload runs share the next one.
        """
        return await self._reload()

    async def _load_again(self) -> bool:
        if self.keys is not None:
            await self.keys.reload()
        try:
            await self.load()
        except Exception as error:  # noqa: BLE001  # whatever is wrong with the new model
            details = None if isinstance(error, ModelError | ServiceError | SetupError) else error
            _log.error(
                "The model was not reloaded; the previous one goes on. %s", error, exc_info=details
            )
            return False
        return True

    @asynccontextmanager
    async def admit(self, images: int, client: Client, *, draws: int = 1) -> AsyncIterator[EngineT]:
        """Hold places for some images, and the engine, until they are answered.

        Args:
            images: how many.
            client: who asks for them; the log of its request has the numbers from here.
            draws: how many draws of each.

        Raises:
            NotReadyError: the server is still starting.
            TooManyImagesError, BusyError, RateLimitedError: see :class:`Admission`.
        """
        engine = self.engine
        client.images, client.draws = images, draws
        async with self._admission.admit(images * draws, client):
            self._requests_in_flight[engine] += 1
            try:
                yield engine
            finally:
                self._requests_in_flight[engine] -= 1

    async def read_json(self, read: Callable[[], T], client: Client) -> T:
        """Parse a client's JSON in the thread for that; the event loop goes on meanwhile."""
        return await self._json.run(read, client.name)

    def pipeline(self, name: str | None) -> Pipeline:
        """The defence that a request names, or the default one.

        Raises:
            UnknownDefenseError: the operator does not allow it.
        """
        if name is None:
            return self._pipelines[self.settings.defense]
        # In a query string an unescaped + is a space.
        pipeline = self._pipelines.get("+".join(name.split()))
        if pipeline is None:
            allowed = ", ".join(self._pipelines)
            what, flag = "Unknown defence.", "--allow-defense"
            if name == "none":
                what, flag = "The defence none is not allowed.", "--allow-defense none"
            raise UnknownDefenseError(
                f"{what} Allowed on this server: {allowed}. "
                f"Its operator can allow more with {flag}."
            )
        return pipeline


class LocalBackend(Backend[Predictor]):
    """The backend of a server that runs its model itself."""

    _starting = "The model is being loaded; try again in a moment."

    def __init__(
        self, settings: Settings, load: Callable[[], Classifier], on_event: OnEvent
    ) -> None:
        super().__init__(settings)
        self._load = load
        path = settings.calibration
        calibration = Calibration.read(path, self.pipeline(None)) if path else None
        self._loading = asyncio.Lock()
        self._watch = Watch(
            settings.signals,
            self.metrics.signals,
            clients_are_keys=self.keys is not None,
            events_file=settings.events_file,
            on_event=on_event,
            squeeze_share=settings.squeeze_share,
            is_idle=lambda: self._admission.in_flight < settings.inference_streams,
            calibration=calibration,
        )

    def start(self) -> None:
        """Start the thread of the signals, too; see :class:`Backend`."""
        super().start()
        self._watch.start()

    async def close(self) -> None:
        """Stop the signals, too; see :class:`Backend`."""
        await super().close()
        self._watch.stop()

    @property
    def model_name(self) -> str:
        """The name in the model's manifest; see :class:`Backend`."""
        return self.engine.classifier.manifest.name

    async def load(self) -> None:
        """Load the model, warm it up and serve it; the previous one serves until then.

        Raises:
            ModelError: it cannot be loaded; the previous one goes on.
            CalibrationError: the calibration is for another model; likewise.
        """
        async with self._loading:
            started_s = time.perf_counter()
            loop = asyncio.get_running_loop()
            loader = ThreadPoolExecutor(1, initializer=lower_thread_priority)
            try:
                classifier = await loop.run_in_executor(loader, self._load)
            finally:
                loader.shutdown(wait=False)  # a cancelled load does not wait for the thread
            self._watch.check(classifier.manifest, self._pipelines)
            predictor = Predictor(classifier, self.settings, self.metrics, self._watch)
            await predictor.start()
            name, precision = classifier.manifest.name, classifier.manifest.precision
            provider = classifier.provider
            self.metrics.model.info({"name": name, "provider": provider, "precision": precision})
            _log.info("%s runs in %s: %s", name, precision.upper(), classifier.precision_reason)
            _log.info(
                "Serving %s on %s behind %s; ready after %.1f s",
                *(name, provider, self.settings.defense),
                time.perf_counter() - started_s,
            )
            await self._swap(predictor)
            # A full collection of what has been loaded would stop the event loop for 70 ms.
            gc.collect()
            gc.freeze()
