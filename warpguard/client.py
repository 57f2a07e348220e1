"""Clients of a running warpguard, one that waits and one for asyncio or trio.

Both send :mod:`warpguard.calls`. They repeat a request that the server cannot take now (429, 503),
and raise the errors of :mod:`warpguard.errors`.
"""

import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Generic, Self, TypeVar

import anyio
import httpx2

from warpguard import calls
from warpguard.answers import Answer, DefendedImage, Defenses, FileAnswer, Model
from warpguard.calls import Call, Image
from warpguard.errors import ApiError, BusyError, ClientError, UnreachableError
from warpguard.retry import Retry

T = TypeVar("T")
HttpT = TypeVar("HttpT", httpx2.Client, httpx2.AsyncClient)
_POLL_S = 0.2
_GATEWAY = (502, 504)
"""What a gateway answers while nothing listens behind it."""


class _Common(Generic[HttpT]):
    """What both clients are set up with.

    Args:
        url: the server's address, such as ``http://127.0.0.1:8080``.
        api_key: the key, if the server needs one.
        ca_file: a PEM file of the authorities to trust; by default those of the system.
        timeout_s: how long to wait for a connection, and for each part of the answer.
        retries: how often to repeat a request that the server cannot take now.
        headers: what each request sends beside the key.
        transport: what makes the requests; for tests.

    Raises:
        ValueError: the address or the key cannot be used.
        OSError: the file cannot be read.
    """

    _kind: type[HttpT]

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        api_key: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        timeout_s: float = 60.0,
        retries: int = 4,
        headers: Mapping[str, str] | None = None,
        transport: Any = None,
    ) -> None:
        self.url = calls.address(url)
        self._retry = Retry(retries)
        self._http: HttpT = self._kind(
            base_url=self.url,
            headers=calls.headers(api_key, headers or {}),
            verify=calls.certificates(ca_file),
            timeout=timeout_s,
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _not_ready(self, error: ClientError, give_up: float, timeout_s: float) -> None:
        """Return if it is worth to ask again; raise an error otherwise."""
        waiting = isinstance(error, UnreachableError | BusyError)
        if not waiting and not (isinstance(error, ApiError) and error.status in _GATEWAY):
            raise error
        if time.monotonic() + _POLL_S > give_up:
            raise UnreachableError(
                f"{self.url} is not ready after {timeout_s:g} s: {error}"
            ) from error


class Client(_Common[httpx2.Client]):
    """A client whose methods return when the answer is there. Several threads may share one.

    ::

        with Client("http://127.0.0.1:8080", api_key=key) as client:
            print(client.predict("photo.jpg", draws=4).best.label)
    """

    _kind = httpx2.Client

    def predict(
        self,
        image: Image,
        *,
        defense: str | None = None,
        draws: int | None = None,
        top_k: int | None = None,
        timeout_ms: float | None = None,
    ) -> Answer:
        """Classify one image.

        Args:
            image: the path of an image file, or its bytes.
            defense: one that :meth:`defenses` lists; None for the server's default.
            draws: over how many draws to average, 1 to 16; None for the server's default.
            top_k: how many classes to return, 1 to 1000; None for the server's default.
            timeout_ms: a deadline that the server keeps; None for the server's own.

        Raises:
            ApiError: the server refuses; its ``code`` says why.
            UnreachableError: the server cannot be reached or does not answer in time.
            AnswerError: the answer cannot be read.
            OSError: the file cannot be read.
        """
        query = {"defense": defense, "draws": draws, "top_k": top_k, "timeout_ms": timeout_ms}
        return self._send(calls.predict(image, query))

    def predict_files(
        self,
        images: Iterable[Image],
        *,
        batch_size: int = 8,
        defense: str | None = None,
        draws: int | None = None,
        top_k: int | None = None,
        timeout_ms: float | None = None,
    ) -> Iterator[FileAnswer]:
        """Classify any number of images, in order; a file that is refused does not stop the others.

        Args:
            images: paths of image files, or their bytes. A file is read when its turn comes.
            batch_size: how many to send in one request; the server has a limit (``--max-images``).
            defense: see :meth:`predict`, as for the others.
            draws: over how many draws to average.
            top_k: how many classes to return.
            timeout_ms: a deadline for each request.

        Raises:
            ApiError: see :meth:`predict`, as for the others.
        """
        query = {"defense": defense, "draws": draws, "top_k": top_k, "timeout_ms": timeout_ms}
        for call in calls.predict_files(images, query, batch_size):
            yield from self._send(call)

    def defend(self, image: Image, *, defense: str | None = None) -> DefendedImage:
        """Defend one image, for another classifier; the arguments are those of :meth:`predict`."""
        return self._send(calls.defend(image, {"defense": defense}))

    def models(self) -> tuple[Model, ...]:
        """Return the served models."""
        return self._send(calls.models())

    def defenses(self) -> Defenses:
        """Return the defences that requests may name."""
        return self._send(calls.defenses())

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the server has loaded its model.

        Raises:
            UnreachableError: it is not ready after this time; the message has the last reason.
            ApiError: it refuses for a reason that waiting does not change.
        """
        give_up = time.monotonic() + timeout_s
        while True:
            try:
                return self._once(calls.ready())
            except ClientError as error:
                self._not_ready(error, give_up, timeout_s)
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        done = 0
        while True:
            try:
                return self._once(call)
            except ApiError as error:
                wait_s = self._retry.wait_s(error, done)
                if wait_s is None:
                    raise
            done += 1
            time.sleep(wait_s)

    def _once(self, call: Call[T]) -> T:
        try:
            reply = self._http.request(call.method, call.path, **call.options)
        except httpx2.RequestError as error:
            raise calls.unreachable(self.url, error) from error
        if refused := calls.error_of(reply):
            raise refused
        return call.read(reply)


class AsyncClient(_Common[httpx2.AsyncClient]):
    """The same client for asyncio and trio; :class:`Client` documents the methods.

    ::

        async with AsyncClient("http://127.0.0.1:8080") as client:
            async for answer in client.predict_files(paths):
                print(answer.file, answer.prediction or answer.error)
    """

    _kind = httpx2.AsyncClient

    async def predict(
        self,
        image: Image,
        *,
        defense: str | None = None,
        draws: int | None = None,
        top_k: int | None = None,
        timeout_ms: float | None = None,
    ) -> Answer:
        """Classify one image; see :meth:`Client.predict`."""
        query = {"defense": defense, "draws": draws, "top_k": top_k, "timeout_ms": timeout_ms}
        return await self._send(calls.predict(image, query))

    async def predict_files(
        self,
        images: Iterable[Image],
        *,
        batch_size: int = 8,
        defense: str | None = None,
        draws: int | None = None,
        top_k: int | None = None,
        timeout_ms: float | None = None,
    ) -> AsyncIterator[FileAnswer]:
        """Classify any number of images, in order; see :meth:`Client.predict_files`."""
        query = {"defense": defense, "draws": draws, "top_k": top_k, "timeout_ms": timeout_ms}
        for call in calls.predict_files(images, query, batch_size):
            for answer in await self._send(call):
                yield answer

    async def defend(self, image: Image, *, defense: str | None = None) -> DefendedImage:
        """Defend one image; see :meth:`Client.defend`."""
        return await self._send(calls.defend(image, {"defense": defense}))

    async def models(self) -> tuple[Model, ...]:
        """Return the served models."""
        return await self._send(calls.models())

    async def defenses(self) -> Defenses:
        """Return the defences that requests may name."""
        return await self._send(calls.defenses())

    async def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the server has loaded its model; see :meth:`Client.wait_until_ready`."""
        give_up = time.monotonic() + timeout_s
        while True:
            try:
                return await self._once(calls.ready())
            except ClientError as error:
                self._not_ready(error, give_up, timeout_s)
            await anyio.sleep(_POLL_S)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _send(self, call: Call[T]) -> T:
        done = 0
        while True:
            try:
                return await self._once(call)
            except ApiError as error:
                wait_s = self._retry.wait_s(error, done)
                if wait_s is None:
                    raise
            done += 1
            await anyio.sleep(wait_s)

    async def _once(self, call: Call[T]) -> T:
        try:
            reply = await self._http.request(call.method, call.path, **call.options)
        except httpx2.RequestError as error:
            raise calls.unreachable(self.url, error) from error
        if refused := calls.error_of(reply):
            raise refused
        return call.read(reply)
