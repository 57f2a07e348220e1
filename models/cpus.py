"""How many CPUs there are to use, in a container too."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path


def available_cpus() -> int:
    """How many CPUs this process may use at once, at least 1: its affinity and its cgroup's quota.

    A quota of 2.5 CPUs counts as 2: a third thread would have all three wait, throttled.
    """
    if sys.platform == "linux":
        quota = min(cgroup_quotas(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")), default=1e9)
        return max(1, min(len(os.sched_getaffinity(0)), math.floor(quota)))
    return os.cpu_count() or 1


def cgroup_quotas(membership: Path, root: Path) -> Iterator[float]:
    """The CPU quotas, in CPUs, of a process's cgroup and of all those that it is in.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    https://docs.kernel.org/scheduler/sched-bwc.html (version 1)

    Args:
        membership: a file as /proc/self/cgroup: lines of ``id:controllers:path``.
        root: where the hierarchies are mounted.
    """
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "cpu" if controllers else root
        # In a container the path may be the host's, and then not exist under what it has mounted.
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            if controllers:
                quota, period = (_read(folder / f"cpu.cfs_{x}_us") for x in ("quota", "period"))
            else:
                quota, _, period = _read(folder / "cpu.max").partition(" ")
            with contextlib.suppress(ValueError):  # "max", or no such file
                if int(quota) > 0:
                    yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
