"""The command that makes a run again: it is read by the program, and means the same run."""

import shlex
from pathlib import Path

import pytest

from harness.attacks import ATTACKS, parse_attack
from harness.cli.main import parser
from harness.errors import RunError
from harness.report.evidence.command import command_of
from harness.results import OptionsRecord, Run
from harness.runs.options import Options
from harness.runs.plan import attack_record
from tests.harness.report.evidence.conftest import OTHER

PUBLISHED = sorted((Path(__file__).parents[4] / "docs" / "robustness").glob("*.json"))
DEFAULT = OptionsRecord(
    score_rounds=Options().rounds_of(parse_attack("adaptive")), images_at_once=8, sanity_images=5
)


def read(command):
    """Read a command as the program does."""
    program, *arguments = shlex.split(command)
    assert program == "warpguard-harness"
    return parser().parse_args(arguments)


@pytest.fixture
def recorded(make):
    """Makes a run with all of its attack's parameters, as the harness records them."""

    def run(specification, options=DEFAULT, **changes):
        attack = parse_attack(specification)
        made = make(attack.name, targeted=attack.targeted, **changes)
        endpoint = made.endpoint.model_copy(update={"protocol": "v2"})
        update = {"attack": attack_record(attack), "endpoint": endpoint, "options": options}
        return made.model_copy(update=update)

    return run


def with_endpoint(run, **changes):
    return run.model_copy(update={"endpoint": run.endpoint.model_copy(update=changes)})


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_the_command_of_a_published_run_means_it(file):
    run = Run.read(file)
    command, missing = command_of(run)
    options = read(command)
    attack = parse_attack(options.attack)
    recorded = attack_record(attack).parameters
    assert {key: recorded[key] for key in run.attack.parameters} == run.attack.parameters
    assert options.endpoint == run.endpoint.url
    assert options.defense == run.endpoint.defense
    assert (options.seed, options.scoring_draws) == (run.seed, run.scoring_draws)
    assert (options.limit, options.data) == (len(run.images), Path(run.dataset.name))
    assert options.unquantized is not run.endpoint.quantized
    other_model = run.surrogate and run.surrogate["sha256"] != run.endpoint.model_sha256
    assert options.source_model == (run.surrogate["model"] if other_model else None)
    scored = Options(score_rounds=options.score_rounds).rounds_of(attack)
    assert set(scored) == {score.round for image in run.images for score in image.scores} - {0}
    assert options.sanity_images == run.checks[0].measured.get("images", 0)
    assert missing == (() if run.options else ("--images-at-once",))


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_has_a_command(recorded, name):
    command, missing = command_of(recorded(name))
    assert parse_attack(read(command).attack) == parse_attack(name)
    assert missing == ()


@pytest.mark.parametrize(
    ("rounds", "asked"),
    [
        (Options().rounds_of(parse_attack("adaptive")), None),
        ((50,), (50,)),
        ((3, 7, 50), (3, 7)),
    ],
)
def test_the_scored_rounds_are_named_unless_they_are_the_default(recorded, rounds, asked):
    options = OptionsRecord(score_rounds=rounds, images_at_once=3, sanity_images=0)
    command = read(command_of(recorded("adaptive", options))[0])
    assert command.score_rounds == asked
    assert (command.images_at_once, command.sanity_images) == (3, 0)
    again = Options(score_rounds=command.score_rounds).rounds_of(parse_attack("adaptive"))
    assert again == rounds


def test_the_photographs_of_the_demonstration_have_no_option(recorded):
    run = recorded("adaptive", dataset="foolbox")
    assert read(command_of(run)[0]).data == Path("foolbox")
    images = tuple(
        image.model_copy(update={"file": f"imagenet_{number}_7.jpg"})
        for number, image in enumerate(run.images)
    )
    assert read(command_of(run.model_copy(update={"images": images}))[0]).data is None


def test_a_defence_that_is_assumed_and_a_copy_of_the_user_are_named_so(recorded):
    run = with_endpoint(
        recorded("adaptive"), protocol="oip", defense_assumed=True, model_sha256=None
    )
    command, missing = command_of(run)
    assert "--assume-defense fd+rdg" in command
    assert "--source-model" not in command
    assert missing == ("--manifest", "--model")


def test_the_model_of_another_gradient_is_named(recorded):
    assert read(command_of(recorded("adaptive", surrogate=OTHER))[0]).source_model == "lite0"


def test_hostile_names_stay_words_and_stay_in_the_folder(recorded):
    run = recorded("adaptive", name="../../$(rm -rf ~);'\n", dataset="a b; `id`")
    run = with_endpoint(run, url="http://x/\x1b[31m$(id)", protocol="v1")
    command, _ = command_of(run)
    assert command.isprintable()
    options = read(command)
    assert options.out == Path("runs/_.._rm_-rf_")
    assert options.data == Path("a b; `id`")
    assert options.endpoint == "http://x/ [31m$(id)"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "magic"},
        {"parameters": {"epsilon": "large"}},
        {"parameters": {"unknown": 1}},
        {"parameters": {"epsilon": 2.0}},
        {"parameters": {"momenta": "no numbers"}},
    ],
)
def test_an_attack_of_another_version_is_an_error(recorded, changes):
    run = recorded("adaptive")
    other = run.model_copy(update={"attack": run.attack.model_copy(update=changes)})
    with pytest.raises(RunError, match=r"its command cannot be written, .*Make the dossier with"):
        command_of(other)
