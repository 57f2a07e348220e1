"""Looks at images after their answers are written, in a thread of its own, and raises events."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from defenses import Pipeline
from models import Manifest
from service.scheduling.priority import lower_thread_priority
from service.signals import neighbors
from service.signals.calibration import Calibration
from service.signals.episode import FIRST_LEVEL, Episode
from service.signals.events import Events
from service.signals.fingerprint import Fingerprints, block_means
from service.signals.names import SQUEEZE, OnEvent
from service.signals.seen import Seen
from service.signals.squeeze import Squeeze, threshold
from service.signals.window import WINDOW_S, Fingerprint, Sight, Window, Windows
from service.telemetry import logs
from service.telemetry.metrics import SignalMetrics

MOST_WAITING_BYTES = 16 * 1024 * 1024
"""The most bytes of images that wait to be looked at; further ones are skipped."""
_TIDY_EVERY_S = 60.0
_ENDS_WITHIN_S = 10.0
"""Looking at an image takes milliseconds, but the file of the events may be on a slow disk."""

_log = logging.getLogger(__name__)


class Watch:
    """The signals of one server. Nothing waits for it, and it never raises."""

    def __init__(
        self,
        signals: frozenset[str],
        metrics: SignalMetrics,
        *,
        clients_are_keys: bool,
        events_file: Path | None = None,
        on_event: OnEvent = lambda _: None,
        squeeze_share: float = 0.0,
        is_idle: Callable[[], bool] = lambda: True,
        calibration: Calibration | None = None,
    ) -> None:
        """Set up; :meth:`start` starts the thread.

        Args:
            signals: those that are on for clients in general; none if there is nothing to do.
            metrics: counts what happens.
            clients_are_keys: whether a client is the name of a key; otherwise it is an address.
            events_file: where each event is a line, besides the log.
            on_event: called with each event, in the thread of the signals.
            squeeze_share: the share of the images that squeeze infers again, in [0, 1].
            is_idle: whether an inference would delay no answer.
            calibration: thresholds for the default defence; None for the shipped ones.

        Raises:
            EventsFileError: the file cannot be written.
        """
        self.signals = signals
        self._metrics = metrics
        self._events = Events(events_file, on_event, clients_are_keys=clients_are_keys)
        self._calibration = calibration
        self._squeeze = Squeeze(
            squeeze_share,
            is_idle=is_idle,
            on_distance=self._wait,
            on_skip=lambda: metrics.skip("not-idle"),
        )
        self._squeezing: asyncio.Task[None] | None = None
        self._fingerprints: Fingerprints | None = None
        self._windows = Windows(0)
        self._waiting: deque[Seen] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="signals", daemon=True)

    def check(self, manifest: Manifest, defenses: Mapping[str, Pipeline]) -> None:
        """Log which of the signals cannot be used with a model and its defences.

        Raises:
            CalibrationError: the calibration is for another model.
        """
        if self._calibration is not None:
            self._calibration.check_model(manifest)
        classes = len(manifest.label_names)
        if "concentration" in self.signals and classes < neighbors.LEAST_CLASSES:
            _log.warning(
                "The signal concentration is off: it needs %d classes, and %s has %d",
                neighbors.LEAST_CLASSES,
                manifest.name,
                classes,
            )
        unknown = [n for n, each in defenses.items() if self.threshold(manifest, each) is None]
        if SQUEEZE in self.signals and unknown:
            _log.warning(
                "The signal squeeze is off for %s behind %s: it has a threshold for "
                "efficientnet-lite2 behind fd+rdg. Measure another one with 'warpguard calibrate'",
                manifest.name,
                ", ".join(unknown),
            )

    def start(self) -> None:
        """Start the thread, and in the event loop the task, if there is something to do."""
        if self.signals:
            _log.info("Looking for signs of attacks: %s", ", ".join(sorted(self.signals)))
            self._thread.start()
        if SQUEEZE in self.signals:
            self._squeezing = asyncio.create_task(self._squeeze.run())

    def stop(self) -> None:
        """Look at no more images. An event that is being written is written to its end."""
        if self._squeezing is not None:
            self._squeezing.cancel()
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_ENDS_WITHIN_S)

    def threshold(self, manifest: Manifest, defense: Pipeline) -> float | None:
        """The distance beyond which squeeze flags an image; None if it cannot be used."""
        calibration = self._calibration
        if calibration is not None and calibration.defense.name == str(defense):
            return calibration.squeeze.threshold
        return threshold(manifest, defense)

    def signals_for(self, chosen: frozenset[str] | None) -> frozenset[str]:
        """The signals that look at the images of a client, which may have chosen some of them."""
        return self.signals if chosen is None else self.signals & chosen

    @property
    def _least_cosine(self) -> float:
        of_file = None if self._calibration is None else self._calibration.concentration
        return neighbors.LEAST_COSINE if of_file is None else of_file.least_cosine

    def see(self, seen: Seen) -> None:
        """Have an image looked at, in the event loop. This takes no time."""
        self._wait(seen)
        if SQUEEZE in seen.signals:
            self._squeeze.sample(seen)

    def _wait(self, seen: Seen) -> None:
        """Put an image in the thread's queue; skip it if too many wait."""
        with self._changed:
            if self._waiting and self._waiting_bytes + seen.image.nbytes > MOST_WAITING_BYTES:
                self._metrics.skip("busy")
                return
            self._waiting.append(seen)
            self._waiting_bytes += seen.image.nbytes
            self._changed.notify()

    def _work(self) -> None:
        lower_thread_priority()
        tidied_s = time.monotonic()
        while not self._stopped:
            seen = self._next()
            now_s = time.monotonic()
            try:
                if seen is not None:
                    logs.request_id.set(seen.request_id)  # the lines about this image get it
                    self._look(seen, now_s)
                if now_s - tidied_s >= _TIDY_EVERY_S:
                    tidied_s = now_s
                    self._windows.forget(now_s - WINDOW_S)
                    self._count_kept()
            except Exception:  # noqa: BLE001  # the answer is out; whatever failed is in the log
                _log.exception("The signals could not look at an image")
            del seen

    def _next(self) -> Seen | None:
        """Wait for the next image; None when there is something else to do."""
        with self._changed:
            if not self._waiting and not self._stopped:
                self._changed.wait(_TIDY_EVERY_S)
            if not self._waiting:
                return None
            seen = self._waiting.popleft()
            self._waiting_bytes -= seen.image.nbytes
            return seen

    def _look(self, seen: Seen, now_s: float) -> None:
        fingerprints = self._fingerprints
        if fingerprints is None or not fingerprints.fits(seen.image, seen.scores):
            # Another model is served: its images or scores cannot be compared with earlier ones.
            fingerprints = Fingerprints(seen.image.shape, len(seen.scores))
            self._fingerprints = fingerprints
            self._windows = Windows(len(block_means(seen.image)))
        if seen.distance is not None and seen.threshold is not None:
            self._look_squeezed(seen, seen.distance > seen.threshold, now_s)
            return
        means = block_means(seen.image)
        if neighbors.is_blank(means):
            self._metrics.skip("blank")
            return
        window = self._windows.of(seen.client)
        window.forget(now_s - WINDOW_S)
        identity = fingerprints.identity(seen.image)
        if window.has(identity):
            self._metrics.skip("identical")
            return
        has_probabilities = seen.manifest.output.kind == "probabilities"
        direction = fingerprints.direction(seen.scores, probabilities=has_probabilities)
        found: dict[str, float] = {}
        if "same-picture" in seen.signals:
            alike = window.seen(neighbors.same_picture(window.means, means))
            self._metrics.neighbors("same-picture", len(alike))
            found["same-picture"] = len(alike)
            self._count("same-picture", window, alike, (now_s, seen.agreement))
        if "concentration" in seen.signals and fingerprints.classes >= neighbors.LEAST_CLASSES:
            near = neighbors.same_direction(window.directions, direction, self._least_cosine)
            alike = window.seen(near)
            self._metrics.neighbors("concentration", len(alike))
            found["concentration"] = len(alike)
            self._count("concentration", window, alike, (now_s, seen.agreement))
        window.add(Fingerprint(now_s, identity, means, direction, seen.agreement))
        self._count_kept()
        self._log_found(found, is_flagged=max(found.values(), default=0) >= FIRST_LEVEL)
        self._raise_due(seen.client, window, now_s)
        self._metrics.images.inc()

    def _look_squeezed(self, seen: Seen, is_far: bool, now_s: float) -> None:
        """Count an image that was inferred again."""
        self._log_found({SQUEEZE: round(seen.distance or 0.0, 3)}, is_flagged=is_far)
        window = self._windows.of(seen.client)
        window.forget(now_s - WINDOW_S)
        if is_far:
            self._count(SQUEEZE, window, window.squeezed, (now_s, seen.agreement))
        window.add_squeezed(now_s, seen.agreement, is_far=is_far)
        self._raise_due(seen.client, window, now_s)
        self._metrics.squeezed(seen.distance or 0.0, is_far=is_far)

    def _count(self, signal: str, window: Window, alike: Sequence[Sight], new: Sight) -> None:
        """Count an image, and the earlier ones that are like it, in the client's episode."""
        if len(alike) < FIRST_LEVEL:
            return
        self._metrics.flag(signal)
        now_s, _ = new
        if window.episode.is_over(now_s):
            window.episode = Episode()
        earlier = [] if window.episode.has(signal) else alike
        tally = window.episode.tally(signal)
        tally.add(len(earlier) or 1, min([now_s, *(at_s for at_s, _ in earlier)]), now_s)
        tally.add_agreement([agreement for _, agreement in (*earlier, new)])

    def _log_found(self, found: Mapping[str, float], *, is_flagged: bool) -> None:
        """Log what was measured of an image, by signal; the request's id leads to its client."""
        level = logging.INFO if is_flagged else logging.DEBUG
        if found and _log.isEnabledFor(level):
            listed = ", ".join(f"{signal} {value}" for signal, value in found.items())
            _log.log(
                level, "Signals of an image: %s", listed, extra=logs.fields({"signals": found})
            )

    def _count_kept(self) -> None:
        self._metrics.kept.set(sum(map(len, self._windows)))

    def _raise_due(self, client: str, window: Window, now_s: float) -> None:
        """Report an event if one is due."""
        due = window.episode.take_due(now_s)
        for signal in due:
            self._metrics.count_event(signal)
        if due:
            self._events.report(client, window.episode, now_s)
