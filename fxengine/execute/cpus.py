"""How many processor cores this process may really use."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_most: list[int] = []  # of the cores, what this process may use, where it shares them with others of its kind


def take_share(cores: int) -> None:
    """Use at most so many cores from now on: the others belong to processes that work beside this one."""
    _most[:] = [max(1, cores)]


def usable_cores() -> int:
    """Return the cores left by affinity, by the control group's quota and by `take_share`, at least 1."""
    return min(_cores(), *_most) if _most else _cores()


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, int(quota + 0.5)) if quota else cores)


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the cores that the control group allows, or None where it sets no limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota = (root / "cpu/cpu.cfs_quota_us").read_text()
        period = (root / "cpu/cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None


def processor() -> tuple[str, ...]:
    """Return what the speed of a net depends on: the processor's name, its vector instructions and the cores."""
    name, flags = platform.processor(), ""
    try:
        lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
        facts = {key.strip(): value.strip() for key, value in lines}
        name, flags = facts.get("model name", name), facts.get("flags", facts.get("Features", ""))
    except OSError:
        pass
    vector = sorted(flag for flag in flags.split() if flag.startswith(("avx", "amx", "fma", "f16c", "asimd", "sve")))
    return name, " ".join(vector), f"{usable_cores()} cores"
