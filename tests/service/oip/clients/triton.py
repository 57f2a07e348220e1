"""``python triton.py HOST:PORT``: tritonclient.http against a server of the colour classifier."""

import sys

import numpy as np
from checks import BLUE, GREEN, MODEL, RED, expect, jpeg, plain, probabilities, report, unit
from tritonclient import http
from tritonclient.utils import InferenceServerException

IMAGE = plain(RED)


def tensor(array, binary=True, name="whatever"):
    datatype = {np.uint8: "UINT8", np.float32: "FP32", np.object_: "BYTES"}[array.dtype.type]
    return http.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array, binary)


def output(name, **options):
    return http.InferRequestedOutput(name, **options)


def check_health(address):
    with http.InferenceServerClient(address) as client:
        assert client.is_server_live() is True
        assert client.is_server_ready() is True
        assert client.is_model_ready(MODEL) is True
        assert client.is_model_ready(MODEL, "1") is True
        assert client.is_model_ready(MODEL, "2") is False
        assert client.is_model_ready("other") is False


def check_metadata(address):
    with http.InferenceServerClient(address) as client:
        server = client.get_server_metadata()
        assert server["name"] == "warpguard"
        assert set(server["extensions"]) == {"binary_tensor_data", "classification"}
        model = client.get_model_metadata(MODEL)
        assert model == client.get_model_metadata(MODEL, "1")
        assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
        assert model["outputs"][0] == {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [-1, 3],
        }
        (entry,) = client.get_model_repository_index()
        assert (entry["name"], entry["version"], entry["state"]) == (MODEL, "1", "READY")


def check_binary_pixels_and_no_outputs_named(address):
    with http.InferenceServerClient(address) as client:
        result = client.infer(MODEL, [tensor(plain(RED, BLUE))], request_id="42")
        response = result.get_response()
        assert (response["model_name"], response["model_version"]) == (MODEL, "1")
        assert response["id"] == "42"
        assert response["outputs"][0]["parameters"] == {"binary_data_size": 24}
        values = result.as_numpy("probabilities")
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, probabilities(RED, BLUE), atol=1e-5)
        assert result.as_numpy("logits") is None


def check_json_both_ways(address):
    with http.InferenceServerClient(address) as client:
        for array in (plain(GREEN), unit(GREEN), plain(GREEN)[0]):
            for version in ("", "1"):
                outputs = [output("probabilities", binary_data=False)]
                inputs = [tensor(array, binary=False)]
                result = client.infer(MODEL, inputs, model_version=version, outputs=outputs)
                assert "data" in result.get_output("probabilities")
                values = result.as_numpy("probabilities")
                np.testing.assert_allclose(values, probabilities(GREEN), atol=1e-5)


def check_image_files(address):
    with http.InferenceServerClient(address) as client:
        files = np.array([jpeg(BLUE), jpeg(RED), jpeg(GREEN)], np.object_)
        for shape in ((3,), (3, 1)):
            values = client.infer(MODEL, [tensor(files.reshape(shape))]).as_numpy("probabilities")
            assert values.argmax(axis=1).tolist() == [2, 0, 1]


def check_every_output(address):
    names = ["defended", "logits", "agreement", "probabilities"]
    with http.InferenceServerClient(address) as client:
        for array in (plain(RED, GREEN), unit(RED, GREEN)):
            for binary in (True, False):
                outputs = [output(name, binary_data=binary) for name in names]
                result = client.infer(MODEL, [tensor(array)], outputs=outputs)
                assert [each["name"] for each in result.get_response()["outputs"]] == names
                assert result.as_numpy("defended").dtype == array.dtype
                np.testing.assert_array_equal(result.as_numpy("defended"), array)
                logits = 10 * np.array([RED, GREEN]) / 255
                np.testing.assert_allclose(result.as_numpy("logits"), logits, atol=1e-3)
                assert result.as_numpy("agreement").tolist() == [1, 1]


