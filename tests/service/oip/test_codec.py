"""Requests of the Open Inference Protocol as they are read, and answers as they are written."""

import json
import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.errors import (
    BadRequestError,
    ImageTooSmallError,
    InvalidParameterError,
    ServiceError,
    TooManyImagesError,
    TooManyPixelsError,
)
from service.oip.codec import NamedTensor, OutputSpec, decode, encode
from service.oip.tensors import RequestLimits

OUTPUTS = ("probabilities", "logits", "agreement", "defended")
LIMITS = RequestLimits(images=4, pixels=100_000)
GENERATOR = np.random.default_rng(1)
BYTES_NEED_BINARY = "BYTES in JSON are text, which an image file is not"


def pixels(*shape, kind="UINT8"):
    if kind == "UINT8":
        return GENERATOR.integers(0, 256, shape, dtype=np.uint8)
    return GENERATOR.random(shape, dtype=np.float32)


def tensor(array, **changes):
    """An input whose values are in its JSON."""
    datatype = {"uint8": "UINT8", "float32": "FP32"}[array.dtype.name]
    return {
        "name": "x",
        "shape": list(array.shape),
        "datatype": datatype,
        "data": array.ravel().tolist(),
    } | changes


def document(given=None, **changes):
    return {"inputs": [tensor(pixels(1, 8, 9, 3)) if given is None else given]} | changes


def read(request, raw=b"", header_length=None, **options):
    """Decode a request.

    Args:
        request: the JSON document, or its bytes.
        raw: the bytes that follow it.
        header_length: the header; by default it is right.
        options: of :func:`decode`.
    """
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    if raw and header_length is None:
        header_length = str(len(text))
    return decode(text + raw, header_length, **{"outputs": OUTPUTS, "limits": LIMITS} | options)


def binary(array, **changes):
    """A request for an array whose values follow the JSON, and their bytes."""
    raw = array.tobytes()
    parameters = {"binary_data_size": len(raw)}
    given = tensor(array, parameters=parameters) | changes
    del given["data"]
    return document(given), raw


def files(*contents, shape=None, size=None, **changes):
    """A request with an input of BYTES, and the bytes of its elements."""
    raw = b"".join(struct.pack("<I", len(content)) + content for content in contents)
    given = {
        "name": "image",
        "shape": [len(contents)] if shape is None else shape,
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(raw) if size is None else size},
    }
    return document(given | changes), raw


@pytest.mark.parametrize("kind", ["UINT8", "FP32"])
@pytest.mark.parametrize("way", ["binary", "flat", "nested"])
@pytest.mark.parametrize(
    ("shape", "count", "channels_first"),
    [
        ((2, 8, 9, 3), 2, False),
        ((2, 3, 8, 9), 2, True),
        ((8, 9, 3), 1, False),
        ((3, 8, 9), 1, True),
        ((3, 9, 8, 3), 3, False),
        ((4, 3, 300, 299), 4, True),
    ],
)
def test_pixels_are_read_in_every_layout(kind, way, shape, count, channels_first):
    array = pixels(*shape, kind=kind)
    if way == "binary":
        images = read(*binary(array)).images
    else:
        data = array.tolist() if way == "nested" else array.ravel().tolist()
        images = read(document(tensor(array, data=data))).images
    batch = array if array.ndim == 4 else array[None]
    expected = batch.transpose(0, 2, 3, 1) if channels_first else batch
    assert images.channels_first == channels_first
    assert len(images.sources) == count
    for source, image in zip(images.sources, expected, strict=True):
        assert source.dtype == array.dtype
        np.testing.assert_array_equal(source, image)


def test_binary_pixels_are_a_view_of_the_body():
    for kind in ("UINT8", "FP32"):
        request, raw = binary(pixels(2, 3, 20, 20, kind=kind))
        text = json.dumps(request).encode()
        body = text + raw
        images = decode(body, str(len(text)), outputs=OUTPUTS, limits=LIMITS).images
        memory = np.frombuffer(body, np.uint8)
        assert all(np.shares_memory(source, memory) for source in images.sources)


def test_files_are_read_from_elements_of_bytes():
    contents = (b"one", b"", b"\xff\xd8\xff three")
    for shape in ([3], [3, 1]):
        images = read(*files(*contents, shape=shape)).images
        assert list(images.sources) == list(contents)
        assert not images.channels_first


