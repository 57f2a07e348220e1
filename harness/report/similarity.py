"""The similarity of two images."""

from typing import Any

from numpy.typing import NDArray


def ssim(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the structural similarity (Wang et al. 2004), the mean over the channels.

    Args:
        one: an image ``(H, W, 3)`` in [0, 1]; each side has at least 7 px.
        other: an image of the same shape.

    Returns:
        1 for equal images, and less for different ones.
    """
    from skimage.metrics import structural_similarity  # takes most of a second

    similarity = structural_similarity(one, other, channel_axis=2, data_range=1.0)  # type: ignore[no-untyped-call]
    return float(similarity)
