"""Runs, their checks and their storage, on a model that is small enough to be attacked quickly."""

import copy
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from defenses import Pipeline
from harness.attacks.art import IFgsm
from harness.attacks.attack import Attacker
from harness.attacks.gradient import Adaptive, Bpda
from harness.attacks.noise import RandomNoise
from harness.errors import RunError
from harness.files import write
from harness.rates import rates, scored_rounds
from harness.results import DatasetRecord, EndpointRecord, OptionsRecord, Run, image_name
from harness.runs.options import Options
from harness.runs.run import Setup, execute
from harness.surrogate.surrogate import Surrogate
from harness.types import Case
from models import GraphInput, Manifest, Scaling

SIDE = 32
OLDER = Path(__file__).parents[3] / "docs" / "robustness" / "bpda-fd+rdg.json"
OPTIONS = Options(scoring_draws=4, score_rounds=(2,), images_at_once=2, sanity_images=3)


def toy(defense):
    """A model that returns the brightest third of an image: a flip changes the answer."""
    weights = np.zeros((3, 1, SIDE, SIDE), np.float32)
    for third in range(3):
        weights[third, :, :, 11 * third : 11 * third + 10] = 0.05
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input"], ["grey"], axes=[1], keepdims=1),
            helper.make_node("Conv", ["grey", "w"], ["scores"], kernel_shape=[SIDE, SIDE]),
            helper.make_node("Flatten", ["scores"], ["logits"]),
        ],
        "thirds",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    manifest = Manifest(
        name="thirds",
        input=GraphInput(height_px=SIDE, width_px=SIDE),
        scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)),
        labels=("left", "middle", "right"),
    )
    return Surrogate(manifest, model.SerializeToString(), Pipeline.parse(defense), "cpu")


def cases(count=3):
    """Images whose middle is a little brighter. The attacker wants the left third."""
    generator = np.random.default_rng(0)
    chosen = []
    for number in range(count):
        image = generator.normal(0.5, 0.02, (SIDE, SIDE, 3)).astype(np.float32)
        image[:, 11:21] += 0.05
        chosen.append(Case(f"images/{number}.png", np.rint(image * 255) / np.float32(255), 1, 0))
    return chosen


def setup(
    folder,
    attack,
    surrogate=None,
    defense="fd(step=4,corner_step=4)+rdg(corner=top-left)",
    **changes,
):
    surrogate = surrogate or toy(defense)
    return Setup(
        attack=attack,
        cases=cases(),
        attacker=Attacker(surrogate, changes.pop("victim", surrogate), 0),
        endpoint=EndpointRecord(
            url="http://endpoint",
            model="thirds",
            model_sha256=None,
            defense=str(surrogate.defense),
            protocol="v2",
            quantized=True,
        ),
        dataset=DatasetRecord(name="toy", candidates=3, selected=3),
        folder=folder,
        copy=surrogate,
        options=replace(OPTIONS, **changes),
    )


@pytest.fixture(autouse=True)
def save_every_round(monkeypatch):
    monkeypatch.setattr("harness.runs.run.SAVE_EVERY_S", 0)


ADAPTIVE = Adaptive(rounds=10, draws=3, step=0.008)


def _without_surrogate(of):
    """Return an attacker whose surrogate must not be used."""

    class Forbidden(type(of.attacker.surrogate)):
        module = property(lambda _: pytest.fail("it searched again"))

    surrogate = copy.copy(of.attacker.surrogate)
    surrogate.__dict__.pop("module")
    surrogate.__class__ = Forbidden
    return replace(of.attacker, surrogate=surrogate)


def by_name(run):
    return {check.name: check for check in run.checks}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return execute(setup(tmp_path_factory.mktemp("runs") / "one", ADAPTIVE))


