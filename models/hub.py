"""Pull a weights file from the Hugging Face hub, and resume after a lost connection or a kill.

``huggingface_hub.hf_hub_download`` (2.4) writes each attempt to its own file and deletes that file
when the attempt fails, so it resumes only within one call. Its chunks are 10 MB, and it loses the
whole chunk when the connection breaks. This module uses the library for the URL, the file's
metadata, the HTTP client with its token, proxies and offline mode, the errors and the progress bar.
It appends the bytes, as they arrive, to a file that is named by its expected SHA-256, so the bytes
that an earlier process left in that file can only be the beginning of the same content.
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
    constants,
    get_hf_file_metadata,
    get_session,
    hf_hub_url,
)
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

# Documented, but the package imports them in a way that mypy takes for private.
from huggingface_hub.utils import build_hf_headers, tqdm  # type: ignore[attr-defined]

from models.catalog import HubFile
from models.errors import ChecksumError, PullError, StoreError

_ATTEMPTS = 5  # in a row that bring no byte, before a pull gives up
RETRY_PAUSE_S = 1.0
_TRANSIENT = (408, 429, 500, 502, 503, 504)

# Otherwise the library reads /api/agent-harnesses of the hub into memory, however long that is.
constants.HF_HUB_DISABLE_TELEMETRY = True

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Download:
    """A complete and verified file from the hub.

    Attributes:
        path: the file.
        sha256: its digest.
        commit: its revision, which is a commit's hash if the hub reports one.
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
    """Download a file, or the rest of a file that an earlier pull began.

    Args:
        file: the file to download.
        folder: the folder for the file, which is made if it is missing. The file is called
            ``<sha256>.part`` there, and the caller uses and deletes it.
        revision: a branch, a tag or a commit's hash.
        endpoint: the hub's URL; by default the environment's ``HF_ENDPOINT`` at the start of the
            process, or else https://huggingface.co.
        quiet: show no progress bar. A bar is shown only if stderr is a terminal.
        timeout_s: the longest wait, in seconds, for a connection and between two pieces of data.

    Returns:
        The file, whose SHA-256 has been verified.

    Raises:
        PullError: the hub cannot be reached, does not have the file, or declares no size, or no
            SHA-256 for a file whose SHA-256 is unknown. The bytes that have arrived are kept.
        ChecksumError: the hub has a different file. Nothing of it is kept.
        StoreError: the file cannot be written. The bytes that have arrived are kept.
    """
    hub = (endpoint or constants.ENDPOINT).rstrip("/")
    with _errors(file, hub):
        metadata = get_hf_file_metadata(
            hf_hub_url(file.repository, file.name, revision=revision, endpoint=hub),
            timeout=timeout_s,
        )
        commit = metadata.commit_hash or revision
        digest, size = _digest(file, metadata), _size(file, metadata)
        url = hf_hub_url(file.repository, file.name, revision=commit, endpoint=hub)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{digest}.part"
        with FileLock(folder / ".lock", timeout=0):
            with path.open("ab") as part:
                _fetch(url, part, size, file, quiet=quiet, timeout_s=timeout_s)
            with path.open("rb") as part:
                actual = hashlib.file_digest(part, "sha256").hexdigest()
            if actual != digest:
                path.unlink()
                raise ChecksumError(
                    f"The file {file.name} from {file.repository} at {hub} has the SHA-256 "
                    f"{actual}, expected {digest}. It has been deleted. Try again. "
                    + _by_hand(file)
                )
    return Download(path, digest, commit)


def _digest(file: HubFile, metadata: HfFileMetadata) -> str:
    """Return the digest that the file must have."""
    # The hub's ETag of a file is its SHA-256 only if the file is in large-file storage.
    declared = metadata.etag if re.fullmatch("[0-9a-f]{64}", metadata.etag or "") else None
    if file.sha256 and declared and declared != file.sha256:
        raise ChecksumError(
            f"The hub declares the SHA-256 {declared} for {file.name} of {file.repository}, "
            f"expected {file.sha256}. Nothing was downloaded. " + _by_hand(file)
        )
    digest = file.sha256 or declared
    if digest is None:
        raise PullError(
            f"The file {file.name} of {file.repository} cannot be verified: the hub declares no "
            f"SHA-256 (its ETag is {metadata.etag}), and none is known here. " + _by_hand(file)
        )
    return digest


