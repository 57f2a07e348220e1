"""Misspelt variables are reported at the start, and those of Kubernetes are not."""

import pytest

from service.settings import Settings
from service.settings.environment import unknown_variables


def warnings(**variables):
    return list(unknown_variables(variables, Settings.model_fields))


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("WARPGUARD_MAX_BATCHES", "WARPGUARD_MAX_BATCH"),
        ("WARPGUARD_MAXBATCH", "WARPGUARD_MAX_BATCH"),
        ("WARPGUARD_DEFENCE", "WARPGUARD_DEFENSE"),
        ("WARPGUARD_API_KEY", "WARPGUARD_API_KEYS"),
        ("WARPGUARD_NO_DEFEND_ENDPOINT", "WARPGUARD_DEFEND_ENDPOINT"),
        ("warpguard_prot", "WARPGUARD_PORT"),
        ("WARPGUARD_MAX-BATCH", "WARPGUARD_MAX_BATCH"),
        ("WARPGUARD_ADMINPORT", "WARPGUARD_ADMIN_PORT"),
    ],
)
def test_a_misspelt_variable_is_reported_with_the_nearest_setting(variable, meant):
    assert warnings(**{variable: "secret"}) == [
        f"The variable {variable} is not one of the settings, and is ignored: did you mean {meant}?"
    ]


def test_without_a_near_setting_the_help_is_named():
    (warning,) = warnings(WARPGUARD_XYZZY="1")
    assert warning.endswith("is ignored: 'warpguard serve --help' lists them.")


def test_settings_in_any_case_and_other_programs_variables_are_not_reported():
    known = {f"WARPGUARD_{name.upper()}": "1" for name in Settings.model_fields}
    assert warnings(**known, warpguard_port="1", PATH="/bin", WARP="1", WARPGUARD="1") == []


KUBERNETES = {
    "{}_SERVICE_HOST": "10.0.0.1",
    "{}_SERVICE_PORT": "80",
    "{}_SERVICE_PORT_HTTP": "80",
    "{}_SERVICE_PORT_HTTP_METRICS": "80",
    "{}_PORT": "tcp://10.0.0.1:8080",
    "{}_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "{}_PORT_8080_TCP_PROTO": "tcp",
    "{}_PORT_8080_TCP_PORT": "8080",
    "{}_PORT_8080_TCP_ADDR": "10.0.0.1",
    "{}_PORT_53_UDP": "udp://[fd00::1]:53",
    "{}_PORT_53_UDP_ADDR": "fd00::1",
}


@pytest.mark.parametrize(
    "service", ["WARPGUARD", "WARPGUARD_XYZ", "WARPGUARD_ADMIN", "WARPGUARD_1_A"]
)
def test_the_variables_of_kubernetes_are_neither_reported_nor_settings(service, monkeypatch):
    variables = {name.format(service): value for name, value in KUBERNETES.items()}
    assert warnings(**variables) == []
    plain = Settings()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings() == plain
    assert Settings(port=9001).port == 9001


@pytest.mark.parametrize("variable", ["WARPGUARD_HTTP_PORT", "WARPGUARD_PORT_8080_TCP"])
def test_a_port_that_is_not_an_address_is_not_of_kubernetes(variable):
    (warning,) = warnings(**{variable: "8080"})
    assert variable in warning