class TestARun:
    def test_succeeds_and_is_believable(self, run):
        assert rates(run, 0).acc.share == 1
        assert rates(run).asr.share > 0.9
        assert {name: check.passed for name, check in by_name(run).items()} == dict.fromkeys(
            (
                *("fixed-draw", "epsilon", "iterations", "draws"),
                *("endpoint", "gradients", "noise", "budget"),
            ),
            True,
        )

    def test_scores_the_rounds_that_were_asked_for(self, run):
        assert scored_rounds(run) == (0, 2, 10)
        assert all(len(score.classes) == 4 for image in run.images for score in image.scores)

    def test_counts_what_it_spent(self, run):
        assert [image.gradients for image in run.images] == [30, 30, 30]
        assert all(image.queries == 0 for image in run.images)

    def test_stays_in_the_budget(self, run):
        assert all(s.l2_rms <= 0.05 + 1e-6 for image in run.images for s in image.scores)
        assert all(image.outside_budget == 0 for image in run.images)

    def test_can_be_read_back(self, run, tmp_path):
        assert Run.read(run.write(tmp_path)) == run

    def test_can_be_repeated_except_for_the_draws_of_the_endpoint(self, run, tmp_path):
        again = execute(setup(tmp_path / "again", ADAPTIVE))
        assert [i.scores[-1].l2_rms for i in again.images] == [
            i.scores[-1].l2_rms for i in run.images
        ]


class TestReuse:
    """An attack on the bare model finds the same images for every endpoint."""

    ATTACK = IFgsm(iterations=3, epsilon=0.1)

    def test_posts_the_result_of_another_run_without_searching_again(self, tmp_path):
        first = execute(setup(tmp_path / "first", self.ATTACK))
        other = setup(tmp_path / "second", self.ATTACK, defense="rdg", sanity_images=0)
        second = execute(
            replace(other, reuse_from=tmp_path / "first", attacker=_without_surrogate(other))
        )
        assert [i.scores[-1].linf for i in second.images] == [
            i.scores[-1].linf for i in first.images
        ]
        assert second.images[0].gradients == first.images[0].gradients > 0
        assert second.endpoint.defense == "rdg"

    def test_refuses_the_result_of_another_attack(self, tmp_path):
        execute(setup(tmp_path / "first", self.ATTACK))
        longer = setup(tmp_path / "second", replace(self.ATTACK, iterations=4))
        with pytest.raises(RunError, match="does not hold a finished result of this attack"):
            execute(replace(longer, reuse_from=tmp_path / "first"))

    def test_an_attack_on_the_defence_searches_for_itself(self, tmp_path):
        execute(setup(tmp_path / "first", ADAPTIVE))
        other = setup(tmp_path / "second", ADAPTIVE, defense="rdg(corner=top-left)")
        second = execute(replace(other, reuse_from=tmp_path / "first"))
        assert second.images[0].gradients == 30
        first = Run.read(tmp_path / "first")
        assert second.images[0].scores[-1].l2_rms != first.images[0].scores[-1].l2_rms


class _StopError(Exception):
    pass


