"""What ``warpguard models`` is given: graphs from strangers, and a hub that misbehaves."""

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.hostile.run import MOST_MEMORY_MB, Outcome
from benchmarks.hostile.watch import Watch, cpu_s
from harness.server import WARPGUARD, environment

_REFUSED = 1
_MOST_LEFT_BYTES = 4096
_GIVES_UP_S = 120.0
_TIMEOUT_S = "10"
_SIDE_PX = 16
_MANIFEST = {
    "name": "mine",
    "input": {"layout": "NCHW", "height_px": _SIDE_PX, "width_px": _SIDE_PX},
    "output": {"kind": "logits"},
    "scaling": {"mean": [127.5] * 3, "std": [127.5] * 3},
    "labels": ["a", "b", "c"],
}
_EACH_S = 0.02

Command = Callable[[Path], tuple[list[str], dict[str, str]]]
"""Writes files into a folder; returns the arguments of ``warpguard`` and further variables."""


def run_command(name: str, command: Command) -> Outcome:
    """Run a command with an empty store, in which it must leave nothing.

    The memory is that of the whole process and its children.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = folder / "store"
        arguments, variables = command(folder)
        begun, used_s = time.perf_counter(), 0.0
        process = subprocess.Popen(
            [*WARPGUARD, *arguments, "--store", str(store)],
            env=environment() | variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        watch = Watch(process.pid)
        watch.start()
        while process.poll() is None and time.perf_counter() - begun < _GIVES_UP_S:
            used_s = max(used_s, cpu_s(process.pid))
            time.sleep(_EACH_S)
        seconds = time.perf_counter() - begun
        process.kill()
        code = process.wait()
        watch.stop()
        left = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    bounds = {
        "exit code": code == _REFUSED,
        "memory": watch.peak_mb <= MOST_MEMORY_MB,
        "files": left <= _MOST_LEFT_BYTES,
    }
    return Outcome(
        name=name,
        requests=1,
        statuses={code: 1},
        seconds=seconds,
        memory_mb=watch.peak_mb,
        cpu_s=used_s,
        after_s=0.0,
        honest=0,
        served=0.0,
        health_ms=0.0,
        log_kb=0.0,
        missed=tuple(bound for bound, is_met in bounds.items() if not is_met),
    )


def _added(change: Callable[[onnx.ModelProto], None]) -> Command:
    """Add a small classifier after a change."""

    def command(folder: Path) -> tuple[list[str], dict[str, str]]:
        model = _classifier()
        change(model)
        graph, manifest = folder / "graph.onnx", folder / "manifest.json"
        graph.write_bytes(model.SerializeToString())
        manifest.write_text(json.dumps(_MANIFEST))
        files = ["--onnx", str(graph), "--manifest", str(manifest)]
        return ["models", "add", "mine", *files, "--timeout-seconds", _TIMEOUT_S], {}

    return command


def _classifier() -> onnx.ModelProto:
    weights = np.ones((3, 3), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input", "axes"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        ],
        "classifier",
        [_value("input", ["batch", 3, _SIDE_PX, _SIDE_PX])],
        [_value("logits", ["batch", 3])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2, 3]), "axes"),
        ],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=onnx.IR_VERSION_2023_5_5
    )


def _value(
    name: str, shape: list[str | int] | None, kind: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _make_external(model: onnx.ModelProto) -> None:
    """Have the weights read from a file outside."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _make_large(model: onnx.ModelProto) -> None:
    """Have a graph of some hundred bytes make a tensor of 4 TB."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 40]), "size"))
    _add_to_scores(model, helper.make_node("ConstantOfShape", ["size"], ["last"]))


def _make_endless(model: onnx.ModelProto) -> None:
    """Compute a loop that never ends."""
    loop = helper.make_graph(
        [
            helper.make_node("Identity", ["yes"], ["again"]),
            helper.make_node("Add", ["x", "x"], ["more"]),
        ],
        "loop",
        [
            _value("i", [], TensorProto.INT64),
            _value("yes", [], TensorProto.BOOL),
            _value("x", None),
        ],
        [_value("again", [], TensorProto.BOOL), _value("more", None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "begin"))
    _add_to_scores(model, helper.make_node("Loop", ["", "begin", "linear"], ["last"], body=loop))


def _add_to_scores(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """Add the sum of a node's output to the scores."""
    model.graph.node[1].output[0] = "linear"
    model.graph.node.append(node)
    model.graph.node.append(helper.make_node("ReduceSum", ["last"], ["sum"], keepdims=0))
    model.graph.node.append(helper.make_node("Add", ["linear", "sum"], ["logits"]))


class _Hub(BaseHTTPRequestHandler):
    """Declares a file of 1,000 bytes, and sends bytes without an end."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("ETag", '"' + "0" * 64 + '"')  # a SHA-256
        self.send_header("X-Repo-Commit", "1" * 40)
        self.send_header("Content-Length", "1000")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 18))

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _pull(_: Path) -> tuple[list[str], dict[str, str]]:
    hub = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    variables = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "NO_PROXY": "127.0.0.1"}
    return ["models", "pull", "inception-v3-tf"], variables


COMMANDS: dict[str, Command] = {
    "models add: weights in a file outside": _added(_make_external),
    "models add: a tensor of 4 TB": _added(_make_large),
    "models add: a loop without an end": _added(_make_endless),
    "models pull: more than was declared": _pull,
}
"""All commands by name. Each of them must be refused."""
