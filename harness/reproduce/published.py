"""The figures of the paper (Qiu et al. 2020, arXiv:2005.13712v1): its tables and Fig. 3.

The paper attacks Inception V3 with 100 photographs of ImageNet's validation set. Shares are in
[0, 1]. The ASR of clean images, which is ``nan`` in the paper, is left out.
"""

from collections.abc import Sequence

PHOTOGRAPHS = 100

Pair = tuple[float, float]
"""ACC and ASR."""

TABLE_1 = {  # l2, SSIM, accuracy
    "fd+rdg": (0.1944, 0.3093, 0.95),
    "fd+rand": (0.2411, 0.2820, 0.94),
    "rdg": (0.1903, 0.3116, 0.96),
    "rand": (0.2268, 0.3110, 0.96),
    "fd": (0.1343, 0.4310, 0.97),
    "shield": (0.0405, 0.8475, 0.94),
    "tvm": (0.0338, 0.8759, 0.95),
    "bitdepth": (0.0709, 0.7730, 0.92),
    "deflect": (0.0147, 0.9877, 0.97),
}

TABLE_2 = {  # rounds to an ASR of 10, 30, 50, 70 and 90 %
    "fd+rdg": ("14", "38", "59", "207", "7424"),
    "fd*2+rdg": ("31", "83", "538", "10000+", "10000+"),
    "fd*3+rdg": ("57", "216", "10000+", "10000+", "10000+"),
}

STANDARD = ("fgsm 0.01", "fgsm 0.03", "i-fgsm 0.01", "i-fgsm 0.03", "l-bfgs", "cw")
"""The rows of Tables V to IX, which follow the row of the clean images."""


def _column(clean: float, *pairs: Pair, rows: Sequence[str] = STANDARD) -> dict[str, Pair]:
    """Return the column of one defence, from top to bottom."""
    return {"clean": (clean, 0.0), **dict(zip(rows, pairs, strict=True))}


def _defended(clean: float, *accuracies: float, rows: Sequence[str] = STANDARD) -> dict[str, Pair]:
    """Return a column in which every ASR is 0."""
    return _column(clean, *((accuracy, 0.0) for accuracy in accuracies), rows=rows)


TABLE_3_L2 = {"i-fgsm 0.03": 0.010, "l-bfgs": 0.001, "cw": 0.016}
TABLE_3 = {
    "none": {
        "clean": (1.0, 0.0),
        "i-fgsm 0.03": (0.02, 0.95),
        "l-bfgs": (0.0, 1.0),
        "cw": (0.0, 1.0),
    },
    "fd+rand": {
        "clean": (0.92, 0.0),
        "i-fgsm 0.03": (0.88, 0.0),
        "l-bfgs": (0.92, 0.0),
        "cw": (0.86, 0.0),
    },
    "fd+rdg": {
        "clean": (0.95, 0.0),
        "i-fgsm 0.03": (0.93, 0.0),
        "l-bfgs": (0.91, 0.0),
        "cw": (0.87, 0.0),
    },
}


FD_RAND = _defended(0.92, 0.79, 0.58, 0.91, 0.88, 0.92, 0.86)
FD_RDG = _defended(0.95, 0.73, 0.53, 0.89, 0.93, 0.91, 0.87)

TABLE_5 = {  # by the side of the canvas
    300.0: _defended(0.95, 0.62, 0.50, 0.90, 0.85, 0.94, 0.88),
    350.0: _defended(0.92, 0.71, 0.54, 0.92, 0.88, 0.93, 0.85),
    400.0: FD_RAND,
    450.0: _defended(0.91, 0.75, 0.62, 0.86, 0.84, 0.93, 0.91),
    500.0: _defended(0.89, 0.72, 0.60, 0.87, 0.86, 0.85, 0.88),
}

TABLE_6 = {  # by the limit of the distortion
    0.01: _column(
        0.95, (0.70, 0.0), (0.51, 0.0), (0.96, 0.0), (0.88, 0.01), (0.95, 0.0), (0.86, 0.0)
    ),
    0.05: _defended(0.96, 0.66, 0.51, 0.05, 0.90, 0.97, 0.87),
    0.10: _defended(0.95, 0.69, 0.51, 0.93, 0.86, 0.93, 0.85),
    0.15: FD_RDG,
    0.20: _defended(0.96, 0.69, 0.55, 0.90, 0.92, 0.94, 0.83),
    0.25: _defended(0.93, 0.75, 0.55, 0.91, 0.89, 0.94, 0.83),
    0.30: _defended(0.91, 0.72, 0.62, 0.93, 0.89, 0.88, 0.84),
}

