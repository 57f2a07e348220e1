"""Compare the defences' time with Inception V3's on the same core.

The weights are random, because the time does not depend on them.
"""

from random import SystemRandom

import numpy as np
from numpy.typing import NDArray

from benchmarks.defenses import photograph
from benchmarks.timing import Result, medians_ms, on_one_core
from defenses import Pipeline
from models import Classifier, Manifest, Scaling, to_tensor
from models.graph import Shape
from models.inception_v3 import build_inception_v3

SPECIFICATIONS = ("fd+rdg", "fd+rand")
CLASSES = 1000


def random_inception_v3() -> Classifier:
    """Return Inception V3 with random weights, which runs on one thread."""
    generator = np.random.default_rng(0)

    def weights(name: str, shape: Shape) -> NDArray[np.float64]:
        size = [CLASSES if side is None else side for side in shape]
        if name.endswith("running_var"):
            return np.ones(size)
        return generator.normal(0, 1 / np.sqrt(max(1, np.prod(size[1:]))), size)

    graph = build_inception_v3(weights, average_pool_counts_padding=True)
    scaling = Scaling(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
    manifest = Manifest(name="random", scaling=scaling)
    return Classifier(manifest, graph.SerializeToString(), device="cpu", threads=1)


def measure() -> list[Result]:
    """Time the defences and the model, taking turns."""
    on_one_core()
    rng = SystemRandom()
    image = photograph()
    classifier = random_inception_v3()
    tensor = to_tensor(image, classifier.manifest)[None]
    pipelines = {text: Pipeline.parse(text) for text in SPECIFICATIONS}
    ms = medians_ms(
        {
            "Inception V3, one image": lambda: classifier.run(tensor),
            **{text: lambda p=p: p(image, rng) for text, p in pipelines.items()},  # type: ignore[misc]
        },
        rounds=40,
    )
    results = [Result(name, value, "ms") for name, value in ms.items()]
    for text in SPECIFICATIONS:
        share = 100 * ms[text] / ms["Inception V3, one image"]
        results.append(Result(f"{text} / Inception V3", share, "%", "<= 10 %", share <= 10))
    return results
