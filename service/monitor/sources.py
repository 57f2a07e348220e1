"""A look at a server and at a stream, which goes on while one of them is away."""

import time
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from service.errors import SetupError
from service.monitor import view
from service.monitor.clients import Clients
from service.monitor.figures import figures
from service.monitor.lines import Lines, StreamError
from service.monitor.scrape import MetricsError, Scrape, Scraper


class Sources:
    """A server, a stream of events, or both."""

    def __init__(self, url: str | None, file: Path | None, api_key: str | None = None) -> None:
        """Set up.

        Args:
            url: where the server's metrics are.
            file: a file of events, or a log as JSON.
            api_key: see :class:`Scraper`.

        Raises:
            MetricsError: the address is not valid.
            StreamError: the file cannot be read.
        """
        self._scraper = None if url is None else Scraper(url, api_key)
        self._lines = None if file is None else Lines(file)
        self._clients = Clients()
        self._before: Scrape | None = None
        self._answered_s: float | None = None

    def close(self) -> None:
        """Close the connection and the file."""
        for each in (self._scraper, self._lines):
            if each is not None:
                each.close()

    def look(self, height: int | None = None) -> RenderableType:
        """Read what is new, and lay it out.

        Args:
            height: how many lines there are for it; None for as many as it needs.

        Raises:
            MetricsError: the server has never answered.
        """
        parts: list[RenderableType] = []
        if self._scraper is not None:
            parts += [self._server(self._scraper), Text()]
            height = None if height is None else height - view.SERVER_LINES
        if self._lines is None:
            parts.append(Text("The clients are in the events: name their file too.", "dim"))
        else:
            parts += self._stream(self._lines, height)
        return Group(*parts)

    def _server(self, scraper: Scraper) -> RenderableType:
        try:
            now = scraper.scrape()
        except MetricsError as error:
            if self._answered_s is None:
                raise
            return _away(error, time.time() - self._answered_s)
        found = figures(now, self._before)
        self._before, self._answered_s = now, now.at_s
        return view.server(scraper.url, found, now.at_s)

    def _stream(self, lines: Lines, height: int | None) -> list[RenderableType]:
        parts: list[RenderableType] = []
        try:
            self._clients.take(lines.read())
        except StreamError as error:
            parts.append(_away(error))
        parts.append(view.stream(self._clients, time.time(), height))
        return parts


def _away(error: SetupError, since_s: float | None = None) -> Text:
    since = "" if since_s is None else f" It last answered {since_s:.0f} s ago."
    return Text(f"{view.clean(str(error))}{since} Trying again.", "red")
