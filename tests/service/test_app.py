"""What surrounds every request, in the order in which a request meets it."""

import pytest

from service.app import create_admin_app, create_app
from service.middleware.allowed_host import AllowedHost
from service.middleware.body_limits import BodyLimit
from service.middleware.byte_budget import ByteBudget
from service.middleware.compression import Compression
from service.middleware.disconnect import CancelOnDisconnect
from service.middleware.head_as_get import HeadAsGet
from service.middleware.pacing import Pacing
from service.middleware.request_log import RequestLog
from service.settings import Settings

UPSTREAM = {"predictor_host": "localhost", "model_name": "m"}
HOSTS = {"allowed_host": "example.org"}


@pytest.mark.parametrize("options", [{}, UPSTREAM, HOSTS], ids=["local", "upstream", "hosts"])
@pytest.mark.parametrize("port", ["port", "admin port"])
def test_the_middlewares_are_in_the_order_in_which_a_request_meets_them(options, port):
    app = create_app(Settings(**options), load=lambda: None)
    if port == "admin port":
        app = create_admin_app(app.state.backend)
    layers = [each.cls for each in app.user_middleware]
    assert layers == [
        RequestLog,
        *([AllowedHost] if "allowed_host" in options else []),
        CancelOnDisconnect,
        BodyLimit,
        Pacing,
        Compression,
        ByteBudget,
        HeadAsGet,
    ]


@pytest.mark.parametrize("options", [{}, UPSTREAM], ids=["local", "upstream"])
def test_no_request_waits_for_a_thread_of_the_framework(
    options, start, make_photograph, monkeypatch
):
    client = start(wait=not options, **options)
    name = client.get("/v1/models").json()["models"][0]["name"] if not options else "m"
    hops = []

    async def run_sync(function, *arguments, **_):
        hops.append(function)
        return function(*arguments)

    monkeypatch.setattr("anyio.to_thread.run_sync", run_sync)
    for path in ("/healthz", "/metrics", "/v1/defenses", f"/v2/models/{name}"):
        client.get(path)
    for path in ("/v1/predict?draws=2", f"/v2/models/{name}/infer"):
        client.post(path, content=make_photograph())
    assert hops == []
