"""Every body is read, or refused with one of our errors, whatever its bytes are."""

import json
import struct
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ServiceError
from service.oip.codec import HEADER_LENGTH, decode
from service.oip.tensors import RequestLimits

OUTPUTS = ("probabilities", "logits", "agreement", "defended")
LIMITS = RequestLimits(images=3, pixels=400)
MUTATED = 40_000


def check(body, header_length):
    """Read a request, check the result or the error, and return the status."""
    refused = None
    try:
        inference = decode(body, header_length, outputs=OUTPUTS, limits=LIMITS)
    except ServiceError as error:
        refused = error
    if refused is not None:
        assert refused.status in (400, 413, 422)
        assert 10 < len(refused.message) < 600
        assert refused.message.isascii()
        return refused.status
    assert 1 <= len(inference.images.sources) <= LIMITS.images
    for source in inference.images.sources:
        if isinstance(source, bytes):
            continue
        height, width, channels = source.shape
        assert channels == 3
        assert min(height, width) >= 8
        assert height * width <= LIMITS.pixels
        assert source.dtype in (np.uint8, np.float32)
        if source.dtype == np.float32:
            assert source.min() >= 0
            assert source.max() <= 1
    names = [output.name for output in inference.outputs]
    assert names
    assert len(set(names)) == len(names)
    assert set(names) <= set(OUTPUTS)
    assert 1 <= inference.draws <= 16
    assert inference.timeout_ms is None or inference.timeout_ms > 0
    assert isinstance(inference.id, str | None)
    assert isinstance(inference.defense, str | None)
    return 200


def valid():
    """One body of each kind, and its header."""
    rng = np.random.default_rng(0)
    pixels = {
        "UINT8": rng.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8),
        "FP32": rng.random((2, 3, 8, 8), dtype=np.float32).round(2),
    }
    more = {
        "id": "7",
        "parameters": {"binary_data_output": True, "draws": 2, "defense": "fd", "timeout": 100},
        "outputs": [{"name": "logits", "parameters": {"binary_data": False, "classification": 2}}],
    }
    for datatype, array in pixels.items():
        tensor = {"name": "x", "shape": array.shape, "datatype": datatype}
        yield json.dumps({"inputs": [tensor | {"data": array.tolist()}]}).encode(), None
        yield (
            json.dumps({"inputs": [tensor | {"data": array.ravel().tolist()}]} | more).encode(),
            None,
        )
        tensor["parameters"] = {"binary_data_size": array.nbytes}
        text = json.dumps({"inputs": [tensor]} | more).encode()
        yield text + array.tobytes(), str(len(text))
    raw = b"".join(struct.pack("<I", len(each)) + each for each in (b"abc", b"", b"\xff" * 9))
    size = {"binary_data_size": len(raw)}
    files = {"name": "x", "shape": [3, 1], "datatype": "BYTES", "parameters": size}
    text = json.dumps({"inputs": [files]}).encode()
    yield text + raw, str(len(text))
    yield raw, "0"


VALID = list(valid())
PARTS = [
    b"", b'"', b"[", b"]", b"{", b"}", b",", b":", b"-", b"0", b"-1", b"1e999", b"0.5", b"1e-400",
    b"null", b"true", b"NaN", b"Infinity", b"9" * 25, b"9" * 5000, b"18446744073709551616",
    b'"\\ud800"', b"\\", b"\0", b"\xff\xff\xff\xff", b"\x00\x00\xc0\x7f", b"\xc3", b" " * 9,
    b'"data"', b'"shape"', b'"FP32"', b'"UINT8"', b'"BYTES"', b'"binary_data_size"', b"[" * 500,
]  # fmt: skip


def mutate(body, rng):
    changed = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 5))):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice((0, 1, 1, 4, 30)))
        match rng.randrange(5):
            case 0:
                changed[start:end] = rng.choice(PARTS)
            case 1:
                changed[start:end] = rng.randbytes(end - start)
            case 2:
                changed[start:start] = changed[start:end]
            case 3:
                del changed[start:]
            case 4 if start < len(changed):
                changed[start] ^= 1 << rng.randrange(8)
    return bytes(changed)


def test_valid_bodies_are_read():
    assert [check(*each) for each in VALID] == [200] * len(VALID)


def test_mutated_bodies_are_read_or_refused():
    rng = Random(7)
    statuses = {200: 0, 400: 0, 413: 0, 422: 0}
    lengths = [None, "0", "1", "-1", "9" * 30, "x", "", "²"]
    for _ in range(MUTATED):
        body, header_length = rng.choice(VALID)
        body = mutate(body, rng)
        choice = rng.random()
        if choice < 0.1:
            header_length = rng.choice(lengths)
        elif choice < 0.2 and header_length is not None:
            header_length = str(max(0, int(header_length) + rng.randint(-3, 3)))
        try:
            statuses[check(body, header_length)] += 1
        except BaseException as error:
            error.add_note(f"{HEADER_LENGTH}: {header_length}\n{body!r}")
            raise
    assert min(statuses[200], statuses[400], statuses[422]) > MUTATED / 100, statuses
    assert statuses[413]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "data", "parameters", "binary_data_size", "shape", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=9,
)


def or_anything(strategy):
    return st.one_of(strategy, strategy, strategy, JSON)


DIMENSIONS = st.sampled_from([8, 9, 3, 3, 1, 2, 0, -1, 20, 2**31, 2**64])
TENSOR = st.fixed_dictionaries(
    {
        "name": or_anything(st.text(max_size=3)),
        "shape": or_anything(st.lists(DIMENSIONS, max_size=5)),
        "datatype": or_anything(st.sampled_from(["UINT8", "FP32", "BYTES", "FP64"])),
    },
    optional={
        "parameters": or_anything(
            st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(0, 800)})
        ),
        "data": or_anything(st.sampled_from([[], [0] * 192, [[[[0] * 3] * 8] * 8], ["a"], [0.5]])),
    },
)
OUTPUT = st.fixed_dictionaries(
    {"name": or_anything(st.sampled_from(OUTPUTS))},
    optional={
        "parameters": or_anything(
            st.fixed_dictionaries({}, optional={"binary_data": JSON, "classification": JSON})
        )
    },
)
REQUEST = st.fixed_dictionaries(
    {"inputs": or_anything(st.lists(or_anything(TENSOR), max_size=2))},
    optional={
        "id": or_anything(st.text(max_size=3)),
        "outputs": or_anything(st.lists(or_anything(OUTPUT), max_size=3)),
        "parameters": or_anything(
            st.fixed_dictionaries(
                {}, optional={"draws": JSON, "timeout": JSON, "defense": JSON, "seed": JSON}
            )
        ),
    },
)


@settings(max_examples=500)
@given(request=or_anything(REQUEST), raw=st.binary(max_size=20), header=st.booleans())
def test_documents_of_every_shape_are_read_or_refused(request, raw, header):
    text = json.dumps(request).encode()
    check(text + raw, str(len(text)) if header else None)


@settings(max_examples=1000)
@given(body=st.binary(max_size=300), header_length=st.none() | st.text(max_size=4))
def test_any_bytes_are_read_or_refused(body, header_length):
    check(body, header_length)
