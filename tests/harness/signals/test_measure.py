"""The command on a real server: it is started, measured, and can be asked again."""

import json
import shutil

import pytest

from harness.cli.main import main
from harness.dataset import Dataset
from harness.signals import KINDS, Measurement

LIMIT_S = 1800


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of two photographs that the model gets right."""
    folder = tmp_path_factory.mktemp("data")
    rows = ["file,label"]
    for each in Dataset.demo().photographs[:2]:
        shutil.copy(each.path, folder)
        rows.append(f"{each.file},{each.label}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def signals(out, data, *options):
    command = ["signals", "--out", str(out), "--data", str(data), "--limit", "1", *options]
    return main(command)


@pytest.fixture(scope="module")
def measured(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("signals")
    assert signals(out, data, "--posts", "28", "--traffic", "again,square") == 0
    return out


def test_an_attack_raises_an_event_and_ordinary_traffic_does_not(measured):
    done = Measurement.read(measured / "signals.json")
    again, square = done.kinds
    assert (again.name, square.name) == ("again", "square")
    (client,) = again.clients
    assert (client.posts, client.skipped) == (8, {"identical": 6})
    assert (client.flagged, client.events) == ({}, ())
    assert client.squeezed == 8
    (client,) = square.clients
    # Square posts the photograph four times, and its best image again in each step.
    first = client.first["same-picture"]
    assert first >= 24
    assert client.events[0] == min(client.first.values())
    assert client.flagged["same-picture"] >= 1
    assert client.posts - client.skipped["identical"] == 20 + client.flagged["same-picture"]
    assert done.defense == "fd+rdg"
    events = [json.loads(line) for line in (measured / "events.jsonl").read_text().splitlines()]
    assert len(events) == len(client.events)
    assert events[0]["finding_info"]["analytic"]["name"] == "same-picture"


def test_the_same_command_measures_nothing_again(measured, data, monkeypatch, capsys):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("harness.signals.client.Client.post", refuse)
    assert signals(measured, data, "--posts", "28", "--traffic", "square,again") == 0
    assert f"The results: {measured}" in capsys.readouterr().out
    assert "| Square | " in (measured / "signals.md").read_text()


def test_other_options_need_another_folder(measured, data, capsys):
    assert signals(measured, data, "--posts", "29", "--traffic", "square") == 1
    assert "measured otherwise: posts (28, not 29)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--posts", "20"), "--posts must be 21 or more, not 20"),
        (("--traffic", "squares"), "Unknown traffic 'squares'. Kinds: once, again"),
        (("--admin", "http://127.0.0.1:1"), "--endpoint, --admin and --api-key-file need each"),
    ],
)
def test_wrong_options_are_refused(options, problem, data, tmp_path, capsys):
    assert signals(tmp_path / "out", data, *options) == 1
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out" / "server.log").exists()


def test_the_kinds_have_the_names_that_they_are_found_by():
    assert all(name == kind.name for name, kind in KINDS.items())
    assert all(kind.summary for kind in KINDS.values())
