"""mosec: takes a file as the body, and runs one worker for each CPU behind a server in Rust."""

import json
import os
from typing import Any

import mosec

from benchmarks.rivals.classifying import Classifying


class Worker(mosec.Worker):
    """Each worker has its own copy of the model."""

    def __init__(self) -> None:
        self.classify = Classifying()

    def deserialize(self, data: bytes) -> bytes:
        """Return the body unchanged."""
        return data

    def serialize(self, data: Any) -> bytes:
        """Return the answer as JSON."""
        return json.dumps(data).encode()

    def forward(self, data: bytes) -> dict[str, Any]:
        """Classify the file."""
        return self.classify(data)


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(Worker, num=len(os.sched_getaffinity(0)))
    server.run()