def _size(file: HubFile, metadata: HfFileMetadata) -> int:
    """Return the number of bytes that the file must have, which is the most that is written."""
    if metadata.size is None:
        raise PullError(
            f"The hub declares no size for {file.name} of {file.repository}. Nothing was "
            "downloaded. " + _by_hand(file)
        )
    return metadata.size


def _fetch(
    url: str, part: BinaryIO, size: int, file: HubFile, *, quiet: bool, timeout_s: float
) -> None:
    """Append the missing bytes to a file, over as many connections as necessary."""
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
                complete = _fetch_once(url, part, size, bar, timeout_s=timeout_s)
            except (httpx2.TransportError, HfHubHTTPError) as error:
                if isinstance(error, HfHubHTTPError) and not _is_transient(error):
                    raise
                fruitless = 0 if part.tell() > before else fruitless + 1
                if fruitless == _ATTEMPTS:
                    raise
                _log.info("%s was interrupted at byte %d: %s", file.name, part.tell(), error)
                time.sleep(RETRY_PAUSE_S)


def _fetch_once(url: str, part: BinaryIO, size: int, bar: tqdm, *, timeout_s: float) -> bool:
    """Append the bytes that one connection brings; return True when the file is complete.

    What follows the declared size is not read, and neither is the text of an error.
    """
    headers = build_hf_headers(headers={"Accept-Encoding": "identity"})
    if part.tell():
        headers["Range"] = f"bytes={part.tell()}-"
    # The client does not send the token when it follows a redirect to the hub's storage.
    with get_session().stream("GET", url, headers=headers, timeout=timeout_s) as response:
        beyond = response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        if response.is_error and not (beyond and part.tell()):
            raise HfHubHTTPError(f"status {response.status_code}", response=response)
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            bar.update(-part.tell())
            part.truncate(0)
            part.seek(0)
        if beyond:
            return False  # the local part was longer than the remote file: start over
        for chunk in response.iter_raw():
            missing = chunk[: max(0, size - part.tell())]
            part.write(missing)
            part.flush()  # so that a killed process loses nothing
            bar.update(len(missing))
            if part.tell() >= size:
                break
    return True


def _is_transient(error: HfHubHTTPError) -> bool:
    return error.response is not None and error.response.status_code in _TRANSIENT


def _by_hand(file: HubFile) -> str:
    return (
        f"You can also download {file.url()}"
        + (f" (SHA-256 {file.sha256})" if file.sha256 else "")
        + f" on another machine, and run `warpguard models pull {file.model} --weights FILE`. The "
        "embedded model efficientnet-lite2 works without any download."
    )


@contextmanager
def _errors(file: HubFile, hub: str) -> Iterator[None]:
    """Turn every error of a pull into one that says what happened and what to do."""
    what = f"{file.name} of {file.repository} could not be pulled"
    try:
        yield
    except OfflineModeIsEnabled:
        raise PullError(
            f"{what}: the environment variable HF_HUB_OFFLINE forbids it. Unset it. "
            + _by_hand(file)
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        raise PullError(f"{what}: {hub} answered {status}. " + _by_hand(file)) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise PullError(
            f"{what}: the connection to {hub} failed ({reason}). Run the command again to resume "
            "the download. " + _by_hand(file)
        ) from error
    except Timeout:
        raise PullError(f"{what}: another process is pulling it. Wait until it ends.") from None
    except OSError as error:
        raise StoreError(
            f"{what}: it cannot be written: {error}. Make room, or set WARPGUARD_STORE to another "
            "directory, and run the command again. The bytes that have arrived are kept."
        ) from error
