import pytest
from pydantic import ValidationError

from defenses import Pipeline
from service.settings import Settings


def test_the_environment_wins_over_the_default(monkeypatch):
    monkeypatch.setenv("WARPGUARD_PORT", "9000")
    monkeypatch.setenv("WARPGUARD_ALLOW_DEFENSE", "none, fd(step=20,phase=random)*2+rdg rand")
    settings = Settings()
    assert settings.port == 9000
    assert settings.allow_defense == ("none", "fd(step=20,phase=random)*2+rdg", "rand")
    assert Settings(port=9001).port == 9001


def test_an_empty_variable_is_none(monkeypatch):
    for name in ("PORT", "STORE", "ALLOW_DEFENSE", "THREADS"):
        monkeypatch.setenv(f"WARPGUARD_{name}", "")
    settings = Settings()
    assert (settings.port, settings.store, settings.allow_defense) == (8080, None, ())
    assert settings.threads >= 1


def test_the_default_defence_comes_first_and_once():
    settings = Settings(defense="fd + rdg", allow_defense="rand fd+rdg rand")
    assert list(settings.pipelines) == ["fd+rdg", "rand"]
    assert settings.pipelines["rand"] == Pipeline.parse("rand")


@pytest.mark.parametrize(
    "wrong",
    [
        {"defense": "fd+jpeg"},
        {"allow_defense": "none jpeg"},
        {"port": 70000},
        {"max_batch": 0},
        {"deadline_ms": 0},
        {"device": "tpu"},
        {"max_pixels": -1},
    ],
)
def test_a_value_out_of_range_is_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(ValidationError) as caught:
        Settings(**wrong)
    assert [error["loc"][0] for error in caught.value.errors()] == [name]
