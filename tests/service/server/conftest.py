"""Clients that write bytes, and see what comes back until the server closes."""

import json

import pytest


class Answer:
    def __init__(self, text):
        self.head, _, self.body = text.partition(b"\r\n\r\n")
        self.status = int(self.head.split()[1])

    @property
    def error(self):
        error = json.loads(self.body)["error"]
        return self.status, error["code"], error["message"]


def read_all(connection):
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.fixture(scope="session")
def receive():
    """All that arrives until the server closes; fails if it does not close in a long time."""
    return read_all


@pytest.fixture(scope="session")
def exchange():
    """Send pieces on a connection of their own; give the answer once the server has closed."""

    def sent(server, *pieces):
        with server.connect() as connection:
            for piece in pieces:
                try:
                    connection.sendall(piece)
                except OSError:
                    break  # it was refused before its end
            return Answer(read_all(connection))

    return sent


@pytest.fixture(scope="module")
def patient(spawn_for_all):
    """A server that waits longer than any test lasts."""
    return spawn_for_all("--request-timeout-seconds", "600", "--keep-alive-seconds", "600")
