from types import SimpleNamespace

import pytest

from harness.errors import RunError
from harness.report.groups import grouped, plain, value
from harness.results import Check


def test_runs_on_one_model_and_the_same_photographs_form_one_group(make_run):
    (group,) = grouped([make_run("bpda", "fd"), make_run("bpda", "none"), make_run("eot", "fd")])
    assert group.title == "lite2 · nips · 4 images"
    # The runs on one defence are next to each other.
    assert [(e.number, e.label) for e in group.entries] == [
        (1, "fd · bpda"),
        (3, "fd · eot"),
        (2, "none · bpda"),
    ]


@pytest.mark.parametrize("other", [{"model": "v3"}, {"images": 3}])
def test_other_runs_form_another_group(make_run, other):
    first, second = grouped([make_run(), make_run(**other)])
    assert first.title != second.title


def test_targets_and_the_name_of_the_folder_do_not_separate_runs(make_run):
    (group,) = grouped([make_run(), make_run(targeted=False, dataset="no targets")])
    assert group.title == "lite2 · nips, no targets · 4 images"
    assert [entry.attack for entry in group.entries] == ["bpda", "bpda, untargeted"]


def test_a_transfer_run_says_whose_gradients_it_took(make_run):
    run = make_run().model_copy(update={"surrogate": {"model": "lite0", "sha256": "cd" * 32}})
    (group,) = grouped([run])
    assert [entry.label for entry in group.entries] == ["fd+rdg · bpda, gradients of lite0"]


def test_a_defence_that_is_only_assumed_is_marked(make_run):
    run = make_run()
    assumed = SimpleNamespace(**(dict(run.endpoint) | {"defense_assumed": True}))
    (group,) = grouped([run.model_copy(update={"endpoint": assumed})])
    assert group.entries[0].label == "fd+rdg (assumed) · bpda"


def test_groups_of_the_same_name_get_different_titles(make_run):
    groups = grouped([make_run(), make_run(model_sha256="cd" * 32)])
    assert all(group.title.startswith("lite2 · nips · 4 images · set ") for group in groups)
    assert len({group.title for group in groups}) == 2


def test_other_photographs_with_the_same_names_form_another_group(make_run):
    run = make_run()
    other = run.model_copy(
        update={"images": tuple(i.model_copy(update={"sha256": "f" * 64}) for i in run.images)}
    )
    assert len(grouped([run, other])) == 2


def test_an_attack_is_named_by_the_parameters_that_differ(make_run):
    (group,) = grouped(
        [
            make_run("eot", parameters={"draws": 1, "step": 0.1}),
            make_run("eot", parameters={"draws": 30, "step": 0.1}),
            make_run("eot", "fd", parameters={"draws": 30, "step": 0.1}, targeted=False),
            make_run("bpda", parameters={"draws": 4}),
        ]
    )
    assert [entry.label for entry in group.entries] == [
        "fd+rdg · eot, draws=1",
        "fd+rdg · eot, draws=30",
        "fd+rdg · bpda",
        "fd · eot, untargeted, draws=30",
    ]


def test_a_different_budget_is_named(make_run):
    (group,) = grouped([make_run(), make_run(epsilon=0.1)])
    assert [entry.attack for entry in group.entries] == ["bpda, epsilon=0.05", "bpda, epsilon=0.1"]


def test_repetitions_get_different_names(make_run):
    runs = [make_run(), make_run(successes={0: 0, 10: 9})]
    assert [e.attack for e in grouped(runs)[0].entries] == ["bpda, run 1", "bpda, run 2"]


def test_a_run_is_passed_failed_or_unchecked(make_run):
    failed, left_out = (
        Check(name="noise", passed=False, detail=""),
        Check(name="epsilon", passed=None, detail=""),
    )
    runs = [make_run(), make_run("a", checks=(failed,)), make_run("b", checks=(left_out,))]
    (group,) = grouped([*runs, make_run("c", checks=())])
    assert [entry.state for entry in group.entries] == ["passed", "failed", *["unchecked"] * 2]


def _without_clean(image):
    return image.model_copy(update={"scores": image.scores[1:]})


def _fewer_draws(image):
    score = image.scores[-1].model_copy(update={"classes": (1,)})
    return image.model_copy(update={"scores": (*image.scores[:-1], score)})


def _without_target(image):
    return image.model_copy(update={"target": None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_clean, "clean image of images/0.png was not scored"),
        (_fewer_draws, "not every score of images/0.png has its 10 draws"),
        (_without_target, "images/0.png has no target"),
    ],
)
def test_an_incomplete_run_is_refused(make_run, change, message):
    run = make_run()
    broken = run.model_copy(update={"images": tuple(map(change, run.images))})
    with pytest.raises(RunError, match=message):
        grouped([broken])


@pytest.mark.parametrize(
    ("times", "message"),
    [(0, "no images"), (2, "twice")],
)
def test_a_run_of_no_or_repeated_images_is_refused(make_run, times, message):
    run = make_run()
    with pytest.raises(RunError, match=message):
        grouped([run.model_copy(update={"images": run.images * times})])


def test_an_empty_list_and_a_repeated_run_are_refused(make_run):
    with pytest.raises(RunError, match="at least one"):
        grouped([])
    with pytest.raises(RunError, match="'run', is the same as run 1"):
        grouped([make_run(), make_run()])


def test_plain_text_is_one_line_of_printable_characters():
    assert plain("a\x1b[31mb\n c\u202ed") == "a [31mb c d"


def test_values_are_shortened():
    assert value(0.031372549) == "0.03137"
    assert value([1, 2]) == "[1, 2]"
    assert value("x" * 50) == "x" * 39 + "…"
