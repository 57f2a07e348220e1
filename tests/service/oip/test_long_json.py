"""Long JSON is read in pieces, with the results and the errors of the plain parser."""

import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydantic_core import from_json

from service.errors import ServiceError
from service.oip import long_json
from service.oip.codec import decode
from service.oip.numbers import Numbers
from service.oip.tensors import RequestLimits
from service.transformer import v1

LIMITS = RequestLimits(images=4, pixels=10_000)
NUMBERS = [*"0123456789", "12", "255", "255", "0.5", "1e-3", "0.25", "1.0", "-0", "1"]
ODD = ["256", "-1", "1.5", "NaN", "Infinity", "-Infinity", "1e400", "9" * 400, "null", "true"]
ODD += [
    '"data"',
    '"a\\"[1,2"',
    '"\\\\"',
    "{}",
    '{"data":[1,2]}',
    "[]",
    "[1]",
    "[[2],[3]]",
    "00",
    ".5",
]
BROKEN = [
    ",",
    "[",
    "]",
    "{",
    "}",
    '"',
    "\\",
    " ",
    "\n",
    ":",
    "x",
    "0",
    "-",
    "\x00",
    "é",
    ",]",
    "[,",
]
KEYS = ["name", "shape", "datatype", "data", "parameters", "data"]


@pytest.fixture
def short_pieces(monkeypatch):
    """Every list is long, and is read in pieces of some bytes."""

    def set_to(length):
        monkeypatch.setattr(long_json, "_LONG_BYTES", length)
        for name in ("_SHORT_LIST_BYTES", "_LONG_STRING_BYTES"):
            monkeypatch.setattr(long_json, name, 30)  # a shape is shorter

    return set_to


def read(body):
    try:
        inference = decode(body, None, outputs=["logits"], limits=LIMITS)
    except ServiceError as error:
        return type(error).__name__, error.message
    pixels = np.stack(inference.images.sources)
    return inference.id, inference.images.channels_first, str(pixels.dtype), pixels.tolist()


def nested(generator, shape, kinds, flat):
    if not shape:
        return generator.choice(kinds)
    inner = [nested(generator, shape[1:], kinds, flat) for _ in range(shape[0])]
    text = generator.choice((",", ",", ", ", ",\n")).join(inner)
    return text if flat and len(shape) else f"[{text}]"


def document(generator):
    """A request as text, valid or with something odd in a few places."""
    shape = generator.choice(([1, 8, 8, 3], [8, 9, 3], [1, 3, 8, 8], [2, 8, 8, 3], [64], [3, 8, 8]))
    kinds = generator.choice((NUMBERS[:12], NUMBERS[13:], ["0", "1"], NUMBERS))
    flat = generator.random() < 0.3
    data = nested(generator, shape, kinds, flat)
    data = f"[{data}]" if flat else data
    if generator.random() < 0.15:
        data = generator.choice(
            ("[]", "[[],[]]", "null", "5", "[[[[]]]]", "[ ]", "[[0],1]", "[1,[0]]")
        )
    fields = {
        "name": '"i"',
        "shape": json.dumps(generator.choice((shape, shape, shape, [1, 8, 8, 3]))),
        "datatype": generator.choice(('"UINT8"', '"FP32"')),
        "data": data,
    }
    names = list(fields)
    generator.shuffle(names)
    if generator.random() < 0.1:
        names.append(generator.choice(KEYS))
    tensor = "{" + ",".join(f'"{name}":{fields.get(name, "{}")}' for name in names) + "}"
    inputs = ",".join([tensor] * generator.choice((1, 1, 1, 1, 1, 2)))
    parts = [
        f'"inputs":[{inputs}]',
        f'"id":"{generator.choice(("a", "data", chr(92) * 2, "[0,0,"))}"',
    ]
    generator.shuffle(parts)
    text = "{" + generator.choice((",", ",\n ")).join(parts) + "}"
    for _ in range(generator.choice((0, 0, 1, 2))):
        where = generator.randrange(len(text))
        if generator.random() < 0.5:  # one of the numbers
            found = text.find(",", where) + 1
            until = text.find(",", found)
            text = text[:found] + generator.choice(ODD) + text[max(found, until) :]
        else:
            cut = where + generator.choice((0, 0, 1, 2, 40))
            text = text[:where] + generator.choice(BROKEN) + text[cut:]
    return text[: generator.randrange(len(text))] if generator.random() < 0.05 else text


@pytest.mark.parametrize("seed", range(20))
def test_a_request_in_pieces_is_what_it_is_as_a_whole(seed, short_pieces):
    generator = random.Random(seed)
    for _ in range(40):
        body = document(generator).encode()
        short_pieces(1 << 16)
        expected = read(body)
        short_pieces(generator.choice((4, 9, 30, 100, 400)))
        assert read(body) == expected, body