BASELINE = _column(
    1.0, (0.36, 0.0), (0.39, 0.0), (0.13, 0.79), (0.02, 0.95), (0.0, 1.0), (0.0, 1.0)
)

TABLE_7 = {
    "none": BASELINE,
    "fd": _defended(0.97, 0.64, 0.47, 0.96, 0.87, 0.97, 0.84),
    "rdg": _defended(0.96, 0.56, 0.66, 0.92, 0.75, 0.92, 0.83),
    "rand": _column(
        0.96, (0.60, 0.0), (0.60, 0.0), (0.92, 0.0), (0.86, 0.01), (0.95, 0.0), (0.86, 0.0)
    ),
    "fd+rdg": FD_RDG,
    "fd+rand": FD_RAND,
}

TABLE_8 = {  # l∞, l2, ACC, ASR
    "clean": (0.0, 0.0, 1.0, 0.0),
    "fgsm 0.01": (0.010, 0.0099, 0.36, 0.0),
    "fgsm 0.03": (0.030, 0.0294, 0.39, 0.0),
    "i-fgsm 0.01": (0.010, 0.0040, 0.13, 0.79),
    "i-fgsm 0.03": (0.030, 0.0098, 0.02, 0.95),
    "l-bfgs": (0.021, 0.0013, 0.0, 1.0),
    "cw": (0.156, 0.0162, 0.0, 1.0),
}

_UNTIL_L_BFGS = STANDARD[:-1]
TABLE_9 = {  # by the value of the canvas; the available copy of the paper ends before C&W
    0.0: _defended(0.91, 0.73, 0.55, 0.89, 0.87, 0.91, rows=_UNTIL_L_BFGS),
    0.5: _defended(0.92, 0.79, 0.58, 0.91, 0.88, 0.92, rows=_UNTIL_L_BFGS),
    1.0: _defended(0.93, 0.75, 0.60, 0.91, 0.83, 0.87, rows=_UNTIL_L_BFGS),
}

TABLE_4 = {  # the attack that the paper names, and the accuracy under it
    "rand": ("BPDA+EOT", 0.0),
    "crop": ("BPDA+EOT", 0.0),
    "jpeg": ("BPDA", 0.0),
    "tvm": ("BPDA+EOT", 0.0),
    "quilt": ("BPDA+EOT", 0.0),
    "shield": ("BPDA", 0.0),
    "deflect": ("BPDA", 0.0),
    "menet": ("BPDA+EOT", 0.13),
    "fd": ("BPDA", 0.10),
    "fd+rdg": ("BPDA+EOT", 0.58),
    "fd+rand": ("BPDA+EOT", 0.54),  # section VI-C
}

_BROKEN = ("< 5", "> 90")
FIGURE_3: dict[
    str, dict[str, tuple[str | None, str]]
] = {  # ACC and ASR after 50 rounds in percent, in the words of section VI
    "bpda": {
        "fd+rdg": ("≈ 70", "≈ 0"),
        "fd+rand": ("≈ 70", "≈ 0"),
        "rand": ("≈ 70", "≈ 0"),
        "fd": ("≈ 40", "< 20"),
        "shield": _BROKEN,
        "tvm": _BROKEN,
        "jpeg": _BROKEN,
        "bitdepth": _BROKEN,
        "deflect": _BROKEN,
    },
    "bpda-eot": {
        "fd+rdg": ("> 50", "< 10"),
        "fd+rand": ("> 50", "< 10"),
        "rand": ("< 20", "≈ 100"),
        "crop": ("< 20", "≈ 100"),
    },
    "semi-brute-force": {
        "fd+rdg": ("≈ 40", "≈ 40"),
        "fd+rand": ("≈ 20", "≈ 70"),
        "fd*2+rdg": ("≈ 55", "≈ 17"),
        "fd*3+rdg": (None, "< 10"),  # not in section VI; Table II has 10 % after 57 rounds
    },
}
