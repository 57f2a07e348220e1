"""The bucket of a key."""

import pytest

from service.auth.rate_limit import Bucket
from service.errors import RateLimitedError


def test_a_bucket_fills_at_its_rate_up_to_its_burst(clock):
    bucket = Bucket(rate=2, burst=6)
    for _ in range(6):
        bucket.take(1)
    with pytest.raises(
        RateLimitedError, match="2 images a second, each draw counting as one; try again in 1 s"
    ) as caught:
        bucket.take(1)
    assert (caught.value.status, caught.value.retry_after_s) == (429, 1)
    with pytest.raises(RateLimitedError, match="in 3 s"):
        bucket.take(5)
    clock.now += 2.5
    bucket.take(5)
    clock.now += 1000
    bucket.take(6)
    with pytest.raises(RateLimitedError):
        bucket.check(1)


def test_a_full_bucket_allows_more_than_its_burst_and_refills_for_longer(clock):
    bucket = Bucket(rate=2, burst=4)
    bucket.take(16)
    with pytest.raises(RateLimitedError) as caught:
        bucket.take(1)
    assert caught.value.retry_after_s == 7  # the balance is -12, and one image is requested
    clock.now += 6.6
    bucket.take(1)
