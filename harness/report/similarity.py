"""How alike two images look."""

from typing import Any

from numpy.typing import NDArray


def ssim(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Structural similarity (Wang et al. 2004), the mean over the channels, by scikit-image.

    Args:
        one: ``(H, W, 3)`` in [0, 1], no side below 7 px.
        other: of the same shape.

    Returns:
        1 for equal images, less for others.
    """
    from skimage.metrics import structural_similarity  # most of a second

    similarity = structural_similarity(one, other, channel_axis=2, data_range=1.0)  # type: ignore[no-untyped-call]
    return float(similarity)
