"""Write the ranges of the embedded models in INT8: ``python -m scripts.int8_ranges [NAME …]``.

They come with warpguard, so that no installation needs photographs. Run it again after a change to
a graph or to the photographs, and raise the recipe's revision in ``models/catalog.py``. The
photographs are those of scikit-image and scikit-learn that may be used freely. None of them is one
of those on which the accuracy is measured.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import skimage.data
import sklearn.datasets
from numpy.typing import NDArray

from defenses import Pipeline
from models import CATALOG, Manifest, calibrate_embedded, fit, to_tensor

FOLDER = Path(__file__).parents[1] / "models" / "int8"
PHOTOGRAPHS = {
    "skimage.data.astronaut": "public domain, NASA",
    "skimage.data.brick": "CC0",
    "skimage.data.camera": "CC0, Lav Varshney",
    "skimage.data.chelsea": "CC0, Stéfan van der Walt",
    "skimage.data.coffee": "CC0, Rachel Michetti",
    "skimage.data.coins": "no known copyright restrictions",
    "skimage.data.grass": "CC0",
    "skimage.data.gravel": "CC0",
    "skimage.data.hubble_deep_field": "public domain, NASA",
    "skimage.data.immunohistochemistry": "no known copyright restrictions",
    "skimage.data.retina": "CC0",
    "skimage.data.rocket": "public domain, SpaceX",
    "sklearn.datasets china.jpg": "CC BY 2.0, danielbuechele on Flickr, 6061409035",
    "sklearn.datasets flower.jpg": "CC BY 2.0, vultilion on Flickr, 6056698931",
}
DEFENSES = ("none", "fd+rdg", "fd+rand")
CROPS = 6


def main() -> None:
    """Write one file for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    embedded = [name for name, entry in CATALOG.items() if entry.embedded]
    parser.add_argument("names", nargs="*", default=embedded, metavar="NAME")
    for name in parser.parse_args().names:
        tensors = _tensors(CATALOG[name].manifest)
        ranges, (fp32_sha256, int8_sha256) = calibrate_embedded(name, tensors)
        document = {
            "model": name,
            "fp32_sha256": fp32_sha256,
            "int8_sha256": int8_sha256,
            "method": f"min-max over {CROPS} crops of each photograph, by turns behind "
            f"{', '.join(DEFENSES)}",
            "photographs": PHOTOGRAPHS,
            "ranges": ranges,
        }
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(f"{path}: {len(ranges)} ranges, INT8 {int8_sha256}")


def _tensors(manifest: Manifest) -> Iterator[NDArray[np.float32]]:
    """Yield square crops of the photographs, some mirrored, behind the defences by turns."""
    random = Random(0)
    pipelines = [Pipeline.parse(each) for each in DEFENSES]
    for number in range(CROPS):
        for photograph in _photographs():
            height, width, _ = photograph.shape
            side = round(min(height, width) * random.uniform(0.5, 1))
            top, left = random.randint(0, height - side), random.randint(0, width - side)
            crop = photograph[top : top + side, left : left + side]
            crop = crop[:, ::-1] if random.random() < 0.5 else crop
            fitted = fit(np.ascontiguousarray(crop), manifest)
            yield to_tensor(pipelines[number % len(pipelines)](fitted, random), manifest)


def _photographs() -> Iterator[NDArray[np.uint8]]:
    for name in PHOTOGRAPHS:
        if name.startswith("skimage.data."):
            image = np.asarray(getattr(skimage.data, name.removeprefix("skimage.data."))())
        else:
            image = sklearn.datasets.load_sample_image(name.split()[-1])
        yield np.stack([image] * 3, axis=-1) if image.ndim == 2 else image[..., :3]


if __name__ == "__main__":
    main()
