"""``python kserve_rest.py HOST:PORT``: KServe's inference client, protocol v2."""

import sys

import httpx
import numpy as np
from checks import BLUE, GREEN, MODEL, RED, expect_of, jpeg, plain, probabilities, report, unit
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def connect():
    return InferenceRESTClient(RESTConfig(protocol="v2"))


def request(array, binary, **options):
    datatype = {np.uint8: "UINT8", np.float32: "FP32", np.object_: "BYTES"}[array.dtype.type]
    given = InferInput("input-0", list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model_name=MODEL, infer_inputs=[given], **options)


async def check_health(address):
    async with connect() as client:
        assert await client.is_server_live(f"http://{address}") is True
        assert await client.is_server_ready(f"http://{address}") is True
        assert await client.is_model_ready(f"http://{address}", MODEL) is True
        assert await client.is_model_ready(f"http://{address}", "other") is False


async def check_inference(address):
    async with connect() as client:
        for array in (plain(RED, GREEN), unit(RED, GREEN)):
            for binary in (True, False):
                for parameters in (None, {"binary_data_output": True}):
                    asked = request(array, binary, request_id="9", parameters=parameters)
                    answer = await client.infer(f"http://{address}", asked, model_name=MODEL)
                    assert answer.id == "9"
                    assert answer.model_name == MODEL
                    (output,) = answer.outputs
                    assert (output.name, output.shape) == ("probabilities", [2, 3])
                    np.testing.assert_allclose(
                        output.as_numpy(), probabilities(RED, GREEN), atol=1e-5
                    )


async def check_outputs(address):
    names = ("logits", "defended", "agreement")
    outputs = [RequestedOutput(name, {"binary_data": name == "defended"}) for name in names]
    async with connect() as client:
        asked = request(plain(BLUE), True, request_outputs=outputs)
        answer = await client.infer(f"http://{address}", asked, model_name=MODEL)
        assert [output.name for output in answer.outputs] == list(names)
        np.testing.assert_array_equal(answer.outputs[1].as_numpy(), plain(BLUE))


async def check_image_files(address):
    async with connect() as client:
        files = np.array([jpeg(GREEN), jpeg(RED)], np.object_)
        answer = await client.infer(f"http://{address}", request(files, True), model_name=MODEL)
        assert answer.outputs[0].as_numpy().argmax(axis=1).tolist() == [1, 0]


async def check_a_request_that_is_a_dict(address):
    data = plain(BLUE).tolist()
    tensor = {"name": "x", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": data}
    async with connect() as client:
        answer = await client.infer(f"http://{address}", {"inputs": [tensor]}, model_name=MODEL)
        assert answer.outputs[0].as_numpy().argmax() == 2


async def check_errors(address):
    async with connect() as client:
        for asked, model, message in (
            (request(plain(RED), True), "other", "Unknown model 'other'"),
            (request(unit(RED) * 2, True), MODEL, "numbers in [0, 1]"),
            (
                request(plain(RED), False, parameters={"draws": 99}),
                MODEL,
                "less than or equal to 16",
            ),
        ):
            error = await expect_of(
                httpx.HTTPStatusError,
                client.infer(f"http://{address}", asked, model_name=model),
            )
            assert message in str(error), error


if __name__ == "__main__":
    report(dict(vars()), sys.argv[1])
