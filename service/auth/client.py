"""Who sends a request: whose share of the server it takes, and whose rate limit."""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

from service.auth.rate_limit import Bucket

PIXELS_OF_AN_IMAGE = 1_000_000
"""A larger image counts as one for each of its megapixels."""
_NETWORK_BITS = 64
"""Of an IPv6 address, the part that one client cannot change."""


@dataclass
class Client:
    """The client of one request.

    Attributes:
        name: the name of its key, or its address where the server has no keys. Requests of one name
            have one share of the server.
        bucket: the rate limit of its key; None without a limit.
        charged: how many images this request has taken from the bucket so far.
        signals: which of the server's signals look at its images; None for all of them.
        images: how many images this request asks for; 0 before that is known.
        draws: how many draws of each.
        agreements: those of its images that were classified, each in [0, 1].
        afterwards: what this request leaves to do once its answer is written. None of it waits,
            and none of it raises.
    """

    name: str
    bucket: Bucket | None = None
    charged: float = 0.0
    signals: frozenset[str] | None = None
    images: int = 0
    draws: int = 1
    agreements: list[float] = field(default_factory=list)
    afterwards: list[Callable[[], None]] = field(default_factory=list)

    def charge(self, images: float) -> None:
        """Take some images from the bucket for this request, less those that it has taken already.

        Raises:
            RateLimitedError: the bucket holds too few; nothing is taken.
        """
        if self.bucket is not None and images > self.charged:
            self.bucket.take(images, self.charged)
            self.charged = images

    def charge_pixels(self, pixels: float) -> None:
        """Take what an image costs beyond one, whether or not the bucket holds that much.

        The size of an image is known once its file has been opened, so this counts against the time
        after the request. It may be called in any thread.
        """
        further = pixels / PIXELS_OF_AN_IMAGE - 1
        if self.bucket is not None and further > 0:
            self.bucket.owe(further)


def address(host: str) -> str:
    """Return the address that identifies a client without a key: for IPv6, its network of 64 bits.

    Args:
        host: the address of the client's socket; empty for a socket that has none.
    """
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(found, IPv6Address):
        return host
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((found, _NETWORK_BITS), strict=False))
