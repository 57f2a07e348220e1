import numpy as np
import pytest
from PIL import Image

from defenses import Quilting
from service.cli.main import main


@pytest.fixture
def photographs(tmp_path):
    """A folder of three, one of them further down, and of what is no image."""
    folder = tmp_path / "photographs"
    (folder / "more").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, size in (("a.png", (40, 60)), ("b.PNG", (600, 450)), ("more/c.jpg", (30, 30))):
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def patches_of(path):
    with np.load(path) as archive:
        return archive["patches"]


def test_it_makes_a_bank_that_quilt_takes(photographs, tmp_path, capsys):
    bank = tmp_path / "bank.npz"
    assert main(["quilt-bank", str(photographs), "-o", str(bank), "--patches", "1000"]) == 0
    assert "has 1000 patches of 5x5 px from 3 images" in capsys.readouterr().out
    assert patches_of(bank).shape == (1000, 5, 5, 3)
    assert Quilting(bank=str(bank)).random
    assert bank.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank.npz", "photographs"]


def test_patches_are_those_of_the_image(tmp_path):
    image = np.arange(16 * 16 * 3).astype(np.uint8).reshape(16, 16, 3)
    Image.fromarray(image).save(tmp_path / "one.bmp")
    bank = tmp_path / "bank.npz"
    arguments = [str(tmp_path / "one.bmp"), "-o", str(bank), "--patches", "200", "--patch", "8"]
    assert main(["quilt-bank", *arguments, "--quiet"]) == 0
    places = {image[y : y + 8, x : x + 8].tobytes() for y in range(9) for x in range(9)}
    assert {patch.tobytes() for patch in patches_of(bank)} <= places


def test_large_images_are_shrunk_first(tmp_path):
    """Of a fine chequerboard only grey is left."""
    board = np.indices((800, 800)).sum(axis=0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    bank = tmp_path / "bank.npz"
    arguments = ["quilt-bank", str(tmp_path / "board.png"), "-o", str(bank), "--patches", "200"]
    assert main([*arguments, "--side", "200"]) == 0
    np.testing.assert_allclose(patches_of(bank), 127.5, atol=1)
    assert main([*arguments, "--side", "800"]) == 0
    assert set(np.unique(patches_of(bank))) == {0, 255}


def test_of_more_images_than_patches_some_are_taken(tmp_path):
    for index in range(120):
        Image.new("RGB", (16, 16), (index, 0, 0)).save(tmp_path / f"{index}.png")
    bank = tmp_path / "bank.npz"
    assert main(["quilt-bank", str(tmp_path), "-o", str(bank), "--patches", "100"]) == 0
    assert len(np.unique(patches_of(bank)[:, 0, 0, 0])) == 100


def test_a_broken_image_is_named_and_the_old_bank_stays(photographs, tmp_path, capsys):
    bank = tmp_path / "bank.npz"
    bank.write_bytes(b"old")
    (photographs / "z.jpg").write_bytes(b"\xff\xd8\xff and no more")
    assert main(["quilt-bank", str(photographs), "-o", str(bank)]) == 1
    assert "z.jpg: This JPEG file is cut short" in capsys.readouterr().err
    assert bank.read_bytes() == b"old"


def test_a_folder_without_images_is_told(tmp_path, capsys):
    assert main(["quilt-bank", str(tmp_path), "-o", str(tmp_path / "bank.npz")]) == 1
    assert "has no images: .avif, .bmp" in capsys.readouterr().err


def test_where_nothing_can_be_written(photographs, tmp_path, capsys):
    assert main(["quilt-bank", str(photographs), "-o", str(tmp_path)]) == 1
    assert "cannot be written: Is a directory" in capsys.readouterr().err


def test_the_progress_is_not_on_standard_output(photographs, tmp_path, capsys):
    assert main(["quilt-bank", str(photographs), "-o", str(tmp_path / "bank.npz")]) == 0
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.jpg"], 1, "missing.jpg: No such file"),
        ([__file__], 1, "test_quilt_bank.py: Not a supported image file"),
        ([__file__, "--patches", "99"], 2, "--patches must be between 100"),
        ([__file__, "--patch", "17"], 2, "--patch must be between 3"),
        ([__file__, "-o", "missing/bank.npz"], 1, "the folder missing does not exist"),
    ],
)
def test_what_is_wrong_is_reported(tmp_path, warpguard, arguments, code, message):
    output = ["-o", str(tmp_path / "bank.npz")]
    assert message in warpguard("quilt-bank", *output, *arguments, code=code).err
