"""Pull a weights file from the Hugging Face hub, through a cut line and past a killed process.

``huggingface_hub.hf_hub_download`` (2.4) writes each attempt to a file of its own and deletes it
when the attempt fails, so it resumes only within one call; and a chunk of it is 10 MB, of which
nothing is kept when the line is cut. The library is used here for what surrounds that: the URL,
the file's metadata, the HTTP client with its token, proxies and offline mode, the errors, and the
progress bar. The bytes go, as they come, into a file that is named by the SHA-256 they must have,
so what an earlier process left there can only be the beginning of the same file.
"""

import hashlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import httpx2
from filelock import FileLock, Timeout
from huggingface_hub import (
    HfFileMetadata,
    get_hf_file_metadata,
    get_session,
    hf_hub_url,
    hf_raise_for_status,
)
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

# Documented, but imported there in a way that mypy takes for private.
from huggingface_hub.utils import build_hf_headers, tqdm  # type: ignore[attr-defined]

from models.catalog import HubFile
from models.errors import ChecksumError, PullError, StoreError

_ATTEMPTS = 5  # in a row that bring no byte
RETRY_PAUSE_S = 1.0
_TRANSIENT = (408, 429, 500, 502, 503, 504)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Download:
    """A file from the hub, whole and verified.

    Attributes:
        path: where it is.
        sha256: its digest.
        commit: the revision that it is from: a commit's hash, unless the hub keeps that to itself.
    """

    path: Path
    sha256: str
    commit: str


def pull(
    file: HubFile,
    folder: Path,
    *,
    revision: str = "main",
    endpoint: str | None = None,
    quiet: bool = False,
    timeout_s: float = 10.0,
) -> Download:
    """Download a file, or the rest of it where an earlier pull was cut.

    Args:
        file: which.
        folder: where to; made if need be. The file is called ``<sha256>.part`` there, and is left
            for the caller to use and delete.
        revision: a branch, a tag or a commit's hash.
        endpoint: the hub's URL; by default that of the environment's ``HF_ENDPOINT`` at the start
            of the process, or else https://huggingface.co.
        quiet: show no progress bar; there is none either where stderr is not a terminal.
        timeout_s: the longest wait, in seconds, for a connection and between two pieces of data.

    Returns:
        The file, whose SHA-256 has been verified.

    Raises:
        PullError: the hub cannot be reached, does not have the file, or does not say which SHA-256
            it has though none is known. What has come of the file is kept.
        ChecksumError: the hub has another file; nothing of it is kept.
        StoreError: the file cannot be written. What has come of it is kept.
    """
    hub = (endpoint or ENDPOINT).rstrip("/")
    with _errors(file, hub):
        metadata = get_hf_file_metadata(
            hf_hub_url(file.repository, file.name, revision=revision, endpoint=hub),
            timeout=timeout_s,
        )
        commit = metadata.commit_hash or revision
        digest = _digest(file, metadata)
        url = hf_hub_url(file.repository, file.name, revision=commit, endpoint=hub)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{digest}.part"
        with FileLock(folder / ".lock", timeout=0):
            with path.open("ab") as part:
                _fetch(url, part, metadata.size, file, quiet=quiet, timeout_s=timeout_s)
            with path.open("rb") as part:
                actual = hashlib.file_digest(part, "sha256").hexdigest()
            if actual != digest:
                path.unlink()
                raise ChecksumError(
                    f"The file {file.name} that came from {file.repository} at {hub} has the "
                    f"SHA-256 {actual}, expected {digest}. It has been deleted; try again. "
                    + _by_hand(file)
                )
    return Download(path, digest, commit)


