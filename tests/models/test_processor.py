import pytest

from models.processor import int8_instructions, processor_name

X86 = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 {}\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\n"


@pytest.fixture
def cpuinfo(tmp_path):
    def write(text):
        (tmp_path / "cpuinfo").write_text(text)
        return tmp_path / "cpuinfo"

    return write


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86.format("avx512_vnni"), "AVX-512 VNNI"),
        (X86.format("avx_vnni"), "AVX-VNNI"),
        (X86.format("amx_int8 avx512_vnni"), "AMX"),
        (X86.format("avx512f"), None),
        (ARM.format("asimddp"), "ARM's dot product"),
        (ARM.format("asimdhp"), None),
        ("", None),
    ],
)
def test_instructions_are_read_from_the_kernel(cpuinfo, monkeypatch, text, expected):
    monkeypatch.setattr("sys.platform", "linux")
    assert int8_instructions(cpuinfo(text)) == expected


def test_each_processor_of_apple_has_them(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert int8_instructions(tmp_path / "missing") == "ARM's dot product"


def test_a_processor_has_a_name(cpuinfo, tmp_path):
    assert processor_name(cpuinfo(X86.format(""))) == "Some CPU @ 2 GHz"
    assert processor_name(tmp_path / "missing")
