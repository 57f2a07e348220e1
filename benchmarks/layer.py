"""The PyTorch layer on batches, forward and backward, and the same work image by image."""

from functools import partial

import cv2
import numpy as np
import torch

from benchmarks.timing import Result, medians_ms
from service.server.process import tune_malloc
from warpguard.torch import Defense

SIDE_PX, IMAGES, DRAWS = 299, 4, 4
SPECIFICATIONS = ("rdg", "fd+rdg", "fd+rand")
CORES = (1, 2)


def measure() -> list[Result]:
    cv2.setNumThreads(1)
    tune_malloc()
    generator = np.random.default_rng(0)
    values = generator.random((IMAGES, 3, SIDE_PX, SIDE_PX), np.float32)
    results = []
    for specification in SPECIFICATIONS:
        images = torch.from_numpy(values).requires_grad_()
        layer = Defense(specification)
        rows = layer.sample(images, DRAWS)
        run = {"one": partial(_one_by_one, layer, values, rows)}
        run |= {f"{n}": partial(_batch, layer, images, rows, n) for n in CORES}
        times = medians_ms(run, rounds=7, warm_up=1)
        name = f"{specification}, {IMAGES} images x {DRAWS} draws"
        results.append(Result(f"{name}, image by image", times["one"], "ms"))
        for n in CORES:
            ratio = times["one"] / times[f"{n}"]
            results.append(Result(f"{name}, batch on {n} threads", ratio, "x", "> 1", ratio > 1))
    return results


def _one_by_one(layer: Defense, values: np.ndarray, rows: list) -> None:
    for index, row in enumerate(rows):
        image = torch.from_numpy(values[index // DRAWS][None]).requires_grad_()
        defended = layer(image, [row])
        torch.autograd.grad(defended, image, defended.detach())


def _batch(layer: Defense, images: torch.Tensor, rows: list, threads: int) -> None:
    torch.set_num_threads(threads)
    defended = layer(images, rows)
    torch.autograd.grad(defended, images, defended.detach())
