"""HTTPS: the certificate, which can be renewed while it is in use."""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from service.errors import SetupError

_log = logging.getLogger(__name__)


class TlsError(SetupError):
    """The certificate, its key or the clients' authorities cannot be used."""


@dataclass(frozen=True)
class Certificate:
    """A server's certificate, and the authorities that it asks of its clients. All files are PEM.

    Attributes:
        chain: the certificate, and those of the authorities that signed it.
        key: its private key; None if the key is in the same file.
        client_ca: the authorities whose certificates clients need; None if clients need none.
    """

    chain: Path
    key: Path | None
    client_ca: Path | None

    def context(self) -> ssl.SSLContext:
        """The context of new connections; TLS 1.2 or newer.

        Raises:
            TlsError: a file cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._load(context)
        return context

    def renew(self, context: ssl.SSLContext) -> None:
        """Read the files again for new connections; if that fails, log it and keep the old ones."""
        try:
            self.context()  # half of a new pair would break the context in use
            self._load(context)
        except TlsError as error:
            _log.error("The old certificate stays in use. %s", error)
        else:
            _log.info("The certificate was renewed")

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            # Without this OpenSSL would ask for a key's password on the terminal.
            context.load_cert_chain(self.chain, self.key, password="")
        except (OSError, ValueError) as error:
            files = " and ".join(str(file) for file in (self.chain, self.key) if file)
            raise TlsError(f"{files} cannot be used for TLS: {_reason(error)}.") from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ValueError) as error:
                raise TlsError(f"{self.client_ca} cannot be used: {_reason(error)}.") from None
            context.verify_mode = ssl.CERT_REQUIRED


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is not a PEM file, or needs a password"
    return (isinstance(error, OSError) and error.strerror) or str(error)