def test_a_body_without_json_is_one_file():
    inference = read(b"\xff\xd8\xff and so on", header_length="0")
    assert list(inference.images.sources) == [b"\xff\xd8\xff and so on"]
    assert inference.outputs == (OutputSpec("probabilities", binary=True),)
    assert (inference.id, inference.draws, inference.defense) == (None, 1, None)


def test_a_request_without_parameters_gets_the_defaults():
    inference = read(document())
    assert inference.outputs == (OutputSpec("probabilities"),)
    assert (inference.id, inference.draws, inference.defense) == (None, 1, None)
    assert inference.timeout_ms is None


def test_null_means_an_absent_field():
    nothing = {"parameters": None, "data": tensor(pixels(8, 8, 3))["data"]}
    request = document(tensor(pixels(8, 8, 3)) | nothing)
    request |= {"id": None, "parameters": None, "outputs": None, "model_name": None}
    assert read(request).outputs == (OutputSpec("probabilities"),)
    request, raw = files(b"x", data=None)
    assert list(read(request, raw).images.sources) == [b"x"]


def test_the_parameters_of_a_request_are_read():
    parameters = {"draws": 16, "defense": "fd+rdg", "timeout": 2500}
    inference = read(document(id="a", parameters=parameters, model_name="b", model_version="7"))
    assert (inference.id, inference.draws, inference.defense) == ("a", 16, "fd+rdg")
    assert inference.timeout_ms == 2.5
    assert read(document(parameters={"timeout": 0})).timeout_ms is None


def test_the_requested_outputs_are_read():
    outputs = [
        {"name": "defended"},
        {"name": "logits", "parameters": {"classification": 3, "binary_data": False}},
        {"name": "probabilities", "parameters": {"binary_data": True}},
        {"name": "agreement", "parameters": {}},
    ]
    assert read(document(outputs=outputs)).outputs == (
        OutputSpec("defended"),
        OutputSpec("logits", classes=3),
        OutputSpec("probabilities", binary=True),
        OutputSpec("agreement"),
    )
    binary_output = {"binary_data_output": True}
    assert read(document(outputs=outputs, parameters=binary_output)).outputs == (
        OutputSpec("defended", binary=True),
        OutputSpec("logits", classes=3),
        OutputSpec("probabilities", binary=True),
        OutputSpec("agreement", binary=True),
    )
    assert read(document(outputs=[], parameters=binary_output)).outputs == (
        OutputSpec("probabilities", binary=True),
    )


