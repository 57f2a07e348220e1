"""The files of a form."""

import asyncio
import tempfile

from starlette.requests import Request

from service.api.uploads import read_form


def form(*files):
    """A request with a form of files."""
    head = 'Content-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    parts = b"".join(b"--x\r\n" + head.encode() + file + b"\r\n" for file in files)
    messages = iter([{"type": "http.request", "body": parts + b"--x--\r\n", "more_body": False}])

    async def receive():
        return next(messages)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    return Request({"type": "http", "headers": headers}, receive)


def test_large_files_are_not_written_to_the_disk(monkeypatch):
    """A container may have a read-only root file system and no other."""

    def rollover(self):
        raise OSError("read-only file system")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    files = [b"\xff\xd8" * 1_500_000, b"small"]
    uploads = asyncio.run(read_form(form(*files), max_images=2))
    assert [upload.body for upload in uploads] == files
