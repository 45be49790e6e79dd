"""Many workers against one process, what a plan costs, and how soon the first unit begins.

python -m bench.workers [--rounds 3] [--photos 800] [--inputs 1000000] [--units 1000] [--rates-only]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from bench.machine import RESULTS, photos, save, summarise
from bench.workers_sim import simulate
from fxengine import FeatureStore, extract
from fxengine.execute import usable_cores
from fxengine.features.parts import OpenPart, list_parts
from fxengine.pipeline import extract as extracting
from fxengine.pipeline.driver import Begun, Ready, Wanted, drive
from fxengine.pipeline.places import processes
from fxengine.pipeline.unit_plan import UnitPlan
from fxengine.pipeline.unit_runner import Asked, News, UnitRunner, from_list

_PART_ROWS = 8192


@dataclass(frozen=True)
class Ran:
    """How a run went.

    Attributes:
        whole: images/s from begin to end of the work of its processes.
        beyond: images/s from when a quarter of the photos was done to the end: what a process loads and sets up with
            its first photos is over by then, what its last ones leave a core idle for is in it.
        cpu: milliseconds of a core an image in that part, those of the driver included.
    """

    whole: float
    beyond: float
    cpu: float


@dataclass(frozen=True)
class _Mark:
    at: float  # seconds since the work began
    done: int  # photos
    cpu: float  # seconds that all processes spent so far

    def until(self, end: _Mark, whole: float) -> Ran:
        photos = end.done - self.done
        return Ran(whole, photos / (end.at - self.at), (end.cpu - self.cpu) / photos * 1e3)


def rates(rounds: int, count: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return how one process on all cores runs, and as many processes as cores, in turn: see `Ran`.

    Each is counted from begin to end of its work: what it takes until a process has loaded the backbone is told by
    `first_unit_seconds`.
    """
    workers = usable_cores()
    runs: dict[str, list[Ran]] = {"one process": [], f"{workers} processes of a core": []}
    ones, manys = runs.values()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        inputs = _linked(photos("imagenet_500"), folder / "photos", count)
        for _ in range(rounds + 1):
            shutil.rmtree(folder / "one", ignore_errors=True)
            command = [sys.executable, "-c", _ONE, str(inputs), str(folder / "one")]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            whole, *marks = json.loads(printed)
            ones.append(_Mark(*marks[0]).until(_Mark(*marks[1]), whole))
            shutil.rmtree(folder / "many", ignore_errors=True)
            manys.append(_run_of(_planned(inputs, folder / "many"), workers, count))
            print(f"load {os.getloadavg()[0]:.1f}:", ones[-1], manys[-1], flush=True)
        assert len(FeatureStore.open(folder / "many")) == len(FeatureStore.open(folder / "one")) == count
    return {
        name: {measure: _summary([getattr(ran, measure) for ran in found[1:]], measure) for measure in _MEASURES}
        for name, found in runs.items()
    }


_MEASURES = ("whole", "beyond", "cpu")


def _summary(values: list[float], measure: str) -> dict[str, float]:
    """Return best and median; of what a photo takes the least is the best."""
    if measure != "cpu":
        return summarise(values)
    return {"best": round(min(values), 2), "median": round(statistics.median(values), 2), "rounds": len(values)}


def _run_of(plan: UnitPlan, workers: int, count: int) -> Ran:
    """Return how workers run, counted from when all of them have loaded the backbone."""
    place, _ = processes.open_place(Wanted(plan.folder, plan.facts.run, workers, "", False, 0))
    ready: list[float] = []
    marks: list[_Mark] = []

    def mark(done: int) -> None:
        spent = [each.cpu_times() for each in psutil.Process().children()]
        cpu = time.process_time() + sum(each.user + each.system for each in spent)
        marks.append(_Mark(time.perf_counter() - ready[0], done, cpu))

    def tell(state: Any) -> bool:
        if state.workers == workers and not ready:
            ready.append(time.perf_counter())
        if state.done >= count / 4 and not marks:
            mark(state.done)
        return False

    with _all_at_once(place, workers, lambda: mark(count)):
        drive(place, range(len(plan)), workers, tell=tell)
    processes.Processes.close(place)
    return marks[0].until(marks[-1], count / marks[-1].at)