class TestResumption:
    def test_loses_no_round_and_has_the_same_result(self, tmp_path):
        whole = execute(setup(tmp_path / "whole", ADAPTIVE))
        done = []

        def stop_at_seven(what, rounds, of):
            done.append(rounds)
            if rounds >= 7:
                raise _StopError

        for _ in range(2):
            with pytest.raises(_StopError):
                execute(setup(tmp_path / "parts", ADAPTIVE), stop_at_seven)
        parts = execute(setup(tmp_path / "parts", ADAPTIVE))
        assert done == [2, 4, 6, 8, 10]
        assert [i.gradients for i in parts.images] == [i.gradients for i in whole.images]
        assert [i.scores[-1].l2_rms for i in parts.images] == [
            i.scores[-1].l2_rms for i in whole.images
        ]

    def test_short_rounds_are_not_all_stored(self, tmp_path, monkeypatch):
        """A long run would write its images thousands of times. Scored rounds are stored always."""
        monkeypatch.setattr("harness.runs.run.SAVE_EVERY_S", 3600)
        written, sizes = [], []

        def count(path, content):
            written.append(path.name)
            sizes.append(len(content))
            return write(path, content)

        monkeypatch.setattr("harness.runs.storage.write", count)
        attack = Bpda(rounds=60, step=0.008)
        run = execute(setup(tmp_path, attack, sanity_images=0, score_rounds=(20, 40)))
        states = [name for name in written if name.endswith(".npz")]
        assert len(states) == 3 * len(scored_rounds(run)) == 3 * 4
        # A state does not grow by more than its scores.
        whole = [size for name, size in zip(written, sizes, strict=True) if name in states]
        assert max(whole) - min(whole) < 4096

    def test_catches_up_if_only_some_images_were_stored(self, tmp_path):
        whole = execute(setup(tmp_path / "whole", ADAPTIVE))
        plan = setup(tmp_path / "parts", ADAPTIVE)
        execute(plan)
        (plan.folder / "run.json").unlink()
        next((plan.folder / "states").glob("images_0.png-*.npz")).unlink()
        again = execute(plan)
        assert [i.scores[-1].l2_rms for i in again.images] == [
            i.scores[-1].l2_rms for i in whole.images
        ]

    def test_does_not_mix_runs(self, tmp_path):
        execute(setup(tmp_path, RandomNoise()))
        with pytest.raises(
            RunError, match=r"holds another run.*attack \(.*epsilon \(0.05, not 0.02\)"
        ):
            execute(setup(tmp_path, RandomNoise(epsilon=0.02)))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"target": 2}, r"photographs \(images/1\.png \(target \(0, not 2\)\)\)"),
            ({"label": 2}, r"photographs \(images/1\.png \(label \(1, not 2\)\)\)"),
            ({"file": "other.png"}, r"its photographs\."),
        ],
    )
    def test_does_not_mix_runs_with_other_labels_or_targets(self, tmp_path, change, message):
        first = setup(tmp_path, RandomNoise())
        execute(first)
        changed = [first.cases[0], replace(first.cases[1], **change), first.cases[2]]
        with pytest.raises(RunError, match=f"holds another run, which differs in .*{message}"):
            execute(replace(first, cases=changed))

    def test_does_not_mix_runs_with_photographs_in_another_order(self, tmp_path):
        first = setup(tmp_path, RandomNoise())
        execute(first)
        with pytest.raises(RunError, match=r"photographs \(order\)"):
            execute(replace(first, cases=first.cases[::-1]))

    def test_does_not_mix_runs_with_other_checks(self, tmp_path):
        execute(setup(tmp_path, RandomNoise(), sanity_images=1))
        with pytest.raises(RunError, match=r"sanity_images \(1, not 3\)"):
            execute(setup(tmp_path, RandomNoise(), sanity_images=3))

    def test_does_not_mix_runs_of_other_versions(self, tmp_path, monkeypatch):
        execute(setup(tmp_path, RandomNoise()))
        monkeypatch.setattr("harness.runs.plan.version", lambda _: "0.0")
        with pytest.raises(RunError, match=r"versions \(.*numpy \(.*, not 0\.0\)"):
            execute(setup(tmp_path, RandomNoise()))

    def test_keeps_photographs_with_similar_names_apart(self, tmp_path):
        names = ["a/p.png", "a__p.png", "a_p.png"]
        first = setup(tmp_path, ADAPTIVE, images_at_once=1, sanity_images=0)
        cases = [replace(c, file=name) for c, name in zip(first.cases, names, strict=True)]
        run = execute(replace(first, cases=cases))
        assert len({image.scores[-1].l2_rms for image in run.images}) == 3
        for kind in ("clean", "adversarial"):
            assert len(list((tmp_path / kind).iterdir())) == 3
        for case in cases:
            kept = Image.open(tmp_path / "clean" / image_name(case.file))
            np.testing.assert_array_equal(np.asarray(kept), np.rint(case.image * 255))

    def test_measures_again_what_was_measured_on_other_photographs(self, tmp_path):
        plan = setup(tmp_path, ADAPTIVE)
        before = execute(plan)
        file = tmp_path / "checks" / "fixed-draw.json"
        kept = json.loads(file.read_text())
        kept["of"]["photographs"] = kept["of"]["photographs"][:1]
        kept["successes"] = [0.0]
        file.write_text(json.dumps(kept))
        assert by_name(execute(plan))["fixed-draw"] == by_name(before)["fixed-draw"]

    def test_stores_no_answer_of_another_model(self, tmp_path):
        class ModelHasChangedError(Exception):
            pass

        answered = []

        class Watched(Surrogate):
            def classes(self, images):
                answered.append(len(images))
                return super().classes(images)

        def confirm():
            if len(answered) >= 2:  # after the clean images of all photographs were scored
                raise ModelHasChangedError

        victim = toy("rdg(corner=top-left)")
        victim.__class__ = Watched
        plan = setup(tmp_path, ADAPTIVE, victim=victim, images_at_once=3)
        with pytest.raises(ModelHasChangedError):
            execute(replace(plan, confirm=confirm))
        assert not (tmp_path / "run.json").exists()
        for file in (tmp_path / "states").iterdir():
            with np.load(file) as arrays:
                kept = json.loads(str(arrays["kept"]))
            assert [score["round"] for score in kept["scores"]] == [0]
            assert kept["counters"]["round"] == 2

    def test_stores_the_images(self, tmp_path):
        execute(setup(tmp_path, RandomNoise()))
        for kind in ("clean", "adversarial"):
            files = {file.name for file in (tmp_path / kind).iterdir()}
            assert files == {image_name(f"images/{number}.png") for number in range(3)}