UINT8 = tensor(pixels(1, 8, 9, 3))
FP32 = tensor(pixels(1, 8, 9, 3, kind="FP32"))
CHANGED = {
    "not an object": ([], "the request: Input should be a JSON object"),
    "an unknown field": (document(input=[]), "unknown: 'input'; allowed: id, .*inputs"),
    "no inputs": ({}, "inputs: Field required"),
    "an empty list of inputs": (document(inputs=[]), "inputs: List should have at least 1 item"),
    "two inputs": (document(inputs=[UINT8, UINT8]), "inputs: List should have at most 1 item"),
    "inputs that are not a list": (document(inputs=UINT8), "inputs: Input should be a valid list"),
    "an input that is not an object": (
        document(inputs=[7]),
        r"inputs\[0\]: Input should be a JSON object",
    ),
    "an id that is a number": (document(id=7), "id: Input should be a valid string"),
    "an unknown output": (
        document(outputs=[{"name": "output0"}]),
        "Unknown output 'output0'. Outputs: probabilities, logits, agreement, defended",
    ),
    "an output twice": (
        document(outputs=[{"name": "logits"}, {"name": "logits"}]),
        "'logits' is requested twice",
    ),
    "a hundred thousand outputs": (
        document(outputs=[1] * 100_000),
        "^outputs: List should have at most 16 items after validation, not 100000$",
    ),
    "an output without a name": (document(outputs=[{}]), r"outputs\[0\].name: Field required"),
    "a negative classification": (
        document(outputs=[{"name": "logits", "parameters": {"classification": -1}}]),
        r"outputs\[0\].parameters.classification: Input should be greater than or equal to 0",
    ),
    "a classification that is true": (
        document(outputs=[{"name": "logits", "parameters": {"classification": True}}]),
        r"outputs\[0\].parameters.classification: Input should be a valid integer",
    ),
    "shared memory": (
        document(outputs=[{"name": "logits", "parameters": {"shared_memory_region": "a"}}]),
        "unknown: 'shared_memory_region'; allowed: binary_data, classification",
    ),
    "binary_data that is a number": (
        document(outputs=[{"name": "logits", "parameters": {"binary_data": 1}}]),
        r"outputs\[0\].parameters.binary_data: Input should be a valid boolean",
    ),
    "a seed": (
        document(parameters={"seed": 1}),
        "unknown: 'seed'; allowed: binary_data_output, draws, defense, timeout",
    ),
    "no draws": (document(parameters={"draws": 0}), "draws: .* greater than or equal to 1"),
    "too many draws": (document(parameters={"draws": 17}), "draws: .* less than or equal to 16"),
    "half a draw": (document(parameters={"draws": 1.5}), "draws: Input should be a valid integer"),
    "a draw that is a float": (document(parameters={"draws": 1.0}), "draws: .*valid integer"),
    "a negative timeout": (
        document(parameters={"timeout": -1}),
        "timeout: .*greater than or equal",
    ),
    "a long name of a defence": (document(parameters={"defense": "x" * 201}), "at most 200"),
    "an unknown datatype": (
        document(UINT8 | {"datatype": "FP16"}),
        "datatype: Input should be 'BYTES', 'UINT8' or 'FP32'",
    ),
    "no shape": (document({**UINT8, "shape": []}), "shape: List should have at least 1 item"),
    "a negative dimension": (
        document(UINT8 | {"shape": [-1, 8, 9, 3]}),
        r"inputs\[0\].shape\[0\]: Input should be greater than or equal to 1",
    ),
    "an empty dimension": (document(UINT8 | {"shape": [0, 8, 9, 3]}), r"shape\[0\]: .*to 1"),
    "a huge dimension": (document(UINT8 | {"shape": [2**64, 8, 9, 3]}), r"shape\[0\]: .*less"),
    "a dimension that is true": (document(UINT8 | {"shape": [True, 8, 9, 3]}), "valid integer"),
    "a dimension that is a float": (document(UINT8 | {"shape": [1.0, 8, 9, 3]}), "valid integer"),
    "five dimensions": (document(UINT8 | {"shape": [1] * 5}), "shape: List should have at most 4"),
    "two dimensions": (document(UINT8 | {"shape": [72, 3]}), r"\[N, H, W, 3\], \[N, 3, H, W\]"),
    "two channels": (document(UINT8 | {"shape": [1, 8, 9, 2]}), r"not \[1, 8, 9, 2\]"),
    "too few data": (document(UINT8 | {"data": [1] * 215}), "has 216 values, and data has 215"),
    "too many data": (document(UINT8 | {"data": [1] * 217}), "has 216 values, and data has 217"),
    "no data": (
        document(UINT8 | {"data": None}),
        "data must be a list, or the data must be binary",
    ),
    "data that are a number": (document(UINT8 | {"data": 1}), "data must be a list"),
    "empty data": (document(UINT8 | {"data": []}), "data has 0"),
    "wrongly nested data": (
        document(UINT8 | {"data": pixels(1, 9, 8, 3).tolist()}),
        r"nested like the shape \[1, 8, 9, 3\], or flat",
    ),
    "partly nested data": (document(UINT8 | {"data": [[1] * 216]}), "nested like the shape"),
    "too deeply nested data": (
        document(UINT8 | {"data": pixels(1, 8, 9, 3, 1).tolist()}),
        r"The data of UINT8 must be integers in \[0, 255\]\.",
    ),
    "ragged data": (document(UINT8 | {"data": [*UINT8["data"][:-1], [1]]}), "integers in"),
    "integers below 0": (document(UINT8 | {"data": [-1] * 216}), r"integers in \[0, 255\]"),
    "integers above 255": (document(UINT8 | {"data": [256] * 216}), r"integers in \[0, 255\]"),
    "huge integers": (document(UINT8 | {"data": [10**30] * 216}), r"integers in \[0, 255\]"),
    "floats as integers": (document(UINT8 | {"data": [1.0] * 216}), r"integers in \[0, 255\]"),
    "booleans as integers": (document(UINT8 | {"data": [True] * 216}), r"integers in \[0, 255\]"),
    "one null": (document(UINT8 | {"data": [None, *[1] * 215]}), r"integers in \[0, 255\]"),
    "strings as numbers": (document(FP32 | {"data": ["0.5"] * 216}), r"numbers in \[0, 1\]"),
    "booleans as floats": (document(FP32 | {"data": [True] * 216}), r"numbers in \[0, 1\]"),
    "floats below 0": (document(FP32 | {"data": [-0.5] * 216}), "range from -0.5 to -0.5"),
    "floats above 1": (document(FP32 | {"data": [0.5] * 215 + [1.5]}), "range from 0.5 to 1.5"),
    "not a number": (
        document(FP32 | {"data": [0.5] * 215 + [float("nan")]}),
        "range from nan to nan",
    ),
    "infinity": (document(FP32 | {"data": [0.5] * 215 + [float("inf")]}), "0.5 to inf"),
    "integers too large for a float": (
        document(FP32 | {"data": [10**400] * 216}),
        r"numbers in \[0, 1\]",
    ),
    "text as BYTES": (
        document({"name": "x", "shape": [1], "datatype": "BYTES", "data": ["cat"]}),
        BYTES_NEED_BINARY,
    ),
    "BYTES without data": (
        document({"name": "x", "shape": [1], "datatype": "BYTES"}),
        BYTES_NEED_BINARY,
    ),
    "an unknown field of a tensor": (
        document(UINT8 | {"dtype": "UINT8"}),
        r"inputs\[0\]: unknown: 'dtype'; allowed: name, shape, datatype, param",
    ),
    "no name": (document({k: v for k, v in UINT8.items() if k != "name"}), "name: Field required"),
    "a size that is text": (
        document(UINT8 | {"parameters": {"binary_data_size": "216"}}),
        "binary_data_size: Input should be a valid integer",
    ),
    "data and a size": (
        document(UINT8 | {"parameters": {"binary_data_size": 216}}),
        "both data and binary_data_size",
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_an_error_says_what_is_wrong_and_what_is_allowed(name):
    request, message = CHANGED[name]
    with pytest.raises(InvalidParameterError, match=message):
        read(request)


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        ([5, 8, 8, 3], TooManyImagesError, "The request has 5 images; send at most 4"),
        ([2**31 - 1, 8, 8, 3], TooManyImagesError, "2147483647 images"),
        (
            [1, 1000, 101, 3],
            TooManyPixelsError,
            "101 x 1000 pixels; this server takes at most 100000",
        ),
        ([1, 3, 2**31 - 1, 2**31 - 1], TooManyPixelsError, "2147483647 x 2147483647 pixels"),
        ([1, 7, 9, 3], ImageTooSmallError, "9 x 7 pixels; each side needs at least 8"),
        ([1, 3, 9, 7], ImageTooSmallError, "7 x 9 pixels"),
        ([1, 3, 300, 3], ImageTooSmallError, "300 x 3 pixels"),
        ([3, 300, 3], ImageTooSmallError, "300 x 3 pixels"),
    ],
)
def test_the_limits_are_checked_before_the_data(shape, error, message):
    for parameters in (None, {"binary_data_size": 1}):
        given = {"name": "x", "shape": shape, "datatype": "FP32", "parameters": parameters}
        with pytest.raises(error, match=message):
            read(document(given), b"" if parameters is None else b"x")


