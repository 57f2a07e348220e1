"""BentoML: a form with one file; one worker for each CPU, as its guide on workers has it."""

from pathlib import Path
from typing import Any

import bentoml

from benchmarks.rivals.classifying import Classifying


@bentoml.service(workers="cpu_count", metrics={"enabled": False})
class Classifier:
    """One copy of the model in each worker."""

    def __init__(self) -> None:
        self.classify = Classifying()

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, image: Path) -> dict[str, Any]:
        """Classify."""
        return self.classify(image.read_bytes())
