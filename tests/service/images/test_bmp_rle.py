"""Run-length coded BMP files, compared with their rows."""

import numpy as np
import pytest

from service.errors import BadImageError
from service.images.decode import decode


def test_run_lengths_of_8_bits(files, read):
    bottom = b"\3\1\0\4\2\3\4\5\1\6\0\0"  # a run, a literal, a run
    short = b"\0\3\7\7\7\0\0\0"  # a padded literal, and pixels that are left out
    skipped = b"\0\2\2\1\2\1\0\1"  # two pixels on and one row up, and a run
    codes = bottom + short + skipped
    palette = [files.gif_colour(i) for i in range(8)]
    top = [[0] * 8] * 4 + [[0, 0, 1, 1, 0, 0, 0, 0], [0] * 8]
    expected = np.array(palette)[[*top, [7, 7, 7, 0, 0, 0, 0, 0], [1, 1, 1, 2, 3, 4, 5, 6]]]
    np.testing.assert_array_equal(read(files.bmp(codes, 8, 8, 8, palette)), expected)


def test_run_lengths_of_4_bits(files, read):
    codes = b"\5\x12\0\3\x34\x50\0\0" + b"\x08\x77\0\0" * 6 + b"\x08\x66"
    palette = [files.gif_colour(i) for i in range(8)]
    rows = [[6] * 8] + [[7] * 8] * 6 + [[1, 2, 1, 2, 1, 3, 4, 5]]
    expected = np.array(palette)[rows]
    np.testing.assert_array_equal(read(files.bmp(codes, 8, 8, 4, palette)), expected)


def test_runs_beyond_a_row_are_cut_and_missing_rows_are_refused(files, read):
    palette = [(i, i, i) for i in range(8)]
    rows = b"\xff\3\xff\4\0\0" * 8
    assert (read(files.bmp(rows, 8, 8, 8, palette)) == 3).all()
    with pytest.raises(BadImageError, match="lacks pixels"):
        read(files.bmp(rows[:-12], 8, 8, 8, palette))


@pytest.mark.parametrize("bits", [8, 4])
def test_random_codes_are_pixels_or_one_of_our_errors(files, bits):
    rng = np.random.default_rng(bits)
    palette = [(i, i, i) for i in range(16)]
    for _ in range(50):
        codes = rng.integers(0, 12, 400, np.uint8).tobytes()
        body = files.bmp(codes, 16, 16, bits, palette)
        try:
            decoded = decode(body, max_pixels=1000)
        except BadImageError as error:
            reason = error.message
        else:
            assert decoded.shape == (16, 16, 3)
            continue
        assert "lacks pixels" in reason