def instances(generator):
    """A v1 request as text: images of different shapes, files, and perhaps something odd."""
    images = []
    for _ in range(generator.choice((1, 2, 3))):
        shape = generator.choice(([8, 8, 3], [9, 8, 3], [3, 8, 9]))
        kinds = generator.choice((NUMBERS[:13], NUMBERS[13:]))
        images.append(
            '{"b64":"AAAA"}'
            if generator.random() < 0.2
            else nested(generator, shape, kinds, flat=False)
        )
    fields = [f'"instances":[{",".join(images)}]', '"signature_name":"a"', '"more":[1,{"a":[2]}]']
    generator.shuffle(fields)
    text = "{" + ",".join(fields) + "}"
    for _ in range(generator.choice((0, 0, 1))):
        found = text.find(",", generator.randrange(len(text))) + 1
        until = text.find(",", found)
        text = text[:found] + generator.choice(("256", "0]", "[0", "x", "-1")) + text[until:]
    return text


@pytest.mark.parametrize("seed", range(10))
def test_instances_in_pieces_are_what_they_are_as_a_whole(seed, short_pieces):
    def read_instances():
        try:
            further, sources = v1._read(body, LIMITS)
        except ServiceError as error:
            return error.message
        return further, [each if isinstance(each, bytes) else each.tolist() for each in sources]

    generator = random.Random(seed)
    for _ in range(40):
        body = instances(generator).encode()
        short_pieces(1 << 16)
        expected = read_instances()
        short_pieces(generator.choice((4, 9, 30, 100, 400)))
        assert read_instances() == expected, body


def numbers(text, count, shape="[1,8,8,3]", datatype="UINT8"):
    start = f'{{"inputs":[{{"name":"i","datatype":"{datatype}","shape":{shape},"data":['
    return (start + text * count + text.rstrip(",") + "]}]}").encode()


LONG = {
    "numbers": (numbers("0,", 500_000), "data has 500001"),
    "a shape": (numbers("0,", 9, shape="[" + "1," * 500_000 + "1]"), "at most 4 items .* 500001"),
    "long numbers": (numbers("9" * 4300 + ",", 200), "data has 201"),
    "pixels": (numbers("[0,0,0],", 100_000), "must be nested like the shape"),
    "empty lists": (
        numbers("[],     ", 100_000).replace(b"[],     ]}", b"[]]}"),
        "must be nested like the shape",
    ),
    "a string": (b'{"id":"' + b"a" * 1_000_000 + b'"}', "inputs: Field required"),
    "an unfinished list": (numbers("0,", 500_000)[:-4], "EOF while parsing a list"),
    "a list with a string": (numbers("0,", 500_000)[:-4] + b',""]}]}', "more strings or lists"),
    "many lists": (
        b"{" + b'"a":[' + b'0],"a":['.join([b"0," * 30_000] * 20) + b"0]}",
        "more strings or lists",
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_the_parser_gets_short_texts(name, monkeypatch):
    """It keeps Python's lock until it has parsed all that it gets, and nothing else goes on."""
    lengths = []

    def parse(text, **options):
        lengths.append(len(text.replace(b" ", b"")))
        return from_json(text, **options)

    monkeypatch.setattr(long_json, "from_json", parse)
    body, message = LONG[name]
    found = read(body)
    assert message is None or re.search(message, found[1]), found
    assert max(lengths) <= 1 << 19


def test_a_shape_may_have_many_spaces():
    body = numbers("0,", 191, shape="[1," + " " * 100_000 + "8,8,3]")
    assert read(body)[1:3] == (False, "uint8")


def test_a_list_of_lists_stays_small():
    body = b'{"data":[' + b"[1,2,3]," * 100_000 + b"[4,5,6]]}"
    data = long_json.parse(body)["data"]
    assert isinstance(data, Numbers)
    array = data.array(np.uint8)
    assert array.nbytes == 300_003
    assert array[-4:].tolist() == [3, 4, 5, 6]


def test_only_images_are_so_long_that_they_are_not_passed_on():
    body = b'{"instances":[{"b64":"AAAA"}],"more":{"a":[' + b"0," * 50_000 + b"0]}}"
    with pytest.raises(ServiceError, match="'more' has a list that is as long as an image"):
        v1._read(body, LIMITS)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_three_bodies_of_16_million_numbers_at_once_take_little_memory(spawn):
    """As objects they would take 130 MB and more each, and as nested lists 500 MB."""
    server = spawn("--deadline-ms", "600000")
    (model,) = json.loads(server.ask("/v2/repository/index", b"").content)
    path = f"/v2/models/{model['name']}/infer"
    body = numbers("[0,0,0],", (31 << 20) // 8)
    (server.proc / "clear_refs").write_text("5")  # resets the peak
    before = memory_bytes(server, "VmRSS")
    with ThreadPoolExecutor(3) as pool:
        for answer in pool.map(lambda _: server.ask(path, body), range(3)):
            assert answer.status == 422
            assert b"must be nested like the shape" in answer.content
    assert memory_bytes(server, "VmHWM") - before < 300e6


def memory_bytes(server, name):
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", (server.proc / "status").read_text())[1])
