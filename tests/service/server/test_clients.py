"""Clients as people have them: each gets its answer, and its connection stays in order."""

import json
import shutil
import socket
import subprocess

import httpx2
import pytest
import requests

PREDICT = "/v1/predict"

NODE = """
const [port, file] = process.argv.slice(2);
const url = `http://127.0.0.1:${port}/v1/predict`;
const { readFileSync } = require("fs");
const stream = new ReadableStream({
  start(controller) { controller.enqueue(readFileSync(file)); controller.close(); }
});
(async () => {
  for (const options of [{ body: readFileSync(file) }, { body: stream, duplex: "half" }]) {
    const answer = await fetch(url, { method: "POST", ...options });
    console.log(answer.status, (await answer.json()).predictions[0].label);
  }
  console.log((await fetch(`http://127.0.0.1:${port}/healthz`, { method: "HEAD" })).status);
})();
"""

JAVA = """
import java.net.URI;
import java.net.http.*;
import java.nio.file.*;

class Client {
  public static void main(String[] given) throws Exception {
    URI uri = URI.create("http://127.0.0.1:" + given[0] + "/v1/predict");
    HttpClient client = HttpClient.newHttpClient();  // it asks for h2c
    for (int i = 0; i < 3; i++) {
      HttpRequest request = HttpRequest.newBuilder(uri).expectContinue(i == 2)
          .POST(HttpRequest.BodyPublishers.ofFile(Path.of(given[1]))).build();
      HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
      System.out.println(answer.statusCode() + " " + answer.body());
    }
  }
}
"""


@pytest.fixture
def image(make_photograph, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(make_photograph(size=(120, 160), noise=60))
    return path


@pytest.fixture
def run():
    """Run a program that must be installed; return what it writes."""

    def ran(program, *arguments):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return ran


def label(text):
    return json.loads(text)["predictions"][0]["label"]


@pytest.mark.parametrize(
    "options", [[], ["--http2"], ["--http1.0"], ["-H", "expect: 100-continue"]]
)
@pytest.mark.parametrize("sent", ["body", "chunks"])
def test_curl(patient, image, run, options, sent):
    if sent == "chunks":
        if "--http1.0" in options:
            pytest.skip("HTTP/1.0 has no chunks")
        options = [*options, "-H", "transfer-encoding: chunked"]
    url = f"http://127.0.0.1:{patient.port}{PREDICT}"
    answer = run("curl", "-sSf", *options, "--data-binary", f"@{image}", url, url)
    assert answer.count('"label":"red"') == 2  # on one connection, if it may stay open


def test_node_s_fetch(patient, image, run, tmp_path):
    script = tmp_path / "client.js"
    script.write_text(NODE)
    assert run("node", script, patient.port, image).splitlines() == ["200 red", "200 red", "200"]


def test_java_s_http_client(patient, image, run, tmp_path):
    if shutil.which("javac") is None:
        pytest.skip("a JDK is not installed")
    source = tmp_path / "Client.java"
    source.write_text(JAVA)
    lines = run("java", source, patient.port, image).splitlines()
    assert [line[:4] for line in lines] == ["200 "] * 3
    assert {label(line[4:]) for line in lines} == {"red"}


def test_a_raw_wish_for_h2c_as_java_writes_it(patient, image, receive):
    """The wish is only in the first request of a connection."""
    body = image.read_bytes()
    head = (
        f"POST {PREDICT} HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        f"Content-Length: {len(body)}\r\nHost: 127.0.0.1:{patient.port}\r\n"
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n"
        "User-Agent: Java-http-client/17.0.15\r\n\r\n"
    )
    with patient.connect() as connection:
        connection.sendall(head.encode())
        connection.sendall(body)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answers = receive(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_requests(patient, image):
    url = f"http://127.0.0.1:{patient.port}{PREDICT}"
    with requests.Session() as session, image.open("rb") as file:
        answers = [
            session.post(url, data=image.read_bytes()),
            session.post(url, data=iter([image.read_bytes()])),  # in chunks
            session.post(url, files={"files": file}),
            session.head(url.replace(PREDICT, "/healthz")),
        ]
    assert [answer.status_code for answer in answers] == [200] * 4


def test_httpx(patient, image):
    with httpx2.Client(base_url=f"http://127.0.0.1:{patient.port}") as client:
        answers = [
            client.post(PREDICT, content=image.read_bytes()),
            client.post(PREDICT, content=iter([image.read_bytes()])),  # in chunks
            client.post(PREDICT, files={"files": image.read_bytes()}),
            client.head("/healthz"),
        ]
    assert [answer.status_code for answer in answers] == [200] * 4


def test_a_client_that_closes_its_sending_side(patient, image, receive):
    body = image.read_bytes()
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with patient.connect() as connection:
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection).startswith(b"HTTP/1.1 200 OK")
