"""The metrics of a server at one moment, over HTTP."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from service.errors import SetupError

Samples: TypeAlias = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""The series of each metric: their labels and values."""

_PATH = "/metrics"
_ANSWER_WITHIN_S = 5.0
_MOST_BYTES = 4 * 1024 * 1024
_TO_DO: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: "A server with --admin-port has its metrics on that port only: give the "
    "address of its admin port.",
    HTTPStatus.UNAUTHORIZED: "Give a file with the API key: --api-key-file.",
    HTTPStatus.FORBIDDEN: "Give a file with another API key: --api-key-file.",
    HTTPStatus.MISDIRECTED_REQUEST: "Name the server as its --allowed-host does.",
}


class MetricsError(SetupError):
    """The metrics of a server cannot be read."""


@dataclass(frozen=True)
class Scrape:
    """The metrics of one moment.

    Attributes:
        at_s: when, in seconds since 1970.
        samples: the series of each metric.
    """

    at_s: float
    samples: Samples

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the series of a metric that have some labels; 0 if there are none."""
        series = self.samples.get(name, ())
        return sum(value for has, value in series if labels.items() <= has.items())

    def labels(self, name: str, label: str) -> list[str]:
        """The values that a label of a metric has, without those of series that are 0."""
        return [has.get(label, "") for has, value in self.samples.get(name, ()) if value]

    @property
    def started_s(self) -> float:
        """When the server was started, in seconds since 1970; 0 if it does not report that."""
        return self.sum("process_start_time_seconds")


class Scraper:
    """Reads the metrics of one server."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        """Set up; nothing is sent yet.

        Args:
            url: ``http://HOST:PORT`` of its admin port, or of its only port.
            api_key: sent with each request, if something in front of the port requires one.

        Raises:
            MetricsError: the address is not valid.
        """
        headers = {"Accept-Encoding": "identity"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        base = url.rstrip("/").removesuffix(_PATH)
        try:
            self._client = httpx2.Client(
                base_url=base, headers=headers, timeout=_ANSWER_WITHIN_S, follow_redirects=False
            )
            shown = self._client.base_url.copy_with(username=None, password=None)
        except (httpx2.InvalidURL, ValueError) as error:
            raise MetricsError(
                f"{base} is not a valid address: {error}. Give one such as http://127.0.0.1:9090."
            ) from None
        self.url = str(shown).rstrip("/")
        if not shown.host:
            raise MetricsError(f"{url} has no host. Give an address such as http://127.0.0.1:9090.")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def scrape(self) -> Scrape:
        """Read the metrics.

        Raises:
            MetricsError: the server cannot be reached, or does not answer with its metrics.
        """
        try:
            with self._client.stream("GET", _PATH) as reply:
                body = bytearray()
                for chunk in reply.iter_bytes():
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        raise MetricsError(f"{self.url}{_PATH} is too long for metrics.")
                status = reply.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            reason = str(error).rstrip(".") or type(error).__name__
            to_do = " The admin port has no TLS: try http://." if "SSL" in reason else ""
            raise MetricsError(f"{self.url} cannot be reached: {reason}.{to_do}") from None
        if status != HTTPStatus.OK:
            to_do = _TO_DO.get(status, "")
            raise MetricsError(f"{self.url}{_PATH} answers {status}. {to_do}".rstrip())
        samples = _parse(body.decode("utf-8", "replace"))
        if "warpguard_build_info" not in samples:
            raise MetricsError(f"{self.url}{_PATH} has no metrics of warpguard: is it the server?")
        return Scrape(time.time(), samples)


def _parse(text: str) -> Samples:
    """Read Prometheus's text format; what is not of this format has no samples."""
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    except (ValueError, IndexError):
        return {}
    return samples
