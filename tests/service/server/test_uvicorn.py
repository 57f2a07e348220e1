"""The parts of uvicorn that ``service/server/connection.py`` uses, which are not documented.

``pyproject.toml`` pins uvicorn's minor version. If a test fails after the pin was raised, read
``Connection`` against uvicorn's new ``HttpToolsProtocol``.
"""

import asyncio
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import uvicorn
from packaging.requirements import Requirement
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from service.server.connection import Connection

OVERRIDDEN = {
    "connection_made": ["transport"],
    "connection_lost": ["exc"],
    "data_received": ["data"],
    "eof_received": [],
    "on_body": ["body"],
    "on_header": ["name", "value"],
    "on_message_begin": [],
    "on_headers_complete": [],
    "on_message_complete": [],
    "on_response_complete": [],
    "pause_writing": [],
    "resume_writing": [],
    "shutdown": [],
}
"""The methods that ``Connection`` overrides, with their parameters."""

OF_THE_PARSER = {"on_chunk_header"}
"""The methods that httptools calls, and that uvicorn does not have."""

READ = (
    "app",
    "client",
    "connections",
    "cycle",
    "expect_100_continue",
    "flow",
    "headers",
    "loop",
    "parser",
    "scheme",
    "scope",
    "transport",
    "_unset_keepalive_if_required",
)
"""The attributes that it reads from the start; ``app`` and ``parser`` are replaced too."""

READ_OF_A_REQUEST = ("url", "headers", "scope", "expect_100_continue")
"""The attributes that uvicorn sets at a request's beginning."""

READ_OF_THE_CYCLE = ("body", "keep_alive", "more_body", "response_complete", "response_started")
"""The attributes that it reads, or sets, of the request in progress."""


@pytest.fixture
def protocol():
    """A connection of uvicorn's own."""

    async def make():
        config = uvicorn.Config(app=lambda *_: None, log_config=None, ws="none", interface="asgi3")
        return HttpToolsProtocol(config=config, server_state=ServerState(), app_state={})

    return asyncio.run(make())


def test_the_overridden_methods_are_uvicorn_s():
    public = {name for name in vars(Connection) if not name.startswith("_")}
    assert public == set(OVERRIDDEN) | OF_THE_PARSER
    assert not OF_THE_PARSER & set(dir(HttpToolsProtocol))
    for name, parameters in OVERRIDDEN.items():
        method = vars(HttpToolsProtocol)[name]
        assert list(inspect.signature(method).parameters) == ["self", *parameters], name


def test_the_private_methods_are_not_uvicorn_s():
    private = {name for name in vars(Connection) if name.startswith("_") and name[1] != "_"}
    assert private
    assert not private & set(dir(HttpToolsProtocol))


def test_the_attributes_that_are_read_are_uvicorn_s(protocol):
    for name in READ:
        assert hasattr(protocol, name), name
    source = inspect.getsource(HttpToolsProtocol.on_message_begin)
    for name in READ_OF_A_REQUEST:
        assert f"self.{name} = " in source, name
    source = inspect.getsource(RequestResponseCycle.__init__)
    for name in READ_OF_THE_CYCLE:
        assert f"self.{name} = " in source, name


def test_a_continuation_is_written_when_the_body_is_first_asked_for():
    """``BodyLimit`` refuses a declared length before that."""
    source = inspect.getsource(RequestResponseCycle.receive)
    assert source.index("100 Continue") < source.index("message_event.wait()")
    assert "100 Continue" not in inspect.getsource(HttpToolsProtocol)


def test_a_status_line_is_bytes_that_end_the_line():
    assert STATUS_LINE[408] == b"HTTP/1.1 408 Request Timeout\r\n"


def test_the_minor_version_is_pinned():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))
    (pinned,) = [
        requirement
        for requirement in map(Requirement, project["project"]["dependencies"])
        if requirement.name == "uvicorn"
    ]
    major, minor, *_ = version("uvicorn").split(".")
    assert (
        pinned.specifier
        == Requirement(f"uvicorn>={major}.{minor},<{major}.{int(minor) + 1}").specifier
    )
