from __future__ import annotations

import os
from pathlib import Path

import pytest

from fxengine.execute import cpus, usable_cores
from fxengine.execute.cpus import _cgroup_quota


def v2(root: Path, text: str) -> Path:
    (root / "cpu.max").write_text(text)
    return root


def v1(root: Path, quota: str, period: str) -> Path:
    (root / "cpu").mkdir()
    (root / "cpu/cpu.cfs_quota_us").write_text(quota)
    (root / "cpu/cpu.cfs_period_us").write_text(period)
    return root


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("150000 100000\n", 1.5),
        ("400000 100000\n", 4.0),
        ("5000 10000\n", 0.5),
        ("max 100000\n", None),
        ("max\n", None),
        ("words\n", None),
        ("", None),
    ],
)
def test_version_2(tmp_path: Path, text: str, cores: float | None) -> None:
    assert _cgroup_quota(v2(tmp_path, text)) == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [
        ("250000\n", "100000\n", 2.5),
        ("-1\n", "100000\n", None),
        ("0\n", "100000\n", None),
        ("words", "100000\n", None),
        ("", "", None),
    ],
)
def test_version_1(tmp_path: Path, quota: str, period: str, cores: float | None) -> None:
    assert _cgroup_quota(v1(tmp_path, quota, period)) == cores


def test_version_2_comes_first(tmp_path: Path) -> None:
    v1(tmp_path, "800000", "100000")
    assert _cgroup_quota(v2(tmp_path, "200000 100000")) == 2.0
    assert _cgroup_quota(v2(tmp_path, "max 100000")) is None


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert _cgroup_quota(tmp_path) is None
    assert _cgroup_quota(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("affinity", "quota", "cores"),
    [
        ({0, 3}, None, 2),
        ({0, 1, 2, 3, 4, 5, 6, 7}, 2.0, 2),
        ({0, 1, 2, 3, 4, 5, 6, 7}, 2.5, 3),
        ({0, 1, 2, 3, 4, 5, 6, 7}, 2.4, 2),
        ({0, 1, 2, 3}, 0.2, 1),
        ({5}, 16.0, 1),
        ({0, 1, 2, 3}, 16.0, 4),
    ],
)
def test_the_smaller_of_affinity_and_quota_counts(
    monkeypatch: pytest.MonkeyPatch, affinity: set[int], quota: float | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: affinity)
    monkeypatch.setattr(cpus, "_cgroup_quota", lambda: quota)
    assert usable_cores() == cores


def test_the_affinity_of_this_process_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "_cgroup_quota", lambda: None)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cores() == len(before)


def test_without_affinity_every_core_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(cpus, "_cgroup_quota", lambda: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert usable_cores() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
