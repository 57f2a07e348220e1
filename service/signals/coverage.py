"""How many answers are unsure, and how many of the others are wrong, by ``--min-agreement``.

Selective classification: El-Yaniv and Wiener, 2010. The error among the sure answers is that of
clean images. An attacker who knows the defence gets answers of full agreement.
"""

from collections.abc import Sequence

import numpy as np

from service.signals.calibration import Coverage


def coverage(agreements: Sequence[float], right: Sequence[bool | None]) -> tuple[Coverage, ...]:
    """Return a row for each agreement that an image has, in ascending order.

    Args:
        agreements: of each image, in [0, 1].
        right: whether each answer is right; None for an image without a label. Such images count
            for the share of unsure answers only.

    >>> for row in coverage([1.0, 1.0, 0.75, 0.5], [True, True, False, None]):
    ...     print(row.min_agreement, row.unsure, row.wrong)
    0.5 0.0 0.333333
    0.75 0.25 0.333333
    1.0 0.5 0.0
    """
    shares = np.array(agreements)
    labelled = np.array([each is not None for each in right])
    wrong = np.array([each is False for each in right])
    rows = []
    for least in sorted({*agreements, 1.0}):
        sure = shares >= least
        judged = int((sure & labelled).sum())
        rows.append(
            Coverage(
                min_agreement=least,
                unsure=round(1 - float(sure.mean()), 6),
                wrong=round(int((sure & wrong).sum()) / judged, 6) if judged else None,
            )
        )
    return tuple(rows)
