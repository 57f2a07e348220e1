"""What a stream of lines says about each client: the events, and the lines of the access log."""

import json
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

MOST_CLIENTS = 1000
"""The most clients that are kept; the one that was away for longest is forgotten first."""
MOST_EVENTS = 20
RATE_S = 60
"""The seconds that a rate of images is about."""
_FINDING = 2004
"""OCSF's number for a Detection Finding."""
_ACCESS = "service.access"


@dataclass(frozen=True)
class Event:
    """An event, as far as it could be read.

    Attributes:
        at_s: when it was raised, in seconds since 1970.
        client: the name of the key, or the address.
        severity: a word.
        message: a sentence.
        images: how many images there were, by signal.
    """

    at_s: float
    client: str
    severity: str
    message: str
    images: Mapping[str, int]


@dataclass
class Client:
    """What is known of a client.

    Attributes:
        events: how many there were.
        last: the last one of them.
        seen_s: when it was last seen, in seconds since 1970.
    """

    events: int = 0
    last: Event | None = None
    seen_s: float = 0.0
    _images: dict[int, int] = field(default_factory=dict)

    def count(self, at_s: float, images: int) -> None:
        """Count the images of a request."""
        second = int(at_s)
        self._images[second] = self._images.get(second, 0) + images
        newest = max(self._images)
        for old in [each for each in self._images if each <= newest - RATE_S]:
            del self._images[old]

    def images_per_s(self, now_s: float) -> float:
        """The rate of its images in the last :data:`RATE_S` seconds."""
        recent = (n for second, n in self._images.items() if second > now_s - RATE_S)
        return sum(recent) / RATE_S


class Clients:
    """The clients of one stream.

    Attributes:
        events: the last ones, the newest first.
        has_access_log: whether the stream has lines about requests.
        unread: how many lines are neither events nor lines of a log as JSON.
    """

    def __init__(self) -> None:
        self.events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self.has_access_log = False
        self.unread = 0
        self._clients: OrderedDict[str, Client] = OrderedDict()

    def ranked(self) -> list[tuple[str, Client]]:
        """Those with the most recent event first, then those that were seen last."""

        def rank(each: tuple[str, Client]) -> tuple[float, float]:
            _, client = each
            return client.last.at_s if client.last else 0.0, client.seen_s

        return sorted(self._clients.items(), key=rank, reverse=True)

    def take(self, lines: Iterable[bytes]) -> None:
        """Read some lines."""
        for line in lines:
            try:
                self._take(json.loads(line))
            except (
                ArithmeticError,
                AttributeError,
                LookupError,
                RecursionError,
                TypeError,
                ValueError,
            ):
                self.unread += 1

    def _take(self, entry: dict[str, Any]) -> None:
        if entry.get("class_uid") == _FINDING:
            self._take_event(entry)
        elif "event" in entry:  # a line of the log
            self._take_event(entry["event"])
        elif entry.get("logger") == _ACCESS:
            self.has_access_log = True
            if "key" in entry and "images" in entry:
                at_s = datetime.fromisoformat(entry["time"]).timestamp()
                client = self._client(str(entry["key"]), at_s)
                client.count(at_s, int(entry["images"]))
        elif "logger" not in entry:
            self.unread += 1

    def _take_event(self, found: dict[str, Any]) -> None:
        evidence = found["evidences"][0]
        data = {str(name): int(each["images"]) for name, each in evidence["data"].items()}
        event = Event(
            found["time"] / 1e3,
            _name(evidence),
            str(found["severity"]),
            str(found["message"]),
            data,
        )
        self.events.appendleft(event)
        client = self._client(event.client, event.at_s)
        client.events += 1
        client.last = event

    def _client(self, name: str, at_s: float) -> Client:
        client = self._clients.setdefault(name, Client())
        client.seen_s = max(client.seen_s, at_s)
        self._clients.move_to_end(name)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        return client


def _name(evidence: Mapping[str, Any]) -> str:
    """The client of an event: the name of its key, or its address."""
    if "actor" in evidence:
        return str(evidence["actor"]["user"]["name"])
    endpoint = evidence["src_endpoint"]
    return str(endpoint.get("ip") or endpoint["name"])