def check_classification(address):
    with http.InferenceServerClient(address) as client:
        for binary in (True, False):
            outputs = [output("probabilities", binary_data=binary, class_count=2)]
            result = client.infer(MODEL, [tensor(plain(GREEN, BLUE))], outputs=outputs)
            classes = result.as_numpy("probabilities")
            assert classes.shape == (2, 2)
            for (best, _), (index, label) in zip(classes, ((1, "green"), (2, "blue")), strict=True):
                value, *rest = (best.decode() if isinstance(best, bytes) else best).split(":")
                assert rest == [str(index), label]
                assert abs(float(value) - probabilities(GREEN).max()) < 1e-5


def check_parameters(address):
    with http.InferenceServerClient(address) as client:
        parameters = {"draws": 4, "defense": "fd+rdg(delta=1.0)"}
        rng = np.random.default_rng(0)
        array = rng.integers(0, 256, (1, 32, 32, 3), np.uint8)
        outputs = [output("defended"), output("agreement")]
        result = client.infer(MODEL, [tensor(array)], outputs=outputs, parameters=parameters)
        draws = result.as_numpy("defended")
        assert draws.shape == (4, 32, 32, 3)
        assert len({draw.tobytes() for draw in draws}) == 4
        assert result.get_response()["parameters"] == parameters | {"precision": "fp32"}


def check_compression(address):
    array = plain(*[RED] * 8)
    with http.InferenceServerClient(address) as client:
        for request in (None, "gzip", "deflate"):
            for response in (None, "gzip", "deflate"):
                result = client.infer(
                    MODEL,
                    [tensor(array)],
                    outputs=[output("defended"), output("probabilities", binary_data=False)],
                    request_compression_algorithm=request,
                    response_compression_algorithm=response,
                )
                np.testing.assert_array_equal(result.as_numpy("defended"), array)


def check_errors(address):
    with http.InferenceServerClient(address) as client:

        def refused(status, message, model=MODEL, array=IMAGE, **options):
            error = expect(
                InferenceServerException,
                lambda: client.infer(model, [tensor(array)], **options),
            )
            assert error.status() == str(status), error
            assert message in error.message(), error

        refused(404, "Unknown model 'other'", model="other")
        refused(404, "version '2'", model_version="2")
        refused(422, "[N, H, W, 3]", array=plain(RED)[..., :2])
        refused(422, "numbers in [0, 1]", array=unit(RED) * 2)
        refused(413, "33 images; send at most 32", array=plain(*[RED] * 33))
        refused(415, "Not a supported image file", array=np.array([b"cat"], np.object_))
        refused(422, "Unknown output 'output0'", outputs=[output("output0")])
        refused(422, "Unknown defence", parameters={"defense": "webp"})
        refused(422, "unknown: 'seed'", parameters={"seed": 1})
        refused(
            422,
            "Unknown output",
            outputs=[output("x" * 5000)],
            response_compression_algorithm="gzip",
        )
        text = http.InferInput("x", [1], "BYTES")
        text.set_data_from_numpy(np.array(["cat"], np.object_), binary_data=False)
        error = expect(InferenceServerException, lambda: client.infer(MODEL, [text]))
        assert "BYTES in JSON are text" in error.message()
        error = expect(InferenceServerException, lambda: client.get_model_metadata("other"))
        assert "Unknown model 'other'" in error.message()
        error = expect(InferenceServerException, lambda: client.get_model_config(MODEL))
        assert (error.status(), error.message()) == ("404", "Not Found")


def check_timeout(address):
    with http.InferenceServerClient(address) as client:
        error = expect(
            InferenceServerException,
            lambda: client.infer(MODEL, [tensor(plain(RED))], timeout=1),
        )
        assert error.status() == "504"
        assert error.message() == "No answer within 0.001 ms; try again later."
        client.infer(MODEL, [tensor(plain(RED))], timeout=60_000_000)


def check_many_at_once(address):
    """Each request gets its own answer."""
    colours = [RED, GREEN, BLUE] * 16
    with http.InferenceServerClient(address, concurrency=8) as client:
        pending = [
            client.async_infer(MODEL, [tensor(plain(colour))], request_id=str(number))
            for number, colour in enumerate(colours)
        ]
        for number, (request, colour) in enumerate(zip(pending, colours, strict=True)):
            result = request.get_result()
            assert result.get_response()["id"] == str(number)
            np.testing.assert_allclose(
                result.as_numpy("probabilities"), probabilities(colour), atol=1e-5
            )


if __name__ == "__main__":
    report(dict(vars()), sys.argv[1])
