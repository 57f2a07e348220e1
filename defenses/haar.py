"""Wavelet denoising by BayesShrink in the Haar basis (Chang et al. 2000), in numpy."""

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

TO_YCBCR = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], np.float32
) / np.float32(255)
"""RGB to YCbCr by ITU-R BT.601. The offsets are left out, because the details do not need them."""
FROM_YCBCR = np.linalg.inv(TO_YCBCR.astype(np.float64)).astype(np.float32)
SPARED_LEVELS = 3
"""The number of coarsest levels that are not changed, as in scikit-image."""


def denoise(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Shrink the details of an image as scikit-image's ``denoise_wavelet`` does, within 1e-5.

    Each channel of YCbCr goes through the Haar transform (db1), with three levels fewer than the
    shorter side allows, and at least one. Each sub-band is soft-thresholded at
    sigma² / sqrt(its variance - sigma²), and set to zero if that root does not exist.

    Args:
        image: ``(H, W, 3)`` RGB, H, W ≥ 2.
        sigma: the standard deviation of the noise in each of R, G and B, in the image's unit.

    Returns:
        A new array ``(H, W, 3)`` that is not clipped.
    """
    levels = max(1, int(min(image.shape[:2])).bit_length() - 1 - SPARED_LEVELS)
    channels = cv2.split(cv2.transform(image, TO_YCBCR))
    variances = sigma**2 * (TO_YCBCR.astype(np.float64) ** 2).sum(axis=1)
    shrunk = [
        _shrink(channel.astype(np.float32, copy=False), float(variance), levels)
        for channel, variance in zip(channels, variances, strict=True)
    ]
    return cv2.transform(cv2.merge(shrunk), FROM_YCBCR).astype(np.float32, copy=False)


def _shrink(plane: Plane, variance: float, levels: int) -> Plane:
    """Shrink one level of the transform, and the coarser levels by recursion."""
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    sums, differences = even[0::2] + even[1::2], even[0::2] - even[1::2]
    half = np.float32(0.5)
    smooth = half * (sums[:, 0::2] + sums[:, 1::2])
    bands = (
        half * (sums[:, 0::2] - sums[:, 1::2]),
        half * (differences[:, 0::2] + differences[:, 1::2]),
        half * (differences[:, 0::2] - differences[:, 1::2]),
    )
    across, down, both = (_soft_threshold(band, variance) for band in bands)
    if levels > 1:
        smooth = _shrink(smooth, variance, levels - 1)

    out = np.empty(even.shape, np.float32)
    out[0::2, 0::2] = smooth + across + down + both
    out[0::2, 1::2] = smooth - across + down - both
    out[1::2, 0::2] = smooth + across - down - both
    out[1::2, 1::2] = smooth - across - down + both
    out *= half
    return out[:height, :width]


def _soft_threshold(band: Plane, variance: float) -> Plane:
    """Move each coefficient towards zero by the threshold of BayesShrink."""
    signal = float(np.mean(band * band)) - variance
    if signal <= 0:
        return np.zeros_like(band)
    threshold = np.float32(variance / np.sqrt(signal))
    return band - np.clip(band, -threshold, threshold)