class TestEarlyStop:
    def test_stops_at_the_first_success_of_an_image(self, tmp_path):
        attack = replace(ADAPTIVE, early_stop=True)
        run = execute(setup(tmp_path, attack, sanity_images=0))
        for image in run.images:
            assert image.first_success_round is not None
            assert image.first_success_round < 10
            assert image.scores[-1].round == image.first_success_round
            assert image.queries == image.first_success_round
            assert image.gradients == 3 * image.first_success_round


class ZeroGradients(Surrogate):
    def gradients(self, *arguments, **options):
        found = super().gradients(*arguments, **options)
        return replace(found, values=np.zeros_like(found.values))


class NonFiniteGradients(Surrogate):
    def gradients(self, *arguments, **options):
        found = super().gradients(*arguments, **options)
        return replace(found, values=np.full_like(found.values, np.nan))


class GradientsElsewhere(Surrogate):
    def gradients(self, *arguments, **options):
        found = super().gradients(*arguments, **options)
        return replace(found, values=found.values[:, :, ::-1])


@dataclass(frozen=True, kw_only=True)
class FixedDraw(Adaptive):
    def advance(self, cases, states, attacker):
        return super().advance(cases, states, _SameDraws(attacker.surrogate, attacker.victim))


class _SameDraws(Attacker):
    def random(self, case, _round):
        return super().random(case, 0)