@contextmanager
def _all_at_once(place: Any, workers: int, end: Callable[[], None]) -> Iterator[None]:
    """Hold the first workers back until the last one is ready, and leave out what closing takes."""

    def close() -> list[Any]:
        end()
        return []

    held: list[Any] = []
    wait = place.wait

    def waiting(seconds: float) -> list[Any]:
        events = wait(seconds)
        if len(held) < workers:
            held.extend(event for event in events if isinstance(event, Ready))
            return list(held) if len(held) == workers else []
        return events  # type: ignore[no-any-return]

    with mock.patch.object(place, "wait", waiting), mock.patch.object(place, "close", close):
        yield


def _linked(source: Path, target: Path, count: int) -> Path:
    target.mkdir()
    found = sorted(path for path in source.rglob("*") if path.is_file())
    for number in range(count):
        (target / f"{number:06d}.jpg").symlink_to(found[number % len(found)])
    return target


def _planned(inputs: Path, store: Path, part_rows: int = _PART_ROWS, workers: int | None = None) -> UnitPlan:
    """Return a plan that no driver runs."""
    with mock.patch.object(extracting, "run_plan"), mock.patch.object(extracting, "update_here"):
        extract(inputs, store, precision="fp32", part_rows=part_rows, workers=workers or usable_cores())
    return UnitPlan(store)


def overhead() -> dict[str, float]:
    """Return what planning and committing a unit of 8,192 rows takes, as a share of its computing, and the seconds
    from the command to the first unit.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        inputs = _linked(photos("imagenet_500"), folder / "photos", _PART_ROWS)
        begin = time.perf_counter()
        plan = _planned(inputs, folder / "store", workers=1)  # of several each would have units of its own
        planning = time.perf_counter() - begin
        spent = {"read": 0.0, "commit": 0.0}
        runner = UnitRunner(plan, usable_cores())
        create, unit = OpenPart.create, UnitPlan.unit

        def timed_create(self: Any) -> Any:
            start = time.perf_counter()
            try:
                return create(self)
            finally:
                spent["commit"] += time.perf_counter() - start

        def timed_unit(self: Any, number: int) -> Any:
            start = time.perf_counter()
            try:
                return unit(self, number)
            finally:
                spent["read"] += time.perf_counter() - start

        begin = time.perf_counter()
        with mock.patch.object(OpenPart, "create", timed_create), mock.patch.object(UnitPlan, "unit", timed_unit):
            assert [each.made for each in runner.run(from_list([Asked(0)]), News())] == [True]
        computing = time.perf_counter() - begin
        share = (spent["read"] + spent["commit"] + planning) / computing
        return {
            "unit_seconds": round(computing, 1),
            "planning_seconds": round(planning, 2),
            "read_seconds": round(spent["read"], 3),
            "commit_seconds": round(spent["commit"], 3),
            "share": round(share, 4),
        }


def first_unit(rounds: int = 3) -> list[float]:
    """Return the seconds from the call to the first unit that a worker begins."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            inputs = _linked(photos("imagenet_500"), folder / "photos", 64)
            begin, seen = time.perf_counter(), list[float]()
            wait = processes.Processes.wait

            def watching(self: Any, seconds: float, wait: Any = wait, seen: list[float] = seen) -> Any:
                events = wait(self, seconds)
                if any(isinstance(event, Begun) for event in events):
                    seen.append(time.perf_counter())
                return events

            with mock.patch.object(processes.Processes, "wait", watching):
                extract(inputs, folder / "store", precision="fp32", part_rows=16, workers=usable_cores())
            found.append(round(seen[0] - begin, 2))
    return found


