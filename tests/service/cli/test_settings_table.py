import json

import pytest

from service.settings import Settings, flag


@pytest.fixture
def shown(warpguard):
    def run(*arguments):
        printed = warpguard("serve", *arguments, "--print-settings", "json")
        return {name: tuple(entry.values()) for name, entry in json.loads(printed.out).items()}

    return run


def test_each_setting_is_shown_with_where_it_came_from(shown, monkeypatch):
    monkeypatch.setenv("WARPGUARD_PROFILE", "public")
    monkeypatch.setenv("WARPGUARD_KEY_RATE", "3")
    monkeypatch.setenv("WARPGUARD_MAX_IMAGES", "9")
    found = shown("--no-require-keys", "--max-images", "8")
    assert list(found) == list(Settings.model_fields)
    assert found["profile"] == ("public", "variable")
    assert found["key_rate"] == (3.0, "variable")
    assert found["max_images"] == (8, "flag")
    assert found["require_keys"] == (False, "flag")
    assert found["response_detail"] == ("label", "profile")
    assert found["alarm"] == (["same-picture", "concentration"], "profile")
    assert found["port"] == (8080, "default")
    assert found["inference_streams"][1] == "default"


def test_a_table_of_80_columns_by_room(warpguard, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = warpguard("serve", "--profile", "internal", "--print-settings").out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines]
    assert [row[0] for row in rows if row and row[0].startswith("--")] == [
        flag(name) for name in Settings.model_fields
    ]
    assert ["--draws", "profile", "8"] in rows
    assert ["--profile", "flag", "internal"] in rows
    assert "Who may ask, and how much:" in [line.rstrip() for line in lines]


@pytest.mark.parametrize("form", ["table", "json"])
def test_passwords_in_addresses_are_not_shown(warpguard, form):
    address = "http://user:password@collector:4318/v1?token=secret"
    printed = warpguard("serve", "--otel-endpoint", address, "--print-settings", form)
    assert "@collector:4318/v1?" in printed.out
    for secret in ("user", "password", "secret"):
        assert secret not in printed.out.replace("Who", "")


def test_a_profile_can_be_looked_at_before_there_are_keys(warpguard):
    """But it cannot be served."""
    printed = warpguard("serve", "--profile", "public", "--print-settings", "json")
    assert json.loads(printed.out)["require_keys"]["value"] is True
    refused = warpguard("serve", "--profile", "public", code=2)
    assert "--require-keys needs --api-keys FILE" in refused.err
    assert "(--profile public sets --require-keys; another value wins)" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--profile public --no-require-keys --predictor-host x --model-name m", "sets --resp"),
        ("--profile internal --predictor-host x --model-name m", "internal sets --draws 8"),
        ("--profile internal --draws 17", "--draws: "),
        ("--print-settings xml", "invalid choice: 'xml'"),
    ],
)
def test_settings_that_cannot_work_are_not_shown(warpguard, arguments, message):
    printed = warpguard("serve", "--print-settings", *arguments.split(), code=2)
    assert message in printed.err
    assert printed.out == ""
