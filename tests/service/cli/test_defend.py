import numpy as np
import pytest
from PIL import Image


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_it_writes_a_png_of_the_same_size(warpguard, dalmatian, tmp_path):
    out = tmp_path / "out.png"
    assert warpguard("defend", dalmatian, "-o", out) == ("", "")
    assert out.read_bytes().startswith(b"\x89PNG")
    assert pixels(out).shape == pixels(dalmatian).shape
    assert 5 < np.sqrt(np.mean((pixels(out) - pixels(dalmatian)) ** 2)) < 100
    warpguard("defend", dalmatian, "-o", out, "--defense", "none")
    np.testing.assert_array_equal(pixels(out), pixels(dalmatian))


@pytest.mark.parametrize(
    ("file", "defense", "code", "message"),
    [
        ("missing.jpg", "fd", 1, "missing.jpg"),
        (__file__, "fd", 1, "docs/troubleshooting.md#unsupported_media"),
        ("missing.jpg", "fd(", 2, "not a valid defence"),
    ],
)
def test_what_is_wrong_is_reported(warpguard, tmp_path, file, defense, code, message):
    out = tmp_path / "x.png"
    printed = warpguard("defend", file, "-o", out, "--defense", defense, code=code)
    assert message in printed.err
    assert not out.exists()
