import numpy as np
import pytest
from PIL import Image

from harness.results import (
    ADVERSARIAL,
    CLEAN,
    AttackRecord,
    Check,
    DatasetRecord,
    EndpointRecord,
    ImageResult,
    Run,
    Score,
    image_name,
)

LABEL, TARGET, OTHER = 1, 2, 3
PASSED = (
    Check(name="fixed-draw", passed=True, detail="it succeeds on 4 of 4 photographs"),
    Check(name="gradients", passed=None, detail="It takes no gradients."),
)


@pytest.fixture(scope="session")
def make_run():
    """Makes a run of four images, where ``successes[k]`` of ten draws of round k succeed."""

    def make(
        attack="bpda",
        defense="fd+rdg",
        *,
        successes=None,
        targeted=True,
        norm="l2",
        epsilon=0.05,
        parameters=None,
        model="lite2",
        model_sha256="ab" * 32,
        labels="imagenet-1k",
        dataset="nips",
        images=4,
        checks=PASSED,
        name="run",
        draws=10,
    ):
        successes = {0: 0, 5: 4, 10: 8} if successes is None else successes
        wrong = TARGET if targeted else OTHER
        return Run(
            name=name,
            created="2026-01-02T03:04:05+00:00",
            seconds=12.0,
            versions={"python": "3.12"},
            attack=AttackRecord(
                name=attack,
                summary="It attacks",
                reference="Nobody 2020",
                parameters={"targeted": targeted} | (parameters or {}),
                norm=norm,
                epsilon=epsilon,
                targeted=targeted,
            ),
            endpoint=EndpointRecord(
                url="http://127.0.0.1:1",
                model=model,
                model_sha256=model_sha256,
                defense=defense,
                protocol="oip",
                quantized=True,
                labels=labels,
            ),
            surrogate=None,
            dataset=DatasetRecord(name=dataset, candidates=9, selected=images),
            seed=0,
            scoring_draws=draws,
            images=tuple(
                ImageResult(
                    file=f"images/{i}.png",
                    sha256=f"{i:064x}",
                    label=LABEL,
                    target=TARGET if targeted else None,
                    scores=tuple(
                        Score(
                            round=round_,
                            classes=(wrong,) * n + (LABEL,) * (draws - n),
                            l2_rms=0.02 * (round_ > 0),
                            linf=8 / 255 * (round_ > 0),
                        )
                        for round_, n in successes.items()
                    ),
                    gradients=1500,
                    queries=0,
                    seconds=0.25,
                )
                for i in range(images)
            ),
            checks=checks,
        )

    return make


@pytest.fixture
def with_images(tmp_path):
    """Writes a run's images into a folder."""

    def write(run, kinds=(CLEAN, ADVERSARIAL), size=(24, 32)):
        for value, kind in enumerate(kinds, 100):
            (tmp_path / kind).mkdir()
            for image in run.images:
                pixels = np.full((*size, 3), value, np.uint8)
                Image.fromarray(pixels).save(tmp_path / kind / image_name(image.file))
        return tmp_path

    return write
