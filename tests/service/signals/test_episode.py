"""Events come at 20, 40, 80 … images, and at most once a minute."""

import pytest

from service.signals.episode import Episode


def flag(episode, now_s, images=1, signal="same-picture"):
    tally = episode.tally(signal)
    tally.add(images, now_s, now_s)
    return episode.take_due(now_s)


def test_events_come_at_each_doubling():
    episode = Episode()
    due = [20] if flag(episode, 0.0, 20) else []
    due += [number for number in range(21, 700) if flag(episode, 100.0 * number)]
    assert due == [20, 40, 80, 160, 320, 640]
    assert episode.events == 6


def test_an_event_waits_for_its_minute_and_is_not_lost():
    episode = Episode()
    assert flag(episode, 0.0, 20) == ["same-picture"]
    assert flag(episode, 59.0, 80) == []
    assert flag(episode, 60.0) == ["same-picture"]
    assert flag(episode, 200.0, 58) == []  # 159 images
    assert flag(episode, 201.0) == ["same-picture"]


def test_two_signals_share_an_event():
    episode = Episode()
    episode.tally("concentration").add(20, 0.0, 1.0)
    assert set(flag(episode, 1.0, 20)) == {"same-picture", "concentration"}
    assert flag(episode, 30.0, 20, "concentration") == []
    assert flag(episode, 61.0, 1) == ["concentration"]


def test_less_than_20_images_are_no_event():
    assert flag(Episode(), 0.0, 19) == []


def test_an_episode_ends_after_an_hour_without_a_flagged_image():
    episode = Episode()
    assert not episode.is_over(1e9)
    flag(episode, 10.0, 20)
    assert not episode.is_over(3610.0)
    assert episode.is_over(3611.0)


def test_the_agreement_is_the_mean_over_images_with_several_draws():
    tally = Episode().tally("concentration")
    assert tally.agreement is None
    tally.add_agreement([float("nan"), 0.5, 1.0])
    assert tally.agreement == pytest.approx(0.75)
