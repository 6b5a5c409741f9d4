"""The limit that counts is the tightest of all groups that a process is in, whichever version has it."""

import os
from pathlib import Path

import pytest

from sweep import machine


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 25_000_000}[name])
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 100000000 kB\nMemAvailable: 90000000 kB\n")
    return tmp_path / "proc" / "self"


def tree(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_version_2_as_slurm_and_systemd_nest_it(proc: Path, tmp_path: Path) -> None:
    top = tmp_path / "sys"
    (proc / "cgroup").write_text("0::/system.slice/slurmstepd.scope/job_7/step_0\n")
    (proc / "mountinfo").write_text(f"30 1 0:27 / {top} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n")
    job = top / "system.slice/slurmstepd.scope/job_7"
    tree(top, {"cpu.stat": "usage_usec 1\nthrottled_usec 5\n"})
    tree(job, {"memory.max": "8000000000\n", "memory.current": "3000000000\n", "cpu.max": "1600000 100000\n"})
    tree(job, {"memory.stat": "anon 5\ninactive_file 1000000000\n", "cpu.stat": "throttled_usec 2500000\n"})
    tree(job / "step_0", {"memory.max": "max\n", "memory.current": "1\n", "cpu.max": "max 100000\n"})
    assert machine.memory() == 8_000_000_000
    assert machine.available_memory() == 6_000_000_000  # the page cache can be had back
    assert machine.cpus() == 16
    assert machine.throttled_seconds() == 2.500005
    tree(top / "system.slice", {"cpu.max": "250000 100000\n", "memory.max": "4000000000\n"})
    assert (machine.cpus(), machine.memory()) == (2, 4_000_000_000)


def test_version_1_has_each_controller_elsewhere(proc: Path, tmp_path: Path) -> None:
    (proc / "cgroup").write_text("4:memory:/slurm/job_7\n2:cpu,cpuacct:/slurm/job_7\n0::/\n")
    mounts = [
        f"35 31 0:32 / {tmp_path}/memory rw - cgroup cgroup rw,memory",
        f"32 31 0:29 / {tmp_path}/cpu rw - cgroup cgroup rw,cpu,cpuacct",
        f"41 31 0:38 / {tmp_path}/unified rw - cgroup2 cgroup2 rw",
    ]
    (proc / "mountinfo").write_text("\n".join(mounts) + "\n")
    tree(tmp_path / "memory", {"memory.limit_in_bytes": "9223372036854771712\n"})
    tree(tmp_path / "memory/slurm", {"memory.limit_in_bytes": "2000000000\n", "memory.usage_in_bytes": "500000000\n"})
    tree(tmp_path / "memory/slurm/job_7", {"memory.limit_in_bytes": "9223372036854771712\n"})
    tree(tmp_path / "cpu/slurm", {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"})
    tree(tmp_path / "cpu/slurm/job_7", {"cpu.cfs_quota_us": "150000\n", "cpu.cfs_period_us": "100000\n"})
    tree(tmp_path / "cpu/slurm/job_7", {"cpu.stat": "nr_throttled 3\nthrottled_time 1500000000\n"})
    assert machine.memory() == 2_000_000_000
    assert machine.available_memory() == 1_500_000_000
    assert machine.cpus() == 1  # of one and a half
    assert machine.throttled_seconds() == 1.5


def test_a_container_sees_its_group_as_the_top(proc: Path, tmp_path: Path) -> None:
    """Without a namespace of its own it is told the path on the host, of which it has only the end mounted."""
    (proc / "cgroup").write_text("0::/docker/abc/inner\n")
    (proc / "mountinfo").write_text(f"30 1 0:27 /docker/abc {tmp_path}/sys ro - cgroup2 cgroup rw\n")
    tree(tmp_path / "sys", {"memory.max": "1000000\n", "memory.current": "2000000\n"})
    tree(tmp_path / "sys/inner", {"cpu.max": "50000 100000\n"})
    assert (machine.memory(), machine.available_memory(), machine.cpus()) == (1_000_000, 0, 1)


def test_where_there_are_none_the_machine_is_the_limit(proc: Path) -> None:
    assert (machine.memory(), machine.available_memory()) == (102_400_000_000, 92_160_000_000)
    assert (machine.cpus(), machine.throttled_seconds()) == (16, 0.0)