def test_the_number_of_files_is_limited():
    assert len(read(*files(*[b"x"] * 4)).images.sources) == 4
    with pytest.raises(TooManyImagesError, match="5 images; send at most 4"):
        read(*files(*[b"x"] * 5))


@pytest.mark.parametrize("shape", [[1, 3], [2, 2], [1, 2], [8, 8, 3]])
def test_files_have_the_shape_of_a_list(shape):
    with pytest.raises(
        InvalidParameterError, match=r"image file each, must be \[N\] or \[N, 1\], not"
    ):
        read(*files(b"x", b"y", b"z", shape=shape))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "0 bytes follow the JSON, and binary_data_size is 10"),
        (b"\5\0\0\0abcd", "8 bytes follow"),
        (b"\6\0\0\0abcdef", "ends before element 2 of 2"),
        (b"\5\0\0\0abcde\0", "ends before element 2 of 2"),
        (b"\7\0\0\0abcdef", "Element 1 of 2 declares 7 bytes, but only 6 are left"),
        (b"\xff\xff\xff\xffabcdef", "declares 4294967295 bytes, but only 6 are left"),
        (b"\1\0\0\0a\0\0\0\0b", "1 bytes are left after the last of 2 elements"),
    ],
)
def test_the_sizes_of_elements_must_add_up(raw, message):
    size = 10 if len(raw) in (0, 8) else len(raw)
    request, _ = files(b"", b"", size=size)
    with pytest.raises(BadRequestError, match=message):
        read(request, raw, header_length=None if raw else str(len(json.dumps(request))))


