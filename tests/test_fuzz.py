"""A short ``make fuzz``: malformed bodies reach a real server, and none gets a 5xx status."""

import asyncio
import re
import sys
from collections import Counter
from contextlib import nullcontext
from importlib import import_module
from types import SimpleNamespace

import pytest

from fuzz.over_http import CORPUS, from_schema, post_mutated
from service.errors import ServiceError


@pytest.fixture(scope="module")
def port(serve):
    _, port = serve("--allow-defense", "none", "--max-pixels", "100000")
    return port


def test_mutated_bodies_are_answered_and_never_with_a_5xx(port):
    statuses = Counter()
    while statuses.total() < 200:
        statuses += asyncio.run(post_mutated(port, seconds=3, seed=statuses.total()))
    assert set(statuses) <= {200, 400, 413, 415, 422}, statuses
    assert {400, 415, 422} <= set(statuses)


def test_requests_generated_from_the_schema_are_answered_as_it_says(port):
    code, printed = from_schema(port, examples=10, seed=3)
    assert code == 0, printed
    assert int(re.search(r"(\d+) generated", printed)[1]) > 150


@pytest.mark.parametrize("name", ["image", "oip"])
def test_the_coverage_guided_targets_read_their_corpus(name, monkeypatch):
    """A stub replaces atheris, which has wheels for Linux only and is not installed here."""
    stub = SimpleNamespace(instrument_imports=lambda **_: nullcontext())
    monkeypatch.setitem(sys.modules, "atheris", stub)
    monkeypatch.delitem(sys.modules, "fuzz.targets", raising=False)
    target = import_module("fuzz.targets").TARGETS[name]

    def status(body):
        try:
            target(body)
        except ServiceError as error:
            return error.status
        return 200

    statuses = {status(file.read_bytes()) for file in (CORPUS / name).iterdir()}
    assert 200 in statuses
    assert max(statuses) < 500
