import io
import tracemalloc
import zipfile
from random import Random

import numpy as np
import pytest

from defenses import DefenseError, Quilting, patch_bank
from defenses.patch_bank import BankError, PatchBank


def random_patches(count=1000, side=5):
    """Return patches in clusters, like the patches of photographs."""
    generator = np.random.default_rng(0)
    base = generator.integers(40, 216, (20, 1, 1, 3))
    noise = generator.integers(-30, 31, (count, side, side, 3))
    return (base[generator.integers(0, 20, count)] + noise).astype(np.uint8)


def queries_of(patches):
    return patches.reshape(len(patches), -1).astype(np.float32)


def test_a_patch_of_the_bank_is_the_nearest_to_itself():
    patches = random_patches()
    bank = PatchBank.of(patches)
    found = bank.nearest(queries_of(patches), np.zeros(len(patches), np.intp))
    np.testing.assert_array_equal(patches[found], patches)


def test_ranks_are_by_distance_and_nearly_those_of_the_whole_bank():
    bank = PatchBank.of(random_patches(5000))
    queries = queries_of(random_patches(200))
    distances = np.stack(
        [np.linalg.norm(queries_of(bank.patches) - query, axis=1) for query in queries]
    )
    found = np.stack([bank.nearest(queries, np.full(200, rank)) for rank in range(10)])
    of_found = np.take_along_axis(distances.T, found, axis=0)
    assert (np.diff(of_found, axis=0) >= -1e-2).all()
    assert all(len(set(column)) == 10 for column in found.T)
    exact = np.sort(distances, axis=1)[:, :10].T
    assert (np.abs(of_found - exact) < 1e-2).mean() > 0.9


def test_each_query_has_its_own_rank():
    bank = PatchBank.of(random_patches())
    query = queries_of(random_patches(1))
    ranks = np.arange(100)
    together = bank.nearest(query.repeat(100, axis=0), ranks)
    alone = [bank.nearest(query, ranks[i : i + 1])[0] for i in (0, 1, 50, 99)]
    assert together[[0, 1, 50, 99]].tolist() == alone
    assert len(set(together)) == 100


def test_the_smallest_bank_and_one_of_equal_patches():
    for patches in (random_patches(100, 3), np.zeros((3000, 16, 16, 3), np.uint8)):
        bank = PatchBank.of(patches)
        found = bank.nearest(queries_of(patches[:50]), np.full(50, 99))
        assert ((found >= 0) & (found < len(patches))).all()


def test_the_index_is_the_same_each_time():
    one, other = (PatchBank.of(random_patches(3000)) for _ in range(2))
    np.testing.assert_array_equal(one.centres, other.centres)


@pytest.mark.parametrize(
    ("patches", "said"),
    [
        (np.zeros((100, 5, 5, 3), np.float32), "float32 of shape"),
        (np.zeros((100, 75), np.uint8), r"\(100, 75\)"),
        (np.zeros((100, 5, 5, 1), np.uint8), r"\(100, 5, 5, 1\)"),
        (np.zeros((100, 5, 4, 3), np.uint8), "5x4 px; they must be square"),
        (np.zeros((100, 17, 17, 3), np.uint8), "17x17 px"),
        (np.zeros((99, 5, 5, 3), np.uint8), "99 patches"),
        (np.zeros((100_001, 3, 3, 3), np.uint8), "100001 patches; it must have 100"),
    ],
)
def test_patches_that_are_not_a_valid_bank_are_refused(patches, said, tmp_path):
    with pytest.raises(BankError, match=said):
        PatchBank.of(patches)
    with (tmp_path / "bank.npz").open("wb") as file:
        patch_bank.write(file, patches)
    with pytest.raises(DefenseError, match=f"quilt: .*bank.npz h.*{said}"):
        Quilting(bank=str(tmp_path / "bank.npz"))


def test_nothing_pickled_is_read(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    with (tmp_path / "evil.npz").open("wb") as file:
        np.savez(file, patches=np.array([Evil()], object))
    with pytest.raises(DefenseError, match="holds object of shape"):
        Quilting(bank=str(tmp_path / "evil.npz"))
    assert not (tmp_path / "ran").exists()


def header(shape, dtype="|u1"):
    """The header of an array in a file, without the array."""
    file = io.BytesIO()
    parts = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, parts)
    return file.getvalue()


def refuse(path, patches, method=zipfile.ZIP_DEFLATED):
    """Write a bank, see that it is refused; returns the error and the most MB that it took."""
    with zipfile.ZipFile(path, "w", method) as archive, archive.open("patches.npy", "w") as entry:
        for piece in patches:
            entry.write(piece)
    tracemalloc.start()
    try:
        with pytest.raises(DefenseError) as caught:
            Quilting(bank=str(path))
        return str(caught.value), tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        (header((800_000, 5, 5, 3)), "has 800000 patches; it must have 100"),
        (header((100, 400, 400, 3)), "has patches of 400x400 px"),
        (header((60_000_000,)), "holds uint8 of shape (60000000,)"),
        (header((1000, 5, 5, 3), "<f8"), "holds float64 of shape"),
        (header((1000, 5, 5, 3), "|S100000"), "holds |S100000 of shape"),
        (header((1000, 5, 5, 3), "|O"), "holds object of shape"),
        (b"\x93NUMPY\2\0\xff\xff\xff\x0f", "cannot be read as a bank"),
        (b"\x93NUMPY\1\0\xff\xff{", "cannot be read as a bank"),
        (header((-1000, 5, 5, 3)), "has -1000 patches"),
        (b"", "cannot be read as a bank"),
        (header((1000, 5, 5, 3)), "has bytes after its patches"),
    ],
)
def test_the_header_is_checked_before_the_data(tmp_path, begin, said):
    """60 MB in a file of 60 kB."""
    message, most_mb = refuse(tmp_path / "bank.npz", [begin, *[bytes(10**6)] * 60])
    assert said in message
    assert most_mb < 8
    assert (tmp_path / "bank.npz").stat().st_size < 100_000


def test_a_bank_that_is_cut_short_is_refused(tmp_path):
    message, _ = refuse(tmp_path / "bank.npz", [header((1000, 5, 5, 3)), bytes(1000)])
    assert "cannot be read as a bank" in message


def test_a_bank_is_compressed_as_numpy_does_it(tmp_path):
    patches = [header((1000, 5, 5, 3)), bytes(75_000)]
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        message, _ = refuse(tmp_path / "bank.npz", patches, method)
        assert "is compressed in a way that a bank is not" in message
    with (tmp_path / "stored.npz").open("wb") as file:
        np.savez(file, patches=np.zeros((1000, 5, 5, 3), np.uint8))
    assert Quilting(bank=str(tmp_path / "stored.npz")).random


def test_a_file_without_patches_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", pixels=np.zeros(3))
    np.save(tmp_path / "one.npy", np.zeros(3))
    said = {"other.npz": "has no array 'patches'; make", "one.npy": "cannot be read as a bank"}
    for name, message in said.items():
        with pytest.raises(DefenseError, match=f"{name} {message}"):
            Quilting(bank=str(tmp_path / name))


def test_patches_are_cut_at_every_place():
    image = np.arange(12 * 11 * 3, dtype=np.uint8).reshape(12, 11, 3)
    (cut,) = patch_bank.gather([image], 3000, 5, Random(0))
    assert cut.shape == (3000, 5, 5, 3)
    assert cut.flags.c_contiguous
    places = {image[y : y + 5, x : x + 5].tobytes() for y in range(8) for x in range(7)}
    assert {patch.tobytes() for patch in cut} == places
