"""Count the CPUs that this process may use, also in a container."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path


def available_cpus() -> int:
    """Return how many CPUs this process may use at once, by its affinity and its cgroup's quota.

    The result is at least 1. A quota of 2.5 CPUs counts as 2, because with a third thread the
    kernel would throttle all three.
    """
    if sys.platform == "linux":
        quota = min(cgroup_quotas(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")), default=1e9)
        return max(1, min(len(os.sched_getaffinity(0)), math.floor(quota)))
    return os.cpu_count() or 1


def cgroup_quotas(membership: Path, root: Path) -> Iterator[float]:
    """Yield the quotas, in CPUs, of a process's cgroup and of every cgroup above it.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    https://docs.kernel.org/scheduler/sched-bwc.html (version 1)

    Args:
        membership: a file like /proc/self/cgroup, with lines of ``id:controllers:path``.
        root: the folder in which the hierarchies are mounted.
    """
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "cpu" if controllers else root
        # In a container, the path may be the host's. It then does not exist below ``mount``.
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            if controllers:
                quota, period = (_read(folder / f"cpu.cfs_{x}_us") for x in ("quota", "period"))
            else:
                quota, _, period = _read(folder / "cpu.max").partition(" ")
            with contextlib.suppress(ValueError):  # the file says "max", or does not exist
                if int(quota) > 0:
                    yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
