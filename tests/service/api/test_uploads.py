"""The files of a form."""

import asyncio
import re
import tempfile

import pytest
from starlette.requests import Request

from service.api.uploads import read_form
from service.errors import ServiceError

FILES = b'Content-Disposition: form-data; name="files"'
BODIES = (b"\xff\xd8first", b"\r\n--x-\r\nsecond\r\n", b"")


def part(body, head=FILES + b'; filename="a"'):
    return b"--x\r\n" + head + b"\r\n\r\n" + body + b"\r\n"


def read(content, content_type="multipart/form-data; boundary=x", max_images=9, chunk_bytes=7):
    """The uploads of a form that arrives in small chunks."""
    chunks = [content[at : at + chunk_bytes] for at in range(0, len(content), chunk_bytes)]
    messages = iter(
        [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        + [{"type": "http.request", "body": b"", "more_body": False}]
    )

    async def receive():
        return next(messages)

    headers = [(b"content-type", content_type.encode())]
    return asyncio.run(
        read_form(Request({"type": "http", "headers": headers}, receive), max_images)
    )


def refused(content, status, *options, **more):
    """The message of a refusal."""
    with pytest.raises(ServiceError) as caught:
        read(content, *options, **more)
    assert caught.value.status == status
    return caught.value.message


@pytest.mark.parametrize("chunk_bytes", [1, 5, 1000])
def test_files_are_read_in_order(chunk_bytes):
    form = b"".join(map(part, BODIES)) + b"--x--\r\n"
    uploads = read(form, chunk_bytes=chunk_bytes)
    assert tuple(upload.body for upload in uploads) == BODIES
    assert {upload.name for upload in uploads} == {"a"}


def test_large_files_are_not_written_to_the_disk(monkeypatch):
    """A container may have a read-only root file system and no other."""

    def fail(*_, **__):
        raise OSError("read-only file system")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, fail)
    files = [b"\xff\xd8" * 1_500_000, b"small"]
    uploads = read(b"".join(map(part, files)) + b"--x--", chunk_bytes=2**16)
    assert [upload.body for upload in uploads] == files


def test_a_form_cut_short_is_never_fewer_files():
    whole = part(b"first") + part(b"second")
    end = b"--x--"
    assert len(read(whole + end)) == 2
    for length in range(len(whole + end)):
        message = refused((whole + end)[:length], 400)
        assert message == "The form is cut short: its closing boundary is missing."


@pytest.mark.parametrize(
    ("more", "name"),
    [
        (b'; filename="b.jpg"', "b.jpg"),
        (b"; filename=b.jpg", "b.jpg"),
        ('; filename="ä.jpg"'.encode(), "ä.jpg"),
        ('; filename="ä.jpg"'.encode("latin-1"), "ä.jpg"),
        (b'; filename="C:\\fakepath\\b.jpg"', "b.jpg"),
        (b"; filename*=UTF-8''%C3%A4%20b.jpg", "ä b.jpg"),  # as older versions of urllib3 write it
        (b"; filename=\"b.jpg\"; filename*=UTF-8''%C3%A4.jpg", "b.jpg"),
        (b'; filename=""', ""),
        (b"", ""),
    ],
)
def test_a_file_s_name_is_optional(more, name):
    (upload,) = read(part(b"body", FILES + more) + b"--x--")
    assert (upload.name, upload.body) == (name, b"body")


@pytest.mark.parametrize(
    "field",
    ["csrf", "top_k", "file", "Files", "files[]", "", "ä", "f" * 500],
)
@pytest.mark.parametrize("name", ["", '; filename="a.jpg"'])
@pytest.mark.parametrize("before", [b"", part(b"first")])
def test_another_field_is_named(field, name, before):
    head = f'Content-Disposition: form-data; name="{field}"{name}'.encode()
    message = refused(before + part(b"3", head) + b"--x--", 422)
    assert message == (
        f"The form has a field {field[:40]!a}. Only image files are allowed, each in a field "
        "named 'files'; parameters belong in the query of the address."
    )


@pytest.mark.parametrize(
    ("content", "content_type", "said"),
    [
        (part(b"a") + b"--x--", "multipart/form-data", r"has no boundary"),
        (part(b"a") + b"--x--", "multipart/form-data; boundary=", r"has no boundary"),
        (part(b"a") + b"--x--", f"multipart/form-data; boundary={'x' * 300}", r"malformed"),
        (b"--y\r\n", "multipart/form-data; boundary=x", r"must begin with the boundary"),
        (part(b"a", b"no colon") + b"--x--", "multipart/form-data; boundary=x", r"malformed"),
        (part(b"a", b"a: " + b"b" * 9999), "multipart/form-data; boundary=x", r"malformed"),
        (part(b"a", b"a: b\r\n" * 99 + b"c: d"), "multipart/form-data; boundary=x", r"malformed"),
        (part(b"a", b"X-Y: z") + b"--x--", "multipart/form-data; boundary=x", r"no name"),
        (b"--x\r\n\r\nbody", "multipart/form-data; boundary=x", r"malformed|no name"),
        (b"", "multipart/form-data; boundary=x", r"cut short"),
    ],
)
def test_a_malformed_form_says_what_is_wrong(content, content_type, said):
    assert re.search(said, refused(content, 400, content_type))


@pytest.mark.parametrize("charset", ["undefined", "idna", "hex", "utf-16", "nonsense"])
def test_the_charset_of_a_form_does_not_matter(charset):
    content_type = f"multipart/form-data; boundary=x; charset={charset}"
    head = FILES + '; filename="ä.jpg"'.encode()
    (upload,) = read(part(b"body", head) + b"--x--", content_type)
    assert upload.name == "ä.jpg"


def test_a_form_of_no_or_too_many_files():
    assert "no file" in refused(b"--x--", 422)
    assert "more than 2 files" in refused(part(b"a") * 3 + b"--x--", 413, max_images=2)
