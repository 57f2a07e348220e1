"""The benchmarks that no other test runs still fit the code that they measure."""

from importlib.util import find_spec
from pathlib import Path

from benchmarks.rivals.classifying import Classifying

PHOTOGRAPH = Path(find_spec("foolbox").origin).parent / "data" / "imagenet_16_251.jpg"


def test_the_rivals_classify_a_photograph():
    best = Classifying()(PHOTOGRAPH.read_bytes())["predictions"][0]
    assert best["label"] == "dalmatian"
