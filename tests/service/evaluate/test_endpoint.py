import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from service.auth import key_file
from service.evaluate.conditions import conditions
from service.evaluate.endpoint import Endpoint, EndpointError
from service.evaluate.outcomes import UnreadableError

ALLOWED = ("--allow-defense", "none", "--allow-defense", "rdg")


@pytest.fixture(scope="module")
def url(spawn_for_all):
    return f"http://127.0.0.1:{spawn_for_all(*ALLOWED).port}"


@pytest.fixture
def ask():
    opened = []

    def asked(url, defenses=("rdg",), draws=(1, 4), key=None, labels=lambda *_: None):
        chosen = conditions(defenses, corruptions=False)
        opened.append(Endpoint(url, draws, chosen, key, labels))
        return opened[-1], chosen

    yield asked
    for one in opened:
        one.close()


def test_each_number_of_draws_is_asked_for(ask, url, make_photograph):
    endpoint, chosen = ask(url)
    found = endpoint.answer(make_photograph("green"), chosen)
    assert {name: list(one.answers) for name, one in found.items()} == {"none": [1], "rdg": [1, 4]}
    (answer,) = found["rdg"].answers[4]
    assert (answer.top[0], len(answer.top)) == (1, 3)
    assert answer.agreement == 1.0
    assert all(ms > 0 for one in found.values() for ms in one.ms.values())
    assert (endpoint.model, endpoint.classes, endpoint.labels) == ("colours", 3, None)


def test_labels_are_those_of_the_same_model_on_this_machine(ask, url):
    def labels(name, digest):
        assert (name, len(digest)) == ("colours", 64)
        return ("red", "green", "blue")

    assert ask(url, labels=labels)[0].labels == ("red", "green", "blue")
    assert ask(url, labels=lambda *_: ("one", "two"))[0].labels is None


def test_a_file_that_the_server_refuses_cannot_be_read(ask, url, make_photograph):
    endpoint, chosen = ask(url)
    for body in (b"", b"nothing", make_photograph()[:300]):
        with pytest.raises(UnreadableError):
            endpoint.answer(body, chosen)


def test_a_defence_that_is_not_allowed_is_named_with_its_flag(ask, url):
    with pytest.raises(
        EndpointError,
        match=r"does not allow fd, rdg\(delta=0.1\), only fd\+rdg, none, rdg\. Start a server with "
        r"--allow-defense 'fd' --allow-defense 'rdg\(delta=0.1\)'",
    ):
        ask(url, ["rdg", "fd", "rdg(delta=0.1)"])


def test_none_is_always_needed(ask, spawn):
    with pytest.raises(EndpointError, match="--allow-defense 'none'"):
        ask(f"http://127.0.0.1:{spawn().port}", ["fd+rdg"])


def test_a_reduced_answer_has_the_class_alone(ask, spawn, make_photograph):
    server = spawn(*ALLOWED, "--response-detail", "label")
    endpoint, chosen = ask(f"http://127.0.0.1:{server.port}")
    (answer,) = endpoint.answer(make_photograph("blue"), chosen)["rdg"].answers[4]
    assert (answer.top, answer.agreement) == ((2,), None)


def test_more_draws_than_the_server_takes_end_the_run(ask, spawn, make_photograph):
    endpoint, chosen = ask(f"http://127.0.0.1:{spawn(*ALLOWED, '--max-in-flight', '2').port}")
    with pytest.raises(EndpointError, match="/v1/predict answered 4"):
        endpoint.answer(make_photograph(), chosen)


def test_a_key_is_sent(ask, spawn, warpguard_key, make_photograph):
    file, key = warpguard_key
    url = f"http://127.0.0.1:{spawn(*ALLOWED, '--api-keys', str(file)).port}"
    with pytest.raises(EndpointError, match=r"answered 401: .* Give its key with --api-key-file"):
        ask(url)
    endpoint, chosen = ask(url, key=key)
    assert endpoint.answer(make_photograph(), chosen)["none"].answers[1][0].top[0] == 0


@pytest.fixture
def warpguard_key(tmp_path):
    key, line = key_file.new("me", "")
    file = tmp_path / "keys.txt"
    key_file.append(file, line)
    return file, key


def test_a_server_that_only_defends_is_refused(ask, spawn):
    server = spawn("--predictor-host", "127.0.0.1:9", "--model-name", "m", ready=False)
    server.wait_until(server.is_listening)
    with pytest.raises(EndpointError, match="one with --predictor-host only defends images"):
        ask(f"http://127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1", "127.0.0.1:1 cannot be reached"),
        ("nonsense", "nonsense"),
        ("http://[::1", "is not a valid address"),
    ],
)
def test_an_address_without_a_server_is_reported(ask, url, message):
    with pytest.raises(EndpointError, match=message):
        ask(url)


def test_what_is_not_warpguard_is_reported(ask, tmp_path):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"models": self.path}).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(EndpointError, match="is not one of warpguard"):
                ask(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
