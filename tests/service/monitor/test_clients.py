"""What events, and lines of the access log, say about each client."""

import json

import pytest

from service.monitor import clients as module
from service.monitor.clients import Clients
from tests.service.signals.test_event import event


def line(value):
    return json.dumps(value).encode()


def access(key, second, images=1):
    time = f"2026-11-22T13:31:{second:02}.000Z"
    return line({"time": time, "logger": "service.access", "images": images, "key": key})


NOW_S = 1795354319.0
"""2026-11-22T13:31:59Z"""


def test_events_of_a_file_and_of_a_log_are_the_same():
    of_a_file, of_a_log = Clients(), Clients()
    of_a_file.take([line(event()), line(event(events=2))])
    of_a_log.take(
        [line({"logger": "service.signals.watch", "event": event()}), line({"logger": 1})]
    )
    (name, client), *_ = of_a_file.ranked()
    assert (name, client.events, client.seen_s) == ("shop", 2, 9.0)
    assert client.last.images == {"same-picture": 20}
    assert of_a_log.ranked()[0][1].last == client.last
    assert [each.severity for each in of_a_file.events] == ["Medium", "Medium"]
    assert (of_a_file.unread, of_a_log.unread) == (0, 0)


def test_a_client_without_a_key_is_its_address():
    found = Clients()
    found.take(line(event(who, is_key=False)) for who in ("203.0.113.7", "2001:db8::/64"))
    assert {name for name, _ in found.ranked()} == {"203.0.113.7", "2001:db8::/64"}


def test_the_access_log_has_the_images_of_each_key():
    found = Clients()
    assert not found.has_access_log
    found.take([access("shop", 3, 90), access("shop", 50, 60), access("camera", 59, 30)])
    assert found.has_access_log
    rates = {name: client.images_per_s(NOW_S) for name, client in found.ranked()}
    assert rates == {"camera": 0.5, "shop": 2.5}
    assert {client.images_per_s(NOW_S + 30) for _, client in found.ranked()} == {0.5, 1.0}


def test_clients_with_events_come_first():
    found = Clients()
    found.take([access("camera", 59), line(event())])
    assert [name for name, _ in found.ranked()] == ["shop", "camera"]


@pytest.mark.parametrize(
    "bad",
    [
        b"a line of text",
        b"\xff",
        b"[]",
        b"3",
        b"{}",
        b'{"class_uid": 2004}',
        b'{"event": 1}',
        line({**event(), "time": "now"}),
        line({**event(), "evidences": []}),
        line(event()).replace(b'"images": 20', b'"images": Infinity'),
        line({"logger": "service.access", "images": 1, "key": "shop", "time": "today"}),
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_counted(bad):
    found = Clients()
    found.take([bad, line(event())])
    assert found.unread == 1
    assert [name for name, _ in found.ranked()] == ["shop"]


def test_a_stream_of_many_clients_takes_little_memory(monkeypatch):
    monkeypatch.setattr(module, "MOST_CLIENTS", 10)
    found = Clients()
    found.take(line(event(f"client {number}")) for number in range(30))
    found.take([access(f"client {29}", second % 60) for second in range(300)])
    assert len(found.ranked()) == 10
    assert len(found.events) == module.MOST_EVENTS
    assert max(len(client._images) for _, client in found.ranked()) <= module.RATE_S