# In a process of its own, as workers are: what is loaded with the first picture counts for both.
_ONE = """
import json, sys, time
from fxengine import extract
marks = []
def mark(progress):
    if progress.done >= progress.total / 4 and not marks:
        marks.append((progress.seconds, progress.done, time.process_time()))
made = extract(sys.argv[1], sys.argv[2], precision="fp32", progress=mark)
print(json.dumps([made.images_per_second, *marks, (made.compute_seconds, made.extracted, time.process_time())]))
"""
_PLAN = """
import resource, sys, time
from pathlib import Path
from unittest import mock
from fxengine import extract
from fxengine.pipeline import extract as extracting
with mock.patch.object(extracting, "run_plan", lambda *_: None), mock.patch.object(extracting, "update_here"):
    begin = time.perf_counter()
    extract(sys.argv[1], sys.argv[2], precision="fp32", workers=2)
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def planning(count: int) -> dict[str, float]:
    """Return seconds and megabytes of a process that plans so many inputs, empty files in folders of 1,000."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "photos")
        for number in range(0, count, 1000):
            inside = folder / f"{number // 1000:05d}"
            inside.mkdir(parents=True)
            for file in range(min(1000, count - number)):
                os.close(os.open(inside / f"{file:04d}.jpg", os.O_CREAT | os.O_WRONLY))
        command = [sys.executable, "-c", _PLAN, str(folder), str(Path(temporary, "store"))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, megabytes = map(float, done.stdout.split())
        plan = UnitPlan(Path(temporary, "store"))
        return {
            "inputs": sum(plan.rows),
            "units": len(plan),
            "seconds": round(seconds, 1),
            "megabytes": round(megabytes),
            "plan_megabytes": round(sum(f.stat().st_size for f in (plan.folder / "_run").iterdir()) / 1e6, 1),
        }


def resuming(units: int) -> dict[str, float]:
    """Return the seconds that the same command takes where every unit of its plan is there."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = photos("imagenet_500")
        inputs = _linked(source, folder / "photos", units)
        plan = _planned(inputs, folder / "store", 1)
        runner = UnitRunner(plan, usable_cores())
        assert all(each.made for each in runner.run(from_list(map(Asked, range(len(plan)))), News()))
        assert len(list_parts(folder / "store")) == units
        begin = time.perf_counter()
        left = UnitPlan(folder / "store").open_units()
        looked = time.perf_counter() - begin
        begin = time.perf_counter()
        summary = extract(inputs, folder / "store", precision="fp32", part_rows=1, workers=usable_cores())
        assert (left, summary.extracted, summary.unchanged) == ([], 0, units)
        return {
            "units": units,
            "looking_seconds": round(looked, 2),
            "command_seconds": round(time.perf_counter() - begin, 2),
        }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=800)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--units", type=int, default=1000)
    parser.add_argument("--rates-only", action="store_true", help="measure the rates again, keep the rest")
    options = parser.parse_args()
    if options.rates_only:
        _save_rates(json.loads((RESULTS / "workers.json").read_text()), options.rounds, options.photos)
        return
    took, ideal, outcome = simulate(64, 2000)
    result: dict[str, Any] = {
        "simulated": {"ratio": round(took / ideal, 3), "deaths": outcome.deaths, "doubled": outcome.doubled}
    }
    print(result, flush=True)
    result["first_unit_seconds"] = first_unit()
    print(result["first_unit_seconds"], flush=True)
    result["planning"] = planning(options.inputs)
    print(result["planning"], flush=True)
    result["resuming"] = resuming(options.units)
    print(result["resuming"], flush=True)
    result["unit"] = overhead()
    print(result["unit"], flush=True)
    _save_rates(result, options.rounds, options.photos)


def _save_rates(result: dict[str, Any], rounds: int, count: int) -> None:
    result["rates"] = rates(rounds, count)
    one, many = result["rates"].values()
    for measure, what in zip(_MEASURES, ("images/s", "beyond the start", "ms of a core an image"), strict=True):
        print(what, {name: found[measure] for name, found in result["rates"].items()})
    result["ratio"] = {
        measure: {
            kind: round(_ratio(many[measure][kind], one[measure][kind], measure), 3) for kind in ("best", "median")
        }
        for measure in _MEASURES
    }
    print(result["ratio"], flush=True)
    result["load"] = round(os.getloadavg()[0], 1)
    save("workers", {**{name: value for name, value in result.items() if name != "machine"}, "photos": count})


def _ratio(many: float, one: float, measure: str) -> float:
    """Return the share of one process's images that many make in a second, or by a second of a core."""
    return one / many if measure == "cpu" else many / one


if __name__ == "__main__":
    main()
