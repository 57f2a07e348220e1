import os
import sys

import pytest

from models import available_cpus, cpus

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has cgroups")


def quota_of(tmp_path, membership, files):
    (tmp_path / "cgroup").write_text(membership)
    for name, content in files.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return min(cpus.cgroup_quotas(tmp_path / "cgroup", tmp_path / "sys"), default=None)


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        # a limit on a parent counts, and the tightest wins
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        # the path is the host's, and the container's own cgroup is mounted at the root
        ("0::/docker/abc\n", {"cpu.max": "300000 100000"}, 3.0),
        ("0::/../other\n", {"cpu.max": "300000 100000"}, 3.0),
        # version 1
        (
            "4:memory:/x\n3:cpu,cpuacct:/docker/abc\n",
            {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            4.0,
        ),
        (
            "1:cpu:/\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        # another controller does not count
        ("5:cpuset:/\n", {"cpu.max": "100000 100000"}, None),
    ],
)
def test_quota(tmp_path, membership, files, quota):
    assert quota_of(tmp_path, membership, files) == quota


@pytest.mark.parametrize(
    ("affinity", "quotas", "available"),
    [(8, [], 8), (8, [2.5], 2), (8, [0.5], 1), (1, [4.0], 1), (8, [6.0, 3.0], 3)],
)
def test_available(monkeypatch, affinity, quotas, available):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    monkeypatch.setattr(cpus, "cgroup_quotas", lambda *_: iter(quotas))
    assert available_cpus() == available


def test_this_machine():
    assert 1 <= available_cpus() <= os.cpu_count()


def test_no_such_file(tmp_path):
    assert list(cpus.cgroup_quotas(tmp_path / "none", tmp_path)) == []
