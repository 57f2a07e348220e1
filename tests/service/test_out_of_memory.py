"""Wherever memory runs out, the answer is a 503 that says so, and the log has a line."""

import json
import logging

import cv2
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException
from starlette.requests import Request

import service.oip.routes
from defenses import Pipeline
from service.api.uploads import _Form
from service.errors import is_out_of_memory
from service.middleware.compression import _CompressedSend


def of_opencv(code=-4):
    error = cv2.error("OpenCV: Insufficient memory (Failed to allocate 1 bytes)")
    error.code = code
    return error


ARENA = "bfc_arena.cc AllocateRawInternal Failed to allocate memory for requested buffer of size 9"
LACKS = {
    "Python": MemoryError(),
    "OpenCV": of_opencv(),
    "ONNX Runtime": RuntimeException(ARENA),
}


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.fixture(params=LACKS)
def lack(request):
    return LACKS[request.param]


@pytest.fixture
def is_refused(caplog):
    """Check an answer: what it says, and that the log has a line without a traceback."""

    def check(answer):
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"] == "1"
        assert "not enough memory" in answer.text
        (line,) = [each for each in caplog.records if "not enough memory" in each.getMessage()]
        assert line.levelno == logging.ERROR
        return True

    return check


def test_libraries_report_it_in_their_own_ways(lack):
    assert is_out_of_memory(lack)
    outer = ValueError("the network failed")
    outer.__cause__ = lack
    assert is_out_of_memory(outer)


def test_other_errors_are_not_taken_for_it():
    assert not is_out_of_memory(of_opencv(-215))
    assert not is_out_of_memory(RuntimeException("Non-zero status code"))
    assert not is_out_of_memory(ValueError("Failed to allocate memory"))


@pytest.mark.parametrize("route", ["/v1/predict", "/v1/defend", "/v2/models/colours/infer"])
def test_while_an_image_is_defended(client, make_photograph, monkeypatch, is_refused, lack, route):
    monkeypatch.setattr(Pipeline, "__call__", raising(lack))
    headers = {"Inference-Header-Content-Length": "0"} if route.startswith("/v2") else {}
    assert is_refused(client.post(route, content=make_photograph(), headers=headers))


def test_in_one_file_of_a_form(client, make_photograph, monkeypatch, caplog):
    monkeypatch.setattr(Pipeline, "__call__", raising(MemoryError()))
    answer = client.post("/v1/predict", files=[("files", ("a", make_photograph()))])
    assert answer.json()["results"][0]["error"]["code"] == "out_of_memory"
    assert "not enough memory" in caplog.text


def test_while_the_model_runs(client, make_photograph, is_refused, lack):
    client.app.state.backend.engine._scheduler._infer_batch = raising(lack)
    assert is_refused(client.post("/v1/predict", content=make_photograph()))


def test_while_a_body_is_read(client, make_photograph, monkeypatch, is_refused):
    monkeypatch.setattr(Request, "body", raising(MemoryError()))
    assert is_refused(client.post("/v1/predict", content=make_photograph()))


def test_while_a_form_is_read(client, make_photograph, monkeypatch, is_refused):
    monkeypatch.setattr(_Form, "parser", raising(MemoryError()))
    form = {"files": ("a.png", make_photograph())}
    assert is_refused(client.post("/v1/defend", files=form))


@pytest.mark.parametrize("step", ["decode", "encode"])
def test_while_json_is_read_or_written(client, monkeypatch, is_refused, step):
    monkeypatch.setattr(service.oip.routes, step, raising(MemoryError()))
    data = [0] * (3 * 32 * 32)
    tensor = {"name": "x", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": data}
    body = json.dumps({"inputs": [tensor]})
    assert is_refused(client.post("/v2/models/colours/infer", content=body))


def test_an_answer_that_cannot_be_compressed_goes_as_it_is(client, monkeypatch):
    monkeypatch.setattr(_CompressedSend, "_compress", raising(MemoryError()))
    tensor = {"name": "x", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0] * 3072}
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": "defended"}]})
    answer = client.post("/v2/models/colours/infer", content=body)
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers
    assert len(answer.json()["outputs"][0]["data"]) == 3072