def _digest(file: HubFile, metadata: HfFileMetadata) -> str:
    """The digest that the file must have, as soon as that can be known."""
    # The hub's ETag of a file in large-file storage is its SHA-256; that of another is not.
    declared = metadata.etag if re.fullmatch("[0-9a-f]{64}", metadata.etag or "") else None
    if file.sha256 and declared and declared != file.sha256:
        raise ChecksumError(
            f"The hub declares the SHA-256 {declared} for {file.name} of {file.repository}, "
            f"expected {file.sha256}; nothing was downloaded. " + _by_hand(file)
        )
    digest = file.sha256 or declared
    if digest is None:
        raise PullError(
            f"The hub declares no SHA-256 for {file.name} of {file.repository} (its ETag is "
            f"{metadata.etag}), and none is known here to verify it by. " + _by_hand(file)
        )
    return digest


def _fetch(
    url: str, part: BinaryIO, size: int | None, file: HubFile, *, quiet: bool, timeout_s: float
) -> None:
    """Append to a file what it lacks, over as many connections as it takes."""
    bar = tqdm(  # type: ignore[no-untyped-call] # the library's own
        total=size,
        initial=part.tell(),
        unit="B",
        unit_scale=True,
        desc=file.name,
        disable=True if quiet else None,  # None: unless stderr is a terminal
    )
    with bar:
        fruitless = 0
        complete = part.tell() == size
        while not complete:
            before = part.tell()
            try:
                complete = _fetch_once(url, part, bar, timeout_s=timeout_s)
            except (httpx2.TransportError, HfHubHTTPError) as error:
                if isinstance(error, HfHubHTTPError) and not _is_transient(error):
                    raise
                fruitless = 0 if part.tell() > before else fruitless + 1
                if fruitless == _ATTEMPTS:
                    raise
                _log.info("%s was cut at byte %d: %s", file.name, part.tell(), error)
                time.sleep(RETRY_PAUSE_S)


def _fetch_once(url: str, part: BinaryIO, bar: tqdm, *, timeout_s: float) -> bool:
    """Append to a file what it lacks, as far as one connection brings it; True when that is all."""
    headers = build_hf_headers(headers={"Accept-Encoding": "identity"})
    if part.tell():
        headers["Range"] = f"bytes={part.tell()}-"
    # Redirected to the hub's storage, the client leaves the token behind.
    with get_session().stream("GET", url, headers=headers, timeout=timeout_s) as response:
        beyond = response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        if not (beyond and part.tell()):
            hf_raise_for_status(response)
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            bar.update(-part.tell())
            part.truncate(0)
            part.seek(0)
        if beyond:
            return False  # there was more here than there: the next request starts anew
        for chunk in response.iter_raw():
            part.write(chunk)
            part.flush()  # a killed process loses nothing
            bar.update(len(chunk))
    return True


def _is_transient(error: HfHubHTTPError) -> bool:
    return error.response is not None and error.response.status_code in _TRANSIENT


def _by_hand(file: HubFile) -> str:
    return (
        f"The file can be put in place by hand: download {file.url()}"
        + (f" (SHA-256 {file.sha256})" if file.sha256 else "")
        + f" elsewhere, and run `warpguard models pull {file.model} --weights FILE`. The embedded "
        "model efficientnet-lite2 works without any download."
    )


@contextmanager
def _errors(file: HubFile, hub: str) -> Iterator[None]:
    """Say of everything that can go wrong what it was, and what to do."""
    what = f"{file.name} of {file.repository} could not be pulled"
    try:
        yield
    except OfflineModeIsEnabled:
        raise PullError(
            f"{what}: the environment's HF_HUB_OFFLINE forbids it. Unset that. " + _by_hand(file)
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        raise PullError(f"{what}: {hub} answered {status}. " + _by_hand(file)) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise PullError(
            f"{what}: the connection to {hub} failed ({reason}). Run the command again to resume "
            "where it stopped. " + _by_hand(file)
        ) from error
    except Timeout:
        raise PullError(f"{what}: another process is pulling it. Wait for that one.") from None
    except OSError as error:
        raise StoreError(
            f"{what}: it cannot be written: {error}. Make room, or set WARPGUARD_STORE to another "
            "directory, and run the command again; what has come is kept."
        ) from error
