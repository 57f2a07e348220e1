"""Admission: the images that are at work at once, and the rate limit of a request's key."""

import pytest

from service.auth.rate_limit import Bucket
from service.errors import BusyError, RateLimitedError, TooManyImagesError
from service.scheduling.admission import Admission


def test_places_are_held_until_the_images_are_answered():
    admission = Admission(4)
    with admission.admit(3, None):
        assert admission.in_flight == 3
        with admission.admit(1, None):
            assert admission.in_flight == 4
        assert admission.in_flight == 3
        with pytest.raises(ZeroDivisionError), admission.admit(1, None):
            raise ZeroDivisionError
        assert admission.in_flight == 3
    assert admission.in_flight == 0


def test_images_over_the_limit_are_refused():
    admission = Admission(4)
    with pytest.raises(TooManyImagesError) as caught, admission.admit(5, None):
        pass
    assert caught.value.message == (
        "The request has 5 images, each draw counting as one; send at most 4."
    )
    with admission.admit(3, None):
        with pytest.raises(BusyError) as caught, admission.admit(2, None):
            pass
        assert caught.value.message == "3 of 4 images are at work; try again."
        assert admission.in_flight == 3


def test_admitted_images_are_taken_from_the_bucket_of_the_request_s_key():
    admission, bucket = Admission(4), Bucket(rate=0.001, burst=4)
    with admission.admit(3, bucket):
        bucket.check(1)
        with pytest.raises(RateLimitedError):
            bucket.check(2)
    with pytest.raises(RateLimitedError), admission.admit(2, bucket):
        pass
    assert admission.in_flight == 0
    with admission.admit(1, bucket):
        pass


def test_images_that_are_not_admitted_are_not_taken_from_the_bucket():
    admission, bucket = Admission(4), Bucket(rate=0.001, burst=4)
    with pytest.raises(TooManyImagesError), admission.admit(5, bucket):
        pass
    with admission.admit(2, None), pytest.raises(BusyError), admission.admit(3, bucket):
        pass
    bucket.take(4)
