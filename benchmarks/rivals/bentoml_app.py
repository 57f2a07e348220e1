"""BentoML: takes a form with one file, and runs one worker for each CPU as its guide says."""

from pathlib import Path
from typing import Any

import bentoml

from benchmarks.rivals.classifying import Classifying


@bentoml.service(workers="cpu_count", metrics={"enabled": False})
class Classifier:
    """Each worker has its own copy of the model."""

    def __init__(self) -> None:
        self.classify = Classifying()

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, image: Path) -> dict[str, Any]:
        """Classify the file of the form."""
        return self.classify(image.read_bytes())
