"""What a profile sets, what wins over it, and that it can be used as it is."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings
from service.settings.profiles import PROFILES, as_flag, blame

PAGE = Path(__file__).parents[3] / "docs" / "choose.md"


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "keys.txt"
    file.write_text("shop " + "0" * 64)
    return {"api_keys": file}


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_sets_its_values_and_nothing_else(name, keys):
    plain, profiled = Settings(**keys), Settings(profile=name, **keys)
    changed = {
        field: getattr(profiled, field)
        for field in Settings.model_fields
        if getattr(plain, field) != getattr(profiled, field)
    }
    assert changed == {"profile": name, **PROFILES[name]}


def test_what_is_given_beside_a_profile_wins(monkeypatch, keys):
    monkeypatch.setenv("WARPGUARD_PROFILE", "public")
    monkeypatch.setenv("WARPGUARD_RESPONSE_DETAIL", "full")
    settings = Settings(max_images=7, **keys)
    assert (settings.profile, settings.response_detail, settings.max_images) == (
        "public",
        "full",
        7,
    )
    assert settings.key_rate == 1
    assert Settings(profile="internal").draws == 8  # the argument wins over the variable


@pytest.mark.parametrize("name", ["partner", "public"])
def test_who_is_not_trusted_needs_a_key_unless_the_operator_says_otherwise(name):
    assert Settings(profile=name).require_keys
    assert not Settings(profile=name, require_keys=False).require_keys


@pytest.mark.parametrize("name", ["partner", "public"])
def test_who_is_not_trusted_sees_less(name, keys):
    settings = Settings(profile=name, **keys)
    assert settings.response_detail != "full"
    assert not settings.shows_defended
    assert settings.signals
    assert (settings.admin_port, settings.admin_host) == (8081, "127.0.0.1")
    assert not Settings(profile=name, response_detail="full", **keys).shows_defended


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValidationError, match="'internal', 'partner' or 'public'"):
        Settings(profile="pubic")


def test_a_message_names_what_the_profile_has_to_do_with_it():
    message = "--a needs --response-detail, and --no-defend-endpoint"
    assert blame(message, None, ()) == message
    assert blame(message, "internal", ()) == message
    assert blame(message, "public", ("defend_endpoint",)).endswith(
        "(--profile public sets --response-detail label; another value wins)"
    )


def test_the_page_gives_each_value_and_a_reason():
    page = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| `(--[^`]*)` \| ([^|]*) \| ([^|]+) \|$", page, re.MULTILINE)
    documented = {
        (profile, setting) for setting, profiles, _ in rows for profile in profiles.split(", ")
    }
    assert documented == {
        (profile, as_flag(name, value))
        for profile, values in PROFILES.items()
        for name, value in values.items()
    }
