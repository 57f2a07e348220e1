"""Verify a model in a process that can be ended: ``python -m models.verify``.

A graph may compute without an end, even while ONNX Runtime loads it and computes its constants, and
nothing but the end of the process stops that. The process reads a manifest's length, the manifest
and the graph from its standard input. It writes what is wrong, if anything, to its standard output.
"""

import os
import subprocess
import sys
from pathlib import Path

from models.errors import ManifestError
from models.manifest import Manifest

_CONTRADICTED_EXIT = 3
_LENGTH_BYTES = 4


def verify(manifest: Manifest, graph_bytes: bytes, *, timeout_s: float) -> None:
    """Run a graph on the CPU, and compare it with its manifest.

    Args:
        manifest: the model's manifest.
        graph_bytes: the model's ONNX file.
        timeout_s: the longest time in seconds, after which the process is killed.

    Raises:
        ManifestError: the graph cannot be loaded or run, contradicts the manifest, or takes longer.
    """
    text = manifest.model_dump_json().encode()
    folders = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "models.verify"],  # -P: not the models of this folder
            input=b"".join((len(text).to_bytes(_LENGTH_BYTES), text, graph_bytes)),
            stdout=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))},
        )
    except subprocess.TimeoutExpired:
        raise ManifestError(
            f"The graph of {manifest.name!r} was not loaded and run within {timeout_s:g} s: it may "
            "compute without an end. If it is only large, give it more time with --timeout-seconds."
        ) from None
    if done.returncode == _CONTRADICTED_EXIT:
        raise ManifestError(done.stdout.decode())
    if done.returncode != 0:
        raise ManifestError(
            f"The process that ran the graph of {manifest.name!r} ended with exit code "
            f"{done.returncode}."
        )


def _main() -> None:
    from models.session import Classifier

    length = int.from_bytes(sys.stdin.buffer.read(_LENGTH_BYTES))
    manifest = Manifest.parse(sys.stdin.buffer.read(length), "of the model")
    try:
        Classifier(manifest, sys.stdin.buffer.read(), device="cpu").verify()
    except ManifestError as error:
        sys.stdout.buffer.write(str(error).encode())
        sys.exit(_CONTRADICTED_EXIT)


if __name__ == "__main__":
    _main()
