"""HTTPS of a real server, with certificates that are made here."""

import http.client
import json
import signal
import ssl

import pytest
import trustme

from service.cli.main import main
from service.errors import SetupError
from service.server.tls import Certificate

PREDICT = "/v1/predict"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def files(tmp_path, authority):
    """The files of a certificate: the chain and the key."""
    return write(tmp_path, authority)


def write(folder, authority):
    made = authority.issue_cert("localhost", "127.0.0.1")
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    made.private_key_pem.write_to_path(key)
    return chain, key


def ask(server, authority, path="/healthz", body=None, own=None):
    """Send one request; return the status, the content and the certificate's serial number."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if own is not None:
        own.configure_cert(context)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=60, context=context)
    try:
        connection.request("GET" if body is None else "POST", path, body)
        serial = connection.sock.getpeercert()["serialNumber"]
        answer = connection.getresponse()
        return answer.status, answer.read(), serial
    finally:
        connection.close()


def test_the_server_speaks_https_and_renews_its_certificate(
    spawn, files, authority, make_photograph, tmp_path
):
    chain, key = files
    options = ("--tls-cert", str(chain), "--tls-key", str(key))
    server = spawn(*options, ready=False)
    server.wait_until(lambda: "running on https://" in server.log)
    server.wait_until(lambda: ask(server, authority, "/readyz")[0] == 200)
    status, content, serial = ask(server, authority, PREDICT, make_photograph("green"))
    assert status == 200
    assert json.loads(content)["predictions"][0]["label"] == "green"

    with pytest.raises(ssl.SSLCertVerificationError):
        ask(server, trustme.CA())
    with pytest.raises((http.client.HTTPException, OSError)):
        server.ask("/healthz")  # without TLS

    other = b"".join(blob.bytes() for blob in authority.issue_cert("localhost").cert_chain_pems)
    for number, content in enumerate((other, b"broken"), 1):
        chain.write_bytes(content)
        server.signal(signal.SIGHUP)
        server.wait_until(
            lambda n=number: server.log.count("The old certificate stays in use") == n
        )
        assert ask(server, authority)[2] == serial
    write(tmp_path, authority)
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: ask(server, authority)[2] != serial)

    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with server.connect() as connection, pytest.raises(ssl.SSLError):
        old.wrap_socket(connection)
    server.signal()
    assert server.exit_code() == 0
    assert "Traceback" not in server.log


def test_a_client_needs_a_certificate_of_the_authority(spawn, files, authority, tmp_path):
    clients = trustme.CA()
    clients.cert_pem.write_to_path(tmp_path / "clients.pem")
    options = ("--tls-cert", files[0], "--tls-key", files[1], "--tls-client-ca")
    server = spawn(*map(str, (*options, tmp_path / "clients.pem")), ready=False)
    server.wait_until(lambda: "running on https://" in server.log)
    own = clients.issue_cert("a-client")
    server.wait_until(lambda: ask(server, authority, "/readyz", own=own)[0] == 200)
    for other in (None, authority.issue_cert("a-client")):
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            ask(server, authority, own=other)


def test_a_key_may_be_in_the_certificate_s_file(files):
    chain, key = files
    chain.write_bytes(key.read_bytes() + chain.read_bytes())
    assert Certificate(chain, None, None).context().minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    "broken", ["chain", "key", "another certificate's key", "no key", "client_ca"]
)
def test_files_that_cannot_be_used_are_named(files, authority, tmp_path, broken):
    chain, key = files
    client_ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(client_ca)
    if broken == "another certificate's key":
        authority.issue_cert("other").private_key_pem.write_to_path(key)
    elif broken != "no key":
        {"chain": chain, "key": key, "client_ca": client_ca}[broken].write_text("not a PEM file")
    with pytest.raises(SetupError) as caught:
        Certificate(chain, None if broken == "no key" else key, client_ca).context()
    assert str(client_ca if broken == "client_ca" else chain) in str(caught.value)
    assert "None" not in str(caught.value)


def test_a_server_does_not_start_with_a_broken_certificate(spawn, files, capsys):
    files[1].write_text("not a PEM file")
    server = spawn("--tls-cert", str(files[0]), "--tls-key", str(files[1]), ready=False)
    assert server.exit_code() == 1
    assert str(files[1]) in server.log
    assert "Traceback" not in server.log
    assert main(["serve", "--tls-key", str(files[1])]) == 2
    assert "--tls-cert" in capsys.readouterr().err
