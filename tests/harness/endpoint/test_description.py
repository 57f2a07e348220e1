"""The description of an endpoint, and the files that it cannot make the harness open."""

import builtins
import os
from pathlib import Path

import pytest

from defenses import Pipeline
from harness.errors import EndpointError


@pytest.mark.parametrize(
    "model",
    [
        {"name": "m"},
        {"name": 3},
        {"name": ""},
        {"classes": "many"},
        {"classes": 10**12},
        {"input": {"height_px": 10**9, "width_px": 8}},
        {"input": None},
        {"sha256": "a" * 10_000},
    ],
)
def test_of_a_different_service_is_refused(fake, model):
    fake.model = model if model == {"name": "m"} else fake.model | model
    with pytest.raises(EndpointError, match=r"does not describe itself.*--predictor-host"):
        fake.target()


def test_with_different_parameters_of_a_defence_is_refused(fake):
    fake.defenses["defenses"][0]["operations"][0]["parameters"]["step"] = 20
    with pytest.raises(EndpointError, match="the version that is served"):
        fake.target()


def test_lists_the_allowed_defences_for_an_unknown_one(fake):
    with pytest.raises(
        EndpointError, match=r"Unknown defence 'magic'.* http://endpoint allows fd, none\.$"
    ):
        fake.target(defense="magic")


def test_with_an_unknown_default_is_refused(fake):
    fake.defenses["default"] = "magic"
    with pytest.raises(EndpointError, match="default defence of http://endpoint is not one of"):
        fake.target()


def test_does_not_contain_a_password(fake):
    with fake.target("http://u:p@endpoint:1/") as endpoint:
        assert endpoint.url == "http://endpoint:1"


def test_has_the_chosen_defence_if_it_is_allowed(fake):
    assert fake.target(defense=" none ").description.pipeline.operations == ()


@pytest.fixture
def opened(monkeypatch):
    """The files that are opened or asked about from now on."""
    seen = []
    for module, name in ((builtins, "open"), (os, "stat"), (os, "open")):
        real = getattr(module, name)

        def watch(path, *rest, real=real, **options):
            seen.append(str(path))
            return real(path, *rest, **options)

        monkeypatch.setattr(module, name, watch)
    return seen


@pytest.mark.parametrize("text", ["quilt(bank={})", "fd+onnx(file={})", "quilt(bank={})+rdg"])
def test_cannot_choose_the_files_that_are_read(fake, text, tmp_path, opened):
    file = tmp_path / "secret"
    file.write_bytes(b"secret")
    opened.clear()
    defense = text.format(file)
    fake.defenses["default"] = defense
    fake.defenses["defenses"].append({"name": defense, "operations": []})
    with pytest.raises(EndpointError, match=r"would read a file of this machine.*--defense"):
        fake.target()
    # Other defences are not parsed, even if they are listed.
    assert fake.target(defense="none").description.defense == "none"
    assert str(file) not in opened


def test_reads_a_file_that_the_user_names(fake, bank):
    operations = Pipeline.parse(f"quilt(bank={bank})").operations
    parameters = {"bank": str(bank), "nearest": 10, "overlap": 2}
    assert str(operations[0]) == f"quilt(bank={bank})"
    fake.defenses["default"] = f"quilt(bank={bank})"
    fake.defenses["defenses"].append(
        {
            "name": f"quilt(bank={bank})",
            "operations": [{"name": "quilt", "parameters": parameters}],
        }
    )
    assert fake.target(defense=f"quilt(bank={bank})").description.pipeline.random


@pytest.fixture
def bank(tmp_path):
    from harness.reproduce.work import make_bank

    return Path(make_bank(tmp_path, None))


def test_cannot_write_to_the_terminal(fake):
    fake.defenses["default"] = "\x1b]0;owned\x07\x1b[31m"
    with pytest.raises(EndpointError) as raised:
        fake.target()
    assert str(raised.value).isprintable()