@pytest.mark.parametrize(("kind", "size"), [("UINT8", 432), ("FP32", 1728)])
def test_a_tensor_must_have_the_size_of_its_shape(kind, size):
    request, raw = binary(pixels(2, 8, 9, 3, kind=kind))
    for wrong in (raw[:-1], raw + b"\0"):
        request["inputs"][0]["parameters"]["binary_data_size"] = len(wrong)
        with pytest.raises(
            InvalidParameterError,
            match=rf"{kind} of shape \[2, 8, 9, 3\] has {size} bytes, not {len(wrong)}",
        ):
            read(request, wrong)


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf, -0.001, 1.001, 255.0])
def test_binary_floats_must_be_numbers_from_0_to_1(value):
    array = pixels(1, 3, 20, 20, kind="FP32")
    array[0, 2, 7, 7] = value
    with pytest.raises(
        InvalidParameterError, match=r"must be numbers in \[0, 1\]; these range from"
    ):
        read(*binary(array))


def test_bytes_that_are_not_declared_are_refused():
    request = document()
    with pytest.raises(BadRequestError, match="3 bytes follow the JSON, and binary_data_size is 0"):
        read(request, b"abc")
    request, raw = binary(pixels(8, 8, 3))
    with pytest.raises(BadRequestError, match="is 192; the header Inference-Header-Content-Len"):
        decode(json.dumps(request).encode(), None, outputs=OUTPUTS, limits=LIMITS)
    with pytest.raises(BadRequestError, match="JSON cannot be read: trailing characters"):
        decode(json.dumps(request).encode() + raw, None, outputs=OUTPUTS, limits=LIMITS)


@pytest.mark.parametrize("length", ["-1", "+1", "1.0", "", " ", "x", "1_0", "٣", "9" * 5000, "100"])
def test_the_header_must_be_a_length(length):
    with pytest.raises(BadRequestError, match="must be the length of the body's JSON: 0 to 99"):
        decode(b"x" * 99, length, outputs=OUTPUTS, limits=LIMITS)


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"\xff",
        b"{'inputs': []}",
        b'{"id": "\xc3"}',
        b'{"id": "\\ud800"}',
        b"[" * 100_000,
        b"1" * 100_000,
        b'{"inputs": []}{}',
        b"\xef\xbb\xbf{}",
        b"nan",
    ],
)
def test_a_body_that_is_not_json_is_refused(text):
    with pytest.raises(
        BadRequestError, match=r"The request's JSON (cannot be read: |has more strings or lists)"
    ):
        read(text)
    with pytest.raises(BadRequestError, match="The body is empty"):
        read(b"")


HEADER_HINT = (
    "An image file alone needs the header Inference-Header-Content-Length: 0; if binary data "
    "follow the JSON, the header is the length of the JSON."
)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_an_image_file_without_the_header_is_refused_with_what_to_do(kind):
    buffer = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)  # has many quotes
    Image.fromarray(noise).save(buffer, kind)
    with pytest.raises(BadRequestError) as caught:
        decode(buffer.getvalue(), None, outputs=OUTPUTS, limits=LIMITS)
    assert caught.value.message == (
        f"The request's JSON cannot be read: the body is not JSON. {HEADER_HINT}"
    )


def test_the_header_is_named_only_if_it_is_missing():
    with pytest.raises(BadRequestError, match="Inference-Header-Content-Length: 0"):
        decode(b'{"inputs": }', None, outputs=OUTPUTS, limits=LIMITS)
    with pytest.raises(BadRequestError, match=r"expected value at line 1 column 12\.$"):
        decode(b'{"inputs": }', "12", outputs=OUTPUTS, limits=LIMITS)


@pytest.mark.parametrize("side", [10, 40])
def test_pixels_that_are_strings_are_refused_with_what_they_are(side):
    data = ["7"] * (side * side * 3)
    request = document(tensor(np.zeros((side, side, 3), np.uint8)) | {"data": data})
    with pytest.raises(ServiceError, match=r"must be integers in|needs: pixels are numbers\."):
        read(json.dumps(request).encode())


