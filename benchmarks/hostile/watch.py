"""Memory and CPU time of a process and its children, from /proc."""

import os
import threading
import time
from pathlib import Path

_EACH_S = 0.025
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_STEP_S = 0.25
_BUSY = 0.2
"""The share of a core that counts as work; so does a thread that waits for a core."""


class Watch(threading.Thread):
    """Samples a process and all its descendants until it is stopped.

    Attributes:
        peak_mb: the most resident memory of all of them together.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._stopped = threading.Event()
        self.peak_mb = resident_mb(pid)

    def run(self) -> None:
        """Sample until :meth:`stop`."""
        while not self._stopped.wait(_EACH_S):
            self.peak_mb = max(self.peak_mb, resident_mb(self._pid))

    def stop(self) -> None:
        """Stop, after the process's own record of its peak has been read."""
        self._stopped.set()
        self.join()


def family(pid: int) -> list[int]:
    """List a process and all its descendants."""
    found = [pid]
    for each in found:
        for path in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += map(int, path.read_text().split())
            except OSError:  # it has ended
                continue
    return found


def resident_mb(pid: int) -> float:
    """Add up the resident memory of a process and its descendants, in MB."""
    pages = 0
    for each in family(pid):
        try:
            pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s(pid: int) -> float:
    """Add up the CPU seconds of a process, its living descendants and those that have ended."""
    ticks = 0
    for each in family(pid):
        try:
            values = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        own, ended = values[11:13], values[13:15]
        ticks += sum(map(int, own + ended))
    return ticks / _TICKS_A_SECOND


def is_runnable(pid: int) -> bool:
    """Whether a thread of a process or of its descendants runs, or waits for a core."""
    for each in family(pid):
        for path in Path(f"/proc/{each}/task").glob("*/stat"):
            try:
                if path.read_text().rpartition(")")[2].split()[0] == "R":
                    return True
            except OSError:
                continue
    return False


def seconds_until_idle(pid: int, most_s: float) -> float:
    """Wait until a process has done no work for two seconds, and return how long it went on."""
    started = time.monotonic()
    last_work, before = 0.0, cpu_s(pid)
    while (passed := time.monotonic() - started) < min(most_s, last_work + 2.0):
        time.sleep(_STEP_S)
        now = cpu_s(pid)
        if now - before > _BUSY * _STEP_S or is_runnable(pid):
            last_work = passed + _STEP_S
        before = now
    return last_work
