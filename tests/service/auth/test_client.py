"""Who sends a request, and what its images cost."""

import pytest

from service.auth.client import Client, address
from service.auth.rate_limit import Bucket
from service.errors import RateLimitedError


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_a_client_without_a_key_is_its_address(host, client):
    assert address(host) == client


@pytest.mark.parametrize(
    ("pixels", "cost"), [(1, 0), (1_000_000, 0), (1_500_000, 0.5), (25_000_000, 24)]
)
def test_an_image_costs_one_for_each_of_its_megapixels(pixels, cost):
    bucket = Bucket(rate=1e-9, burst=30)
    Client("shop", bucket).charge_pixels(pixels)
    bucket.take(29.99 - cost)
    with pytest.raises(RateLimitedError):
        bucket.take(0.1)
    Client("shop").charge_pixels(pixels)  # a key without a rate


def test_pixels_are_taken_even_if_the_bucket_holds_too_few():
    bucket = Bucket(rate=1, burst=2)
    Client("shop", bucket).charge_pixels(25e6)
    with pytest.raises(RateLimitedError, match="in 23 s"):
        bucket.take(1)