@dataclass(frozen=True, kw_only=True)
class WithoutProjection(Adaptive):
    def advance(self, cases, states, attacker):
        moved = super().advance(cases, states, attacker)
        return [
            replace(after, adversarial=np.clip(2 * after.adversarial - before.adversarial, 0, 1))
            for before, after in zip(states, moved, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class TooShort(Adaptive):
    def with_more_iterations(self, factor):
        return replace(super().with_more_iterations(10 * factor))


class _Fixed(Surrogate):
    def probabilities(self, images, draws=1):
        return np.repeat(super().probabilities(images[:1], draws), len(images), axis=0)


class TestPlantedDefects:
    """Each defect must be found by the check for it."""

    def failed(self, folder, attack, surrogate=None, **options):
        run = execute(setup(folder, attack, surrogate, **options))
        assert not run.believable
        return {name for name, check in by_name(run).items() if check.passed is False}

    def surrogate(self, kind):
        made = toy("rdg(corner=top-left)")
        made.__class__ = kind
        return made

    def test_zero_gradients(self, tmp_path):
        failed = self.failed(tmp_path, ADAPTIVE, self.surrogate(ZeroGradients))
        assert {"gradients", "fixed-draw", "epsilon"} <= failed

    def test_gradients_that_are_not_finite(self, tmp_path):
        failed = self.failed(tmp_path, ADAPTIVE, self.surrogate(NonFiniteGradients))
        assert {"gradients", "fixed-draw"} <= failed

    def test_the_same_draw_in_every_round(self, tmp_path):
        assert "draws" in self.failed(tmp_path, FixedDraw(rounds=10, draws=1, step=0.008))

    def test_an_endpoint_whose_draw_is_fixed(self, tmp_path):
        victim = self.surrogate(_Fixed)
        failed = self.failed(tmp_path, ADAPTIVE, toy("rdg(corner=top-left)"), victim=victim)
        # One draw may be far from the mean of many.
        assert {"draws"} <= failed <= {"draws", "endpoint"}

    def test_no_projection(self, tmp_path):
        attack = WithoutProjection(rounds=10, draws=3, step=0.02)
        assert "budget" in self.failed(tmp_path, attack)

    def test_too_few_iterations(self, tmp_path):
        attack = TooShort(rounds=2, draws=3, step=0.002)
        assert "iterations" in self.failed(tmp_path, attack)

    def test_noise_that_succeeds(self, tmp_path):
        class TakesNoise(Surrogate):
            calls = 0

            def classes(self, images):
                self.calls += 1
                return np.full(len(images), int(self.calls > 2), np.intp) ^ 1

        failed = self.failed(tmp_path, Adaptive(rounds=1), victim=self.surrogate(TakesNoise))
        assert "noise" in failed

    def test_a_gradient_that_points_elsewhere(self, tmp_path):
        failed = self.failed(tmp_path, ADAPTIVE, self.surrogate(GradientsElsewhere))
        assert {"fixed-draw", "epsilon"} <= failed


def test_a_run_records_the_options_that_repeat_it(tmp_path):
    run = execute(setup(tmp_path, RandomNoise(rounds=3)))
    assert run.options == OptionsRecord(score_rounds=(2, 3), images_at_once=2, sanity_images=3)
    assert Run.read(tmp_path).options == run.options


def test_checks_can_be_skipped(tmp_path):
    run = execute(setup(tmp_path, ADAPTIVE, sanity_images=0))
    skipped = {name for name, check in by_name(run).items() if check.passed is None}
    assert skipped == {"fixed-draw", "epsilon", "iterations"}


def test_a_run_of_an_older_version_has_no_options():
    run, digest = Run.read_with_digest(OLDER)
    assert run.options is None
    assert run == Run.read(OLDER)
    assert digest == hashlib.sha256(OLDER.read_bytes()).hexdigest()


def test_names_a_file_that_is_not_a_run(tmp_path):
    with pytest.raises(RunError, match="cannot be read"):
        Run.read(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(RunError, match="is not a run of format 1: format"):
        Run.read(tmp_path)


def test_the_steps_of_an_attack_on_the_bare_model_are_progress(tmp_path):
    reported = []
    attack = IFgsm(iterations=5)
    execute(
        setup(tmp_path, attack, sanity_images=0),
        lambda what, done, total: reported.append((what, done, total)),
    )
    steps = [(done, total) for what, done, total in reported if what == "steps"]
    # Two photographs at once, and then the third one.
    assert steps == [(2, 10), (4, 10), (6, 10), (8, 10), (9, 10), (10, 10)] + [
        (done, 5) for done in (1, 2, 3, 4, 4, 5)
    ]
