"""``python stock_clients.py HOST:PORT MODEL CLIENT …``: classify a red and a blue image as JSON.

It runs in the clients' environment, which does not have this project's packages.
"""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from tritonclient import http

IMAGES = np.array([np.full((32, 32, 3), colour) for colour in ((220, 20, 20), (20, 20, 220))])


def triton(address, model):
    tensor = http.InferInput("x", list(IMAGES.shape), "UINT8")
    tensor.set_data_from_numpy(IMAGES.astype(np.uint8))
    with http.InferenceServerClient(address) as client:
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        assert client.get_model_metadata(model)["inputs"][0]["name"] == "image"
        return client.infer(model, [tensor], request_id="7").as_numpy("means").tolist()


def kserve_v2(address, model):
    async def infer():
        tensor = InferInput("x", list(IMAGES.shape), "UINT8")
        tensor.set_data_from_numpy(IMAGES.astype(np.uint8), binary_data=True)
        request = InferRequest(model, [tensor], request_id="7")
        async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
            assert await client.is_model_ready(f"http://{address}", model)
            answer = await client.infer(f"http://{address}", request, model_name=model)
            assert (answer.id, answer.model_name) == ("7", model)
            return answer.outputs[0].as_numpy().tolist()

    return asyncio.run(infer())


def kserve_v1(address, model):
    async def infer():
        async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
            assert await client.is_model_ready(f"http://{address}", model)
            request = {"instances": IMAGES.tolist()}
            answer = await client.infer(
                f"http://{address}", request, model_name=model, headers={"x-request-id": "abc"}
            )
            assert answer["request_id"] == "abc"
            return answer["predictions"]

    return asyncio.run(infer())


if __name__ == "__main__":
    address, model, *clients = sys.argv[1:]
    json.dump([globals()[client](address, model) for client in clients], sys.stdout)
