"""What this machine's processor is called, and which of its instructions multiply whole numbers."""

import platform
import sys
from pathlib import Path

INSTRUCTIONS = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "asimddp": "ARM's dot product",
}
"""The instructions that make INT8 fast, by Linux's names for them."""


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, such as "AMD EPYC 7B13"."""
    return _field(cpuinfo, "model name") or platform.processor() or platform.machine()


def int8_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return the instructions that make INT8 fast on this processor; None if it has none.

    They are known on Linux, and on macOS, where each ARM processor has them.
    """
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return INSTRUCTIONS["asimddp"]
    flags = f"{_field(cpuinfo, 'flags')} {_field(cpuinfo, 'Features')}".split()
    return next((name for flag, name in INSTRUCTIONS.items() if flag in flags), None)


def _field(cpuinfo: Path, key: str) -> str:
    """Return the first value of a key in Linux's description of the processors."""
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return next((value.strip() for name, value in pairs if name.strip() == key), "")
