"""mosec: the body is the file; one worker process for each CPU behind its server in Rust."""

import json
import os
from typing import Any

import mosec

from benchmarks.rivals.classifying import Classifying


class Worker(mosec.Worker):
    """One copy of the model in each worker."""

    def __init__(self) -> None:
        self.classify = Classifying()

    def deserialize(self, data: bytes) -> bytes:
        """The body as it is."""
        return data

    def serialize(self, data: Any) -> bytes:
        """As JSON."""
        return json.dumps(data).encode()

    def forward(self, data: bytes) -> dict[str, Any]:
        """Classify."""
        return self.classify(data)


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(Worker, num=len(os.sched_getaffinity(0)))
    server.run()
