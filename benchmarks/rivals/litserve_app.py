"""LitServe: a form with one file; the ZeroMQ queue, which its documentation has for throughput."""

import os
import sys
from typing import Any

import litserve as ls
from fastapi import Request

from benchmarks.rivals.classifying import Classifying


class Api(ls.LitAPI):  # type: ignore[misc]
    """One copy of the model in each worker."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self.classify = Classifying()

    def decode_request(self, request: Request) -> bytes:
        """Read the file."""
        content: bytes = request["image"].file.read()
        return content

    def predict(self, x: bytes) -> dict[str, Any]:
        """Classify."""
        return self.classify(x)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Answer as it is."""
        return output


if __name__ == "__main__":
    cores = len(os.sched_getaffinity(0))
    server = ls.LitServer(Api(), accelerator="cpu", workers_per_device=cores, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error"
    )