def test_a_body_of_too_many_objects_is_not_parsed():
    items = [b"[],"] * 5000, [b"{},"] * 5000, [b'"",'] * 5000, [b'{"%d":' % i for i in range(600)]
    for item in items:
        text = b'{"inputs":[%b[]]}' % b"".join(item)
        with pytest.raises(BadRequestError, match="more strings or lists than any image needs"):
            read(text)
    black = tensor(np.zeros((4, 100, 100, 3), np.uint8))  # the shortest JSON that an image has
    text = json.dumps(document(black | {"data": np.zeros((4, 100, 100, 3), int).tolist()}))
    assert len(read(text.replace(" ", "").encode()).images.sources) == 4


def test_a_message_does_not_grow_with_the_request():
    for request in (
        {"x" * 1_000_000: 1},
        {str(i): 1 for i in range(400)},
        document(inputs=[1] * 100_000),
        document(outputs=[1] * 100_000),
        document(outputs=[{}] * 16),
        document(outputs=[{"name": "x" * 1_000_000}]),
        document(UINT8 | {"shape": [0] * 100_000}),
        document(UINT8 | {"datatype": "x" * 1_000_000}),
    ):
        with pytest.raises(InvalidParameterError) as caught:
            read(request)
        assert len(caught.value.message) < 600


def parsed(body, header_length):
    """Read an answer as the protocol specifies it; return its JSON and the array of each output."""
    split = len(body) if header_length is None else header_length
    answer = json.loads(body[:split])
    rest = body[split:]
    arrays = {}
    for output in answer["outputs"]:
        assert ("data" in output) != ("parameters" in output)
        dtype = {"UINT8": np.uint8, "FP32": "<f4", "BYTES": object}[output["datatype"]]
        if "data" in output:
            arrays[output["name"]] = np.array(output["data"], dtype).reshape(output["shape"])
            continue
        size = output["parameters"]["binary_data_size"]
        raw, rest = rest[:size], rest[size:]
        assert len(raw) == size
        if dtype is object:
            elements = []
            while raw:
                (length,) = struct.unpack("<I", raw[:4])
                elements.append(raw[4 : 4 + length])
                raw = raw[4 + length :]
            arrays[output["name"]] = np.array(elements, object).reshape(output["shape"])
        else:
            arrays[output["name"]] = np.frombuffer(raw, dtype).reshape(output["shape"])
    assert rest == b""
    return answer, arrays


@pytest.mark.parametrize("which", range(16))
def test_an_answer_is_read_back_with_every_mixture_of_binary_and_json_outputs(which):
    arrays = {
        "a": pixels(2, 5, kind="FP32"),
        "b": pixels(3, 4, 5, 3),
        "c": np.array([[b"0.5:1:cat", b"0.25:0:d\xc3\xb6g"]], object),
        "d": np.array([0.1, 0.7, 1e-30], np.float32),
    }
    tensors = [
        NamedTensor(name, list(array), binary=bool(which >> i & 1))
        for i, (name, array) in enumerate(arrays.items())
    ]
    body, header_length = encode({"model_name": "m", "id": "ä"}, tensors)
    assert (header_length is None) == (which == 0)
    answer, read_back = parsed(body, header_length)
    assert (answer["model_name"], answer["id"]) == ("m", "ä")
    assert list(read_back) == list(arrays)
    for i, (name, array) in enumerate(arrays.items()):
        if name == "c" and not which >> i & 1:
            array = np.array([[each.decode() for each in array[0]]], object)
        np.testing.assert_array_equal(read_back[name], array)
        assert answer["outputs"][i]["shape"] == list(array.shape)


def test_transposed_rows_are_written_in_row_major_order():
    array = pixels(2, 8, 9, 3)
    rows = list(array.transpose(0, 3, 1, 2))
    for binary_data in (True, False):
        body, header_length = encode({"id": ""}, [NamedTensor("x", rows, binary_data)])
        _, read_back = parsed(body, header_length)
        np.testing.assert_array_equal(read_back["x"], array.transpose(0, 3, 1, 2))


def test_a_number_that_json_does_not_have_is_null():
    body, _ = encode({"id": ""}, [NamedTensor("x", [np.array([np.nan, np.inf, 1], np.float32)])])
    assert json.loads(body)["outputs"][0]["data"] == [None, None, 1.0]
