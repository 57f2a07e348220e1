"""A server with signals: its health is on its admin port."""

import time

import pytest


@pytest.fixture
def ready(start):
    """Start a server whose health is on its admin port."""

    def started(**options):
        client = start(wait=False, **options)
        while client.get("/v2/health/ready").status_code != 200:
            time.sleep(0.002)
        return client

    return started
