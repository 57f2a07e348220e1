"""``python triton_aio.py HOST:PORT``: tritonclient.http.aio, which requests gzip by itself.

aiohttp sends ``Accept-Encoding: gzip, deflate``, and this client decompresses only the answers of
inferences.
"""

import asyncio
import sys

import numpy as np
from checks import BLUE, GREEN, MODEL, RED, expect_of, plain, probabilities, report
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException


def tensor(array, binary=True):
    datatype = {np.uint8: "UINT8", np.float32: "FP32"}[array.dtype.type]
    given = aio.InferInput("image", list(array.shape), datatype)
    return given.set_data_from_numpy(array, binary)


async def check_health_and_metadata(address):
    async with aio.InferenceServerClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready(MODEL)
        assert not await client.is_model_ready("other")
        assert (await client.get_server_metadata())["name"] == "warpguard"
        assert (await client.get_model_metadata(MODEL))["versions"] == ["1"]
        assert len(await client.get_model_repository_index()) == 1


async def check_inference(address):
    async with aio.InferenceServerClient(address) as client:
        for coding in (None, "gzip", "deflate"):
            for binary in (True, False):
                outputs = [
                    aio.InferRequestedOutput(name, binary_data=binary)
                    for name in ("probabilities", "defended")
                ]
                result = await client.infer(
                    MODEL,
                    [tensor(plain(BLUE), binary)],
                    outputs=outputs,
                    request_id="7",
                    request_compression_algorithm=coding,
                    response_compression_algorithm=coding,
                )
                assert result.get_response()["id"] == "7"
                np.testing.assert_array_equal(result.as_numpy("defended"), plain(BLUE))
                np.testing.assert_allclose(
                    result.as_numpy("probabilities"), probabilities(BLUE), atol=1e-5
                )


async def check_many_at_once(address):
    colours = [RED, GREEN, BLUE] * 16
    async with aio.InferenceServerClient(address) as client:
        results = await asyncio.gather(
            *(client.infer(MODEL, [tensor(plain(colour))]) for colour in colours)
        )
    for result, colour in zip(results, colours, strict=True):
        values = result.as_numpy("probabilities")
        np.testing.assert_allclose(values, probabilities(colour), atol=1e-5)


async def check_errors(address):
    async with aio.InferenceServerClient(address) as client:
        for model, status, message, options in (
            ("other", "404", "Unknown model 'other'", {}),
            (MODEL, "504", "No answer within 0.001 ms", {"timeout": 1}),
            (MODEL, "422", "unknown: 'x'", {"parameters": {"x": 1}}),
            (
                MODEL,
                "422",
                "Unknown output 'x",
                {"outputs": [aio.InferRequestedOutput("x" * 5000)]},
            ),
        ):
            error = await expect_of(
                InferenceServerException, client.infer(model, [tensor(plain(RED))], **options)
            )
            assert error.status() == status, error
            assert message in error.message(), error


if __name__ == "__main__":
    report(dict(vars()), sys.argv[1])
