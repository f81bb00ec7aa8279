from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from scanside.backends.cores import has_quota, usable_cores

if TYPE_CHECKING:
    from pathlib import Path


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def siblings(*groups: str, name: str = "thread_siblings_list") -> dict[str, str]:
    """Topology files of logical processors 0, 1, ... with the siblings that each names."""
    return {
        f"sys/devices/system/cpu/cpu{n}/topology/{name}": f"{group}\n"
        for n, group in enumerate(groups)
    }


FOUR = siblings("0", "1", "2", "3")


def test_here_it_is_at_least_one_and_at_most_the_affinity() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


def test_hyper_threads_of_a_core_count_once(tmp_path: Path) -> None:
    root = tree(tmp_path, siblings("0,2", "1,3", "0,2", "1,3"))
    assert usable_cores(root, range(4)) == 2
    assert usable_cores(root, {0, 2}) == 1
    assert usable_cores(root, {0, 1, 2}) == 2


def test_newer_kernels_name_the_siblings_otherwise(tmp_path: Path) -> None:
    assert usable_cores(tree(tmp_path, siblings("0-1", "0-1", name="core_cpus_list")), {0, 1}) == 1


def test_without_a_topology_every_processor_is_a_core(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, range(3)) == 3


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 4), ("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1),
     ("900000 100000", 4), ("", 4), ("what is this", 4), ("-1 100000", 4), ("100000 0", 4)],
)  # fmt: skip
def test_quota_of_version_2(tmp_path: Path, limit: str, cores: int) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": limit}
    assert usable_cores(tree(tmp_path, FOUR | files), range(4)) == cores


def test_the_least_quota_of_all_groups_around_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/a/b/c\n",
        "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
        "sys/fs/cgroup/a/b/cpu.max": "300000 100000\n",
        "sys/fs/cgroup/a/b/c/cpu.max": "max 100000\n",
        "sys/fs/cgroup/other/cpu.max": "100000 100000\n",
    }
    assert usable_cores(tree(tmp_path, FOUR | files), range(4)) == 2


def test_a_container_that_sees_the_paths_of_its_host(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}
    assert usable_cores(tree(tmp_path, FOUR | files), range(4)) == 1


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("200000", 2), ("10000", 1)])
def test_quota_of_version_1(tmp_path: Path, mount: str, quota: str, cores: int) -> None:
    folder = f"sys/fs/cgroup/{mount}/box"
    files = {
        "proc/self/cgroup": "12:memory:/box\n4:cpu,cpuacct:/box\n0::/\n",
        f"{folder}/cpu.cfs_quota_us": quota,
        f"{folder}/cpu.cfs_period_us": "100000\n",
    }
    assert usable_cores(tree(tmp_path, FOUR | files), range(4)) == cores


def test_a_quota_below_the_affinity_is_told(tmp_path: Path) -> None:
    limits = {"free": "max 100000", "small": "50000 100000"}
    for name, limit in limits.items():
        folder = tmp_path / name / "sys/fs/cgroup"
        folder.mkdir(parents=True)
        (folder / "cpu.max").write_text(limit)
    assert has_quota(tmp_path / "small")
    assert not has_quota(tmp_path / "free")
