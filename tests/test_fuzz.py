"""A few seconds of ``make fuzz``: malformed bodies against a real server, and not one 5xx."""

import asyncio
import re

import pytest

from fuzz.over_http import from_schema, post_mutated


@pytest.fixture(scope="module")
def port(serve):
    _, port = serve("--allow-defense", "none", "--max-pixels", "100000")
    return port


def test_mutated_bodies_are_answered_and_never_with_a_5xx(port):
    statuses = asyncio.run(post_mutated(port, seconds=5, seed=3))
    assert statuses.total() > 200
    assert set(statuses) <= {200, 400, 413, 415, 422}, statuses
    assert {400, 415, 422} <= set(statuses)


def test_requests_made_from_the_schema_are_answered_as_it_says(port):
    code, printed = from_schema(port, examples=10, seed=3)
    assert code == 0, printed
    assert int(re.search(r"(\d+) generated", printed)[1]) > 150
