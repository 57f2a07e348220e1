"""LitServe: takes a form with one file, and uses ZeroMQ as its guide advises for throughput."""

import os
import sys
from typing import Any

import litserve as ls
from fastapi import Request

from benchmarks.rivals.classifying import Classifying


class Api(ls.LitAPI):  # type: ignore[misc]
    """Each worker has its own copy of the model."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self.classify = Classifying()

    def decode_request(self, request: Request) -> bytes:
        """Read the file of the form."""
        content: bytes = request["image"].file.read()
        return content

    def predict(self, x: bytes) -> dict[str, Any]:
        """Classify the file."""
        return self.classify(x)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return the answer unchanged."""
        return output


if __name__ == "__main__":
    cores = len(os.sched_getaffinity(0))
    server = ls.LitServer(Api(), accelerator="cpu", workers_per_device=cores, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error"
    )
