"""What a server writes when it listens is true: the addresses answer, and the command works."""

import json
import subprocess
from base64 import b64decode

import pytest

from service.server.greeting import greeting
from service.settings import Settings


def command(server):
    """The command in the log of a server, which has to be listening."""
    lines = map(json.loads, server.log.splitlines())
    (found,) = (line["message"] for line in lines if line["message"].startswith("To try it: "))
    return found.removeprefix("To try it: ")


def carry_out(script, folder):
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_the_command_classifies_a_photograph_and_the_documentation_is_there(
    spawn, make_photograph, tmp_path
):
    server = spawn()
    (tmp_path / "photo.jpg").write_bytes(make_photograph("green", kind="JPEG"))
    answer = carry_out(command(server), tmp_path)
    assert answer["predictions"][0]["label"] == "green"
    assert f"http://127.0.0.1:{server.port}/docs" in server.log
    assert server.ask("/docs").status == 200


def in_front(spawn, upstream, *options):
    where = f"127.0.0.1:{upstream.port}"
    front = spawn("--predictor-host", where, "--model-name", "colours", *options, ready=False)
    front.wait_until(lambda: "To try it" in front.log)
    return front


def test_in_front_of_a_classifier_the_command_speaks_v2(spawn, make_photograph, tmp_path):
    front = in_front(spawn, spawn("--defense", "none"))
    front.wait_until(front.is_ready)
    (tmp_path / "photo.jpg").write_bytes(make_photograph("blue", kind="JPEG"))
    assert carry_out(command(front), tmp_path) == 200
    assert b'"shape":[1,3]' in (tmp_path / "answer.bin").read_bytes()


def test_in_front_of_a_classifier_the_command_speaks_v1(make_photograph, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(make_photograph("blue", kind="JPEG"))
    settings = Settings(predictor_host="x", predictor_protocol="v1", model_name="m")
    _, request = greeting(settings, 9000)
    body, _, sent = request.removeprefix("To try it: ").partition(" | ")
    assert sent == "curl -s --data-binary @- http://127.0.0.1:9000/v1/models/m:predict"
    ((instance,),) = carry_out(body, tmp_path).values()
    assert b64decode(instance["b64"]) == (tmp_path / "photo.jpg").read_bytes()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:9000"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:9000"),
        ({"host": "::"}, "http://[::1]:9000"),
        ({"host": "fe80::1"}, "http://[fe80::1]:9000"),
        ({"host": "api.example.org", "tls_cert": __file__}, "https://api.example.org:9000"),
    ],
)
def test_the_address_is_one_that_a_client_can_use(given, url):
    documentation, request = greeting(Settings(**given), 9000)
    assert documentation.endswith(f" {url}/docs")
    assert f"{url}/v1/predict" in request.replace("'", "")


def test_a_key_is_asked_for_and_never_shown(tmp_path):
    keys = tmp_path / "keys.txt"
    keys.write_text("shop " + "0" * 64)
    _, request = greeting(Settings(api_keys=keys), 9000)
    assert "-H 'X-API-Key: KEY'" in request
    assert "shop" not in request
