"""Settings from the environment, and values that are refused."""

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


def test_an_empty_variable_means_the_default(monkeypatch):
    for name in ("PORT", "STORE", "ALLOW_DEFENSE", "PREPROCESS_THREADS", "THREADS_PER_INFERENCE"):
        monkeypatch.setenv(f"WARPGUARD_{name}", "")
    settings = Settings()
    assert (settings.port, settings.store, settings.allow_defense) == (8080, None, ())
    assert settings.preprocess_threads >= 1
    assert settings.threads_per_inference == 1


def test_the_default_defence_comes_first_and_once():
    settings = Settings(defense="fd + rdg", allow_defense="rand fd+rdg rand")
    assert list(settings.pipelines) == ["fd+rdg", "rand"]
    assert settings.pipelines["rand"] == Pipeline.parse("rand")


@pytest.mark.parametrize(
    "wrong",
    [
        {"defense": "fd+webp"},
        {"allow_defense": "none webp"},
        {"port": 70000},
        {"max_batch": 0},
        {"deadline_ms": 0},
        {"device": "tpu"},
        {"max_pixels": -1},
        {"predictor_host": "http://localhost:80"},
        {"predictor_host": "localhost/path"},
        {"predictor_host": ""},
        {"predictor_host": "localhost:65536"},
        {"predictor_host": "::1"},
        {"model_name": "a/b"},
        {"allowed_host": "example.org:80"},
        {"allowed_host": "http://example.org"},
        {"allowed_host": "a.*.org"},
        {"allowed_host": "*"},
    ],
)
def test_a_value_out_of_range_is_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(ValidationError) as caught:
        Settings(**wrong)
    assert [error["loc"][0] for error in caught.value.errors()] == [name]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"alarm": "noise", "admin_port": 0}, "not a signal"),
        ({"alarm": "off concentration", "admin_port": 0}, "not a signal"),
        ({"alarm": "concentration"}, "--admin-port"),
        ({"alarm": "squeeze", "admin_port": 0}, "--squeeze-share"),
        ({"squeeze_share": 0.1}, "--alarm squeeze"),
        ({"calibration": "x.json"}, "add one of them"),
        ({"calibration": "x.json", "alarm": "same-picture", "admin_port": 0}, "add one of them"),
        ({"min_agreement": 1.1}, "less than or equal to 1"),
        ({"min_agreement": "nan"}, "min_agreement"),
        (
            {"alarm": "same-picture", "admin_port": 0, "predictor_host": "h", "model_name": "m"},
            "--predictor-host",
        ),
    ],
)
def test_signals_that_cannot_work_or_would_be_seen_are_refused(given, problem):
    with pytest.raises(ValidationError, match=problem):
        Settings(**given)


def test_the_signals_may_be_off_by_name():
    assert Settings().signals == Settings(alarm="off").signals == frozenset()
    on = Settings(alarm="squeeze,same-picture", squeeze_share=0.5, admin_port=0)
    assert on.signals == {"squeeze", "same-picture"}


def test_the_allowed_hosts_may_be_separated_in_any_way(monkeypatch):
    monkeypatch.setenv("WARPGUARD_ALLOWED_HOST", "Api.example.org, *.example.net x_1")
    assert Settings().allowed_host == ("api.example.org", "*.example.net", "x_1")


@pytest.mark.parametrize("host", ["localhost", "a-b.c_d:9000", "10.0.0.1:80", "[::1]:8080"])
def test_a_predictor_s_host_may_have_a_port(host):
    assert Settings(predictor_host=host, model_name="m").predictor_host == host
    with pytest.raises(ValidationError, match="--model-name"):
        Settings(predictor_host=host)
