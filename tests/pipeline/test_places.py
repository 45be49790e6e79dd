"""What every place where units run keeps to; mypy checks here that each module is a `PlaceModule`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fxengine.pipeline.driver import Wanted
from fxengine.pipeline.places import PLACES, PlaceModule, load_place, on_ray, processes

MODULES: dict[str, PlaceModule] = {"processes": processes, "ray": on_ray}


def test_the_table_names_every_place() -> None:
    assert MODULES.keys() == PLACES.keys()
    assert {load_place(name) is module for name, module in MODULES.items()} == {True}
    folder = Path(str(processes.__file__)).parent
    assert {path.stem for path in folder.glob("*.py")} == {"__init__", "processes", "on_ray"}


@pytest.mark.parametrize(("workers", "cores", "shares"), [(2, 8, [4, 4]), (3, 8, [2, 3, 3]), (4, 2, [1, 1, 1, 1])])
def test_the_cores_are_shared_out(workers: int, cores: int, shares: list[int]) -> None:
    assert [processes.share_of(slot, workers, cores) for slot in range(workers)] == shares


def test_each_worker_sees_one_of_the_gpus_that_this_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    seen = [processes.environment_of(slot, on_gpu=True)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]
    assert seen == ["3", "5", "3"]
    assert processes.environment_of(1, on_gpu=False)["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_no_worker_is_left_when_a_place_is_closed(tmp_path: Path) -> None:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    before = set(children.read_text().split())
    place, room = processes.open_place(Wanted(tmp_path, "0" * 16, 2, "", False, 0))
    assert room == 2
    numbers = [place.start(), place.start()]
    assert numbers == [0, 1]
    pids = set(children.read_text().split()) - before
    place.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
