"""Both clients: what they send, read, repeat and raise; and a real server with a key and TLS."""

import inspect
import json
import ssl
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import anyio
import httpx2
import pytest
import trustme

import warpguard
from warpguard import (
    Answer,
    AnswerError,
    ApiError,
    AsyncClient,
    BusyError,
    Client,
    UnauthorizedError,
    UnreachableError,
)

CONTEXT = {"model": "m", "defense": "fd+rdg", "draws": 4, "request_id": "r"}
FULL = {
    "predictions": [{"index": 3, "label": "cat", "probability": 0.75}],
    "agreement": 1,
    "timings_ms": dict.fromkeys(("decode", "defend", "preprocess", "queue", "infer", "total"), 1.5),
}
BUSY = {"error": {"code": "busy", "message": "Too many images."}}
PHOTO = Path(find_spec("foolbox").origin).parent / "data" / "imagenet_16_251.jpg"


class Scripted:
    """A server that answers a list of (status, JSON or text, headers), and keeps the requests."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []

    def __call__(self, request):
        request.read()
        return self._next(request)

    def _next(self, request):
        self.requests.append(request)
        status, body, *headers = self.answers.pop(0)
        content = body if isinstance(body, str) else json.dumps(body)
        return httpx2.Response(status, text=content, headers=headers[0] if headers else {})


@pytest.fixture(params=["sync", "async"])
def ask(request, monkeypatch):
    """Run a method of either client against scripted answers; waits are recorded, not slept."""
    waits = []

    async def anyio_sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr("warpguard.client.time.sleep", waits.append)
    monkeypatch.setattr("warpguard.client.anyio.sleep", anyio_sleep)

    def run(server, method, *arguments, client=None, **options):
        given = {"transport": httpx2.MockTransport(server)} | (client or {})
        if request.param == "sync":
            with Client("http://host:1", **given) as one:
                found = getattr(one, method)(*arguments, **options)
                return list(found) if method == "predict_files" else found

        async def main():
            async with AsyncClient("http://host:1", **given) as one:
                found = getattr(one, method)(*arguments, **options)
                if method == "predict_files":
                    return [each async for each in found]
                return await found

        return anyio.run(main)

    run.waits = waits
    return run


def test_an_answer_is_typed(ask):
    server = Scripted((200, FULL | CONTEXT))
    answer = ask(server, "predict", b"image", draws=4, top_k=1, client={"api_key": "secret"})
    assert isinstance(answer, Answer)
    assert (answer.best.label, answer.best.probability, answer.agreement) == ("cat", 0.75, 1.0)
    assert (answer.timings_ms.total, answer.model, answer.draws) == (1.5, "m", 4)
    assert answer.unsure is None
    (sent,) = server.requests
    assert str(sent.url) == "http://host:1/v1/predict?draws=4&top_k=1"
    assert sent.content == b"image"
    assert sent.headers["authorization"] == "Bearer secret"
    with pytest.raises(AttributeError):
        answer.model = "other"


def test_a_server_may_hide_and_a_newer_one_may_add(ask):
    hidden = {"predictions": [{"index": 3, "label": "cat"}], **CONTEXT}
    answer = ask(Scripted((200, hidden)), "predict", b"")
    assert (answer.best.probability, answer.agreement, answer.timings_ms) == (None, None, None)
    newer = FULL | CONTEXT | {"unsure": True, "new": {"a": 1}}
    assert ask(Scripted((200, newer)), "predict", b"").unsure is True


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (FULL, r"answer.model is missing"),
        (FULL | CONTEXT | {"draws": "4"}, r"answer.draws must be a int, not '4'"),
        (FULL | CONTEXT | {"draws": True}, r"answer.draws must be a int"),
        (FULL | CONTEXT | {"predictions": []}, "answer.predictions is empty"),
        (FULL | CONTEXT | {"predictions": {}}, "answer.predictions must be a list"),
        (
            FULL | CONTEXT | {"predictions": [{"index": 1}]},
            r"answer.predictions\[0\].label is missing",
        ),
        ([], "answer must be an object"),
        ("<html>", "did not answer in JSON"),
    ],
)
def test_an_answer_that_lacks_something_is_an_error(ask, answer, message):
    with pytest.raises(AnswerError, match=message):
        ask(Scripted((200, answer)), "predict", b"")


def test_many_files_go_in_several_requests(ask, tmp_path):
    (tmp_path / "ä b.png").write_bytes(b"two")
    failed = {"file": "3", "error": {"code": "bad_image", "message": "Cut short."}}
    entry = {"file": "?", "prediction": FULL, "error": None}
    server = Scripted(
        (200, CONTEXT | {"results": [entry, entry]}), (200, CONTEXT | {"results": [failed]})
    )
    images = [b"one", tmp_path / "ä b.png", b"three"]
    one, two, three = ask(server, "predict_files", images, batch_size=2, draws=4)
    assert [each.file for each in (one, two, three)] == [
        "image-1",
        str(tmp_path / "ä b.png"),
        "image-3",
    ]
    assert two.prediction == Answer(**vars(one.prediction))
    assert two.prediction.request_id == "r"
    assert (three.prediction, three.error.code) == (None, "bad_image")
    assert all(b'name="files"' in each.content for each in server.requests)
    assert b"two" in server.requests[0].content
    assert b"three" in server.requests[1].content
    assert all("draws=4" in str(each.url) for each in server.requests)


def test_a_form_s_answer_has_an_entry_for_each_file(ask):
    results = [{"file": "1", "prediction": FULL}]
    with pytest.raises(AnswerError, match="1 entries for 2 files"):
        ask(Scripted((200, CONTEXT | {"results": results})), "predict_files", [b"", b""])
    with pytest.raises(AnswerError, match="neither"):
        ask(Scripted((200, CONTEXT | {"results": [{"file": "1"}]})), "predict_files", [b""])
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        ask(Scripted(), "predict_files", [b""], batch_size=0)


def test_a_busy_server_is_asked_again(ask):
    server = Scripted(
        (429, BUSY, {"retry-after": "3"}),
        (503, BUSY, {"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        (503, "no healthy upstream"),
        (200, FULL | CONTEXT),
    )
    assert ask(server, "predict", b"x").model == "m"
    assert [each.content for each in server.requests] == [b"x"] * 4
    first, second, third = ask.waits
    assert 3 <= first <= 3.25
    assert 0.25 <= second <= 0.5
    assert 0.5 <= third <= 1


def test_retrying_ends(ask):
    with pytest.raises(BusyError, match="429 busy: Too many images") as raised:
        ask(Scripted(*[(429, BUSY)] * 3), "predict", b"", client={"retries": 2})
    assert (raised.value.status, raised.value.code) == (429, "busy")
    assert len(ask.waits) == 2


def test_a_long_pause_is_left_to_the_caller(ask):
    with pytest.raises(BusyError) as raised:
        ask(Scripted((429, BUSY, {"retry-after": "120"})), "predict", b"")
    assert raised.value.retry_after_s == 120
    assert ask.waits == []


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "message"),
    [
        (
            401,
            {"error": {"code": "unauthorized", "message": "A key is needed."}},
            UnauthorizedError,
            "unauthorized",
            "A key is needed.",
        ),
        (
            422,
            {"error": {"code": "unknown_defense", "message": "No x."}},
            ApiError,
            "unknown_defense",
            "No x.",
        ),
        (502, "Bad gateway\n", ApiError, "", "Bad gateway"),
        (504, {"error": "a sentence"}, ApiError, "", '{"error": "a sentence"}'),
        (307, "", ApiError, "", "Temporary Redirect"),
    ],
)
def test_other_errors_are_raised_at_once(ask, status, body, kind, code, message):
    with pytest.raises(kind) as raised:
        ask(Scripted((status, body)), "predict", b"")
    error = raised.value
    assert (error.status, error.code, error.message) == (status, code, message)
    assert ask.waits == []


def test_an_error_names_the_heading_that_helps(ask):
    body = {"error": {"code": "unknown_defense", "message": "No x."}}
    helped = {"x-warpguard-help": "docs/troubleshooting.md#unknown_defense"}
    with pytest.raises(ApiError) as raised:
        ask(Scripted((422, body, helped)), "predict", b"")
    assert raised.value.help == "docs/troubleshooting.md#unknown_defense"


def test_it_waits_until_the_server_is_ready(ask):
    loading = {"error": {"code": "not_ready", "message": "Loading."}}
    server = Scripted((503, loading), (502, ""), (200, {"status": "ready"}))
    assert ask(server, "wait_until_ready") is None
    assert [each.url.path for each in server.requests] == ["/v2/health/ready"] * 3


def test_waiting_ends(ask):
    loading = {"error": {"code": "not_ready", "message": "Loading."}}
    with pytest.raises(UnreachableError, match=r"not ready after 0 s: 503 not_ready: Loading"):
        ask(Scripted((503, loading)), "wait_until_ready", 0)
    with pytest.raises(ApiError, match="404"):  # it is another server
        ask(Scripted((404, "no")), "wait_until_ready", 600)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (httpx2.ConnectError("refused."), "http://host:1 cannot be reached: refused"),
        (httpx2.ReadTimeout(""), r"did not answer in time \(ReadTimeout\)"),
    ],
)
def test_a_server_that_cannot_be_reached(ask, problem, message):
    def refuse(request):
        raise problem

    with pytest.raises(UnreachableError, match=message):
        ask(refuse, "predict", b"")


@pytest.mark.parametrize("key", ["", "line\n", "a b", "ö"])
def test_a_key_that_cannot_be_sent_is_not_shown(key):
    with pytest.raises(ValueError, match="strip it") as raised:
        Client(api_key=key)
    assert not key or key not in str(raised.value)
    assert "secret" not in repr(Client(api_key="secret"))


@pytest.mark.parametrize("url", ["host:8080", "ftp://host", "http://", ""])
def test_an_address_is_checked(url):
    with pytest.raises(ValueError, match=r"write one as http://127\.0\.0\.1:8080"):
        Client(url)


def test_both_clients_have_the_same_methods():
    for name, method in vars(Client).items():
        if name.startswith("_") or name == "close":
            continue
        other = getattr(AsyncClient, name)
        assert inspect.signature(other).parameters == inspect.signature(method).parameters, name


def test_a_real_server_is_read_in_full(server):
    with warpguard.Client(server) as client:
        client.wait_until_ready(600)
        answer = client.predict(PHOTO, draws=2, top_k=3)
        assert answer.best.label == "dalmatian"
        assert len(answer.predictions) == 3
        assert answer.timings_ms.total > 0
        good, bad = client.predict_files([PHOTO.read_bytes(), b"GIF89a"])
        assert good.prediction.best.label == "dalmatian"
        assert bad.error.code == "bad_image"
        (model,) = client.models()
        assert (model.classes, model.input["layout"]) == (1000, "NCHW")
        defenses = client.defenses()
        assert defenses.default == answer.defense == defenses.defenses[0].name
        defended = client.defend(PHOTO)
        assert defended.png.startswith(b"\x89PNG")
        assert defended.defense == defenses.default
        with pytest.raises(ApiError) as raised:
            client.predict(PHOTO, defense="none+none")
        assert raised.value.code == "unknown_defense"


def test_keys_and_certificates(serve, tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    key = f"wg_{'a' * 43}"
    (tmp_path / "keys.txt").write_text(f"partner {sha256(key.encode()).hexdigest()}\n")
    _, port = serve(
        *("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")),
        *("--api-keys", str(tmp_path / "keys.txt")),
        ready=False,
    )
    url, trusted = f"https://127.0.0.1:{port}", {"ca_file": tmp_path / "ca.pem"}
    with Client(url, api_key=key, **trusted) as client:
        client.wait_until_ready(600)
        assert client.predict(PHOTO).best.label == "dalmatian"
    with Client(url, **trusted) as client, pytest.raises(UnauthorizedError):
        client.predict(PHOTO)
    with Client(url, api_key=key) as client, pytest.raises(UnreachableError, match="certificate"):
        client.predict(PHOTO)
    with pytest.raises(ssl.SSLError):
        Client(url, ca_file=tmp_path / "keys.txt")
