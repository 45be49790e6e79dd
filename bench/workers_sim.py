"""How near the driver comes to the ideal, with workers that only let time pass, by a clock that is only counted.

python -m bench.workers_sim [--workers 64] [--units 2000] [--slow 0.05] [--dying 0.01]
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass, field

from fxengine.pipeline.driver import At, Begun, Died, Done, Event, Outcome, Ready, drive
from fxengine.pipeline.unit_runner import Asked
from fxengine.pipeline.unit_sink import UnitResult

_ROWS = 8192  # of a unit
_START = 20.0  # seconds until a new worker has loaded the backbone


@dataclass
class _Sleeper:
    slot: int
    rows: int = 0
    units: list[int] = field(default_factory=list)


class Sleepers:
    """Workers that take their time for a unit, and die now and then: a `Place` whose time is counted."""

    def __init__(self, unit_seconds: float, factors: list[float], dying: float, seed: int) -> None:
        self._chance, self._clock, self._number, self._happened = random.Random(seed), 0.0, -1, 0
        self._unit_seconds, self._factors, self._dying = unit_seconds, factors, dying
        self._workers: dict[int, _Sleeper] = {}
        self._coming: list[tuple[float, int, Event]] = []
        self._made: set[int] = set()

    def now(self) -> float:
        """Return the seconds that were counted."""
        return self._clock

    def start(self) -> int:
        """Start a worker."""
        self._number += 1
        taken = {worker.slot for worker in self._workers.values()}
        self._workers[self._number] = _Sleeper(next(n for n in range(len(self._factors)) if n not in taken))
        self._after(_START, Ready(self._number))
        return self._number

    def send(self, worker: int, asked: Asked) -> None:
        """Give a worker a unit."""
        self._workers[worker].units.append(asked.unit)
        if len(self._workers[worker].units) == 1:
            self._begin(worker)

    def _begin(self, worker: int) -> None:
        sleeper = self._workers[worker]
        unit = sleeper.units[0]
        self._after(0.0, Begun(worker, unit))
        takes = self._unit_seconds * self._factors[sleeper.slot] * self._chance.uniform(0.8, 1.2)
        if unit in self._made:
            takes = 0.0
        for tenth in range(1, 10):
            sleeper.rows += _ROWS // 10
            self._after(takes * tenth / 10, At(worker, sleeper.rows, 0))
        if self._chance.random() < self._dying:
            self._after(takes * self._chance.random(), Died(worker, "it died"))
        else:
            counts = {"extracted": _ROWS, "failed": {}}
            self._after(takes, Done(worker, UnitResult(unit, True, counts, takes)))

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass until something happens, at most so many seconds."""
        if not self._coming or self._coming[0][0] > self._clock + seconds:
            self._clock += seconds
            return []
        self._clock, _, event = heapq.heappop(self._coming)
        worker = event.worker
        if worker not in self._workers:
            return []
        if isinstance(event, Done):
            self._workers[worker].units.pop(0)
            self._made.add(event.result.unit)
            if self._workers[worker].units:
                self._begin(worker)
        return [event]

    def _after(self, seconds: float, event: Event) -> None:
        self._happened += 1  # what happens at one time happens in turn
        heapq.heappush(self._coming, (self._clock + seconds, self._happened, event))

    def kill(self, worker: int) -> None:
        """End a worker."""
        self._workers.pop(worker, None)

    def close(self) -> list[Event]:
        """End every worker."""
        self._workers.clear()
        return []


def simulate(
    workers: int,
    units: int,
    *,
    unit_seconds: float = 300.0,
    slow: float = 0.05,
    factor: float = 4.0,
    dying: float = 0.01,
    seed: int = 1,
) -> tuple[float, float, Outcome]:
    """Return the seconds that a run takes, those that it would take ideally, and what became of it.

    Ideally the workers, slow ones included, share the units out to the last second, and none ever dies.

    Args:
        workers: how many.
        units: how many.
        unit_seconds: that a unit takes, a fifth more or less.
        slow: share of the machines that take `factor` times as long.
        factor: see there.
        dying: share of the units during which their worker dies.
        seed: of the chance.
    """
    factors = [factor] * round(workers * slow) + [1.0] * (workers - round(workers * slow))
    place = Sleepers(unit_seconds, factors, dying, seed)
    outcome = drive(place, range(units), workers)
    return place.now(), units * unit_seconds / sum(1 / each for each in factors), outcome


def main() -> None:
    """Print a table of some shapes of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--units", type=int, default=2000)
    parser.add_argument("--slow", type=float, default=0.05)
    parser.add_argument("--dying", type=float, default=0.01)
    options = parser.parse_args()
    for seed in range(5):
        took, ideal, outcome = simulate(
            options.workers, options.units, slow=options.slow, dying=options.dying, seed=seed
        )
        done, lost = len(outcome.results), len(outcome.given_up)
        print(
            f"seed {seed}: {took:.0f} s of {ideal:.0f} s ideal, {took / ideal:.3f}; {done} units done, {lost} given "
            f"up, {outcome.deaths} deaths, {outcome.doubled} doubled"
        )


if __name__ == "__main__":
    main()
