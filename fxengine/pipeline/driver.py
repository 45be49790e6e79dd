"""Hands the units of a plan out to workers, wherever those run, until every unit is done or given up.

A unit is idempotent, so nothing here has to be exact: one whose worker dies is handed out again, one that takes long is
handed out twice, and whoever comes second finds its file made. What is left out by mistake the next run does.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from fxengine.errors import StoreError
from fxengine.pipeline.stages import Stage
from fxengine.pipeline.unit_runner import Asked
from fxengine.pipeline.unit_sink import UnitResult

IN_FLIGHT = 2  # units a worker has: while one ends, the next begins
APART_AFTER = 2  # workers that a unit has killed: then it runs alone, every input decoded in a process of its own
GIVEN_UP_AFTER = 3
SILENCE = 600.0  # seconds without a finished batch, after which a worker is taken for hung
_STARTS = 3  # workers that die one after another before any could begin
_TICK = 0.5  # seconds


class Ready(NamedTuple):
    """A worker has loaded the backbone."""

    worker: int


class Begun(NamedTuple):
    """A worker reads the first input of a unit."""

    worker: int
    unit: int


class At(NamedTuple):
    """A worker has done so many rows since it began, and so many of them failed."""

    worker: int
    done: int
    failed: int


class Done(NamedTuple):
    """A worker is through with a unit."""

    worker: int
    result: UnitResult


class Stages(NamedTuple):
    """What the stages of a worker did since the last time that it told."""

    worker: int
    stages: dict[str, Stage]


class Died(NamedTuple):
    """A worker is gone, or cannot be reached; `why` is a clause."""

    worker: int
    why: str


class Refused(NamedTuple):
    """A worker will not take part, since it would make other rows; `why` is a sentence."""

    worker: int
    why: str


Event = Ready | Begun | At | Done | Stages | Died | Refused


@dataclass(frozen=True)
class Wanted:
    """What a place is asked for.

    Attributes:
        folder: the store, absolute.
        run: the run.
        workers: how many, 0 for as many as there is room for.
        address: of a cluster, "" for the one that is there.
        on_gpu: whether the run computes on GPUs.
        decoders: decoding threads of a worker; one for each of its cores where it is 0.
    """

    folder: Path
    run: str
    workers: int
    address: str
    on_gpu: bool
    decoders: int


class Place(Protocol):
    """Where workers run."""

    def now(self) -> float:
        """Return the time in seconds, from any moment on."""

    def start(self) -> int:
        """Start a worker; return its number, which no other one had."""

    def send(self, worker: int, asked: Asked) -> None:
        """Give a worker a unit; one that is gone says so in an event."""

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened, at the latest after so many seconds."""

    def kill(self, worker: int) -> None:
        """End a worker, be it there or not; nothing is heard of it any more."""

    def close(self) -> list[Event]:
        """End every worker; return what was heard of them while they ended."""


@dataclass(frozen=True)
class State:
    """How far a run is.

    Attributes:
        done: rows done, those of units in work included.
        failed: of these, error rows.
        left: units that are not done.
        workers: workers that have loaded the backbone and are alive.
        given_up: units that were given up.
    """

    done: int
    failed: int
    left: int
    workers: int
    given_up: tuple[int, ...]


@dataclass
class Outcome:
    """What became of the units.

    Attributes:
        results: of every unit that is done, in the order in which they were.
        given_up: unit -> why.
        stages: stage -> what all workers' threads did.
        deaths: workers that died, or were ended since they hung.
        doubled: units that were handed out twice since they took long.
        interrupted: whether the run was stopped before its end.
    """

    results: list[UnitResult] = field(default_factory=list)
    given_up: dict[int, str] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    deaths: int = 0
    doubled: int = 0
    interrupted: bool = False


@dataclass
class _Worker:
    since: float  # when it was last heard of, or got something to do
    is_ready: bool = False
    units: dict[int, bool] = field(default_factory=dict)  # in the order given -> whether begun
    apart: bool = False
    at: tuple[int, int] = (0, 0)
    counted: tuple[int, int] = (0, 0)


def drive(
    place: Place,
    units: Sequence[int],
    workers: int,
    *,
    tell: Callable[[State], bool] = lambda _: False,
    check: Callable[[UnitResult], None] = lambda _: None,
) -> Outcome:
    """Run units on workers.

    Args:
        place: where these run; it is closed in the end.
        units: the numbers of the units, in the order in which they are handed out.
        workers: how many at once.
        tell: called again and again; True stops the run.
        check: called with each result; raises StoreError where a worker's file is not there.

    Raises:
        StoreError: a worker refuses to take part, or none can begin.
    """
    driver = _Driver(place, units, workers, check)
    try:
        driver.run(tell)
    except KeyboardInterrupt:
        driver.outcome.interrupted = True
    finally:
        for event in place.close():
            if isinstance(event, Stages):
                driver.take(event)
    return driver.outcome


class _Driver:
    def __init__(self, place: Place, units: Sequence[int], workers: int, check: Callable[[UnitResult], None]) -> None:
        self.outcome = Outcome()
        self._place, self._check = place, check
        self._waiting, self._left = deque(units), set(units)
        self._wanted = min(workers, len(units))
        self._workers: dict[int, _Worker] = {}
        self._kills: Counter[int] = Counter()
        self._failed_starts = 0
        self._counted = (0, 0)  # rows of units that are done, and error rows among them

    def run(self, tell: Callable[[State], bool]) -> None:
        while self._left:
            while len(self._workers) < min(self._wanted, len(self._left)):
                self._workers[self._place.start()] = _Worker(self._place.now())
            self._hand_out()
            for event in self._place.wait(_TICK):
                self.take(event)
            self._end_hung()
            if tell(self._state()):
                self.outcome.interrupted = True
                return

    def take(self, event: Event) -> None:
        """Take what happened."""
        if isinstance(event, Stages):
            for name, stage in event.stages.items():
                total = self.outcome.stages.setdefault(name, Stage(0))
                total.threads = max(total.threads, stage.threads)
                total.busy += stage.busy
                total.starved += stage.starved
                total.blocked += stage.blocked
            return
        worker = self._workers.get(event.worker)
        if isinstance(event, Refused):
            raise StoreError(event.why)
        if worker is None:
            return
        # One that hangs in native code may still answer, and says what it said.
        if not isinstance(event, At) or worker.at != (event.done, event.failed):
            worker.since = self._place.now()
        if isinstance(event, Ready):
            worker.is_ready, self._failed_starts = True, 0
        elif isinstance(event, Begun):
            worker.units[event.unit] = True
        elif isinstance(event, At):
            worker.at = (event.done, event.failed)
        elif isinstance(event, Done):
            self._take_result(worker, event.result)
        else:
            self._lose(event.worker, event.why)

    def _take_result(self, worker: _Worker, result: UnitResult) -> None:
        worker.units.pop(result.unit, None)
        worker.apart = worker.apart and bool(worker.units)
        failed = sum(result.counts["failed"].values())
        rows = result.counts["extracted"] + failed
        if result.made:
            worker.counted = (worker.counted[0] + rows, worker.counted[1] + failed)
        if result.unit in self._left:
            self._check(result)
            self._left.remove(result.unit)
            self.outcome.results.append(result)
            self._counted = (self._counted[0] + rows, self._counted[1] + failed)
            if result.unit in self._waiting:
                self._waiting.remove(result.unit)

    def _hand_out(self) -> None:
        """Give what waits to those that have least; where nothing waits, give what takes long to those that idle."""
        for fewest in range(IN_FLIGHT):
            for number, worker in self._workers.items():
                if self._waiting and worker.is_ready and len(worker.units) == fewest and not worker.apart:
                    self._give_next(number, worker)
        if self._waiting:
            return
        for number, worker in self._workers.items():
            if worker.is_ready and not worker.units:
                late = self._latest()
                if late is None:
                    return
                self.outcome.doubled += 1
                self._give(number, worker, late)

    def _give_next(self, number: int, worker: _Worker) -> None:
        unit = self._waiting[0]
        if self._is_suspect(unit) and worker.units:
            return  # it goes alone
        self._waiting.popleft()
        self._give(number, worker, unit)

    def _is_suspect(self, unit: int) -> bool:
        return self._kills[unit] >= APART_AFTER

    def _give(self, number: int, worker: _Worker, unit: int) -> None:
        if not worker.units:
            worker.since = self._place.now()
        worker.units[unit] = False
        worker.apart = self._is_suspect(unit)
        self._place.send(number, Asked(unit, worker.apart))

    def _latest(self) -> int | None:
        """Return the unit that is best handed out a second time: one that waits behind another, else the oldest."""
        held: dict[int, list[bool]] = {}
        for worker in sorted(self._workers.values(), key=lambda each: each.since):
            for place, (unit, _) in enumerate(worker.units.items()):
                held.setdefault(unit, []).append(place > 0)
        left = {unit: places for unit, places in held.items() if unit in self._left and not self._is_suspect(unit)}
        single = {unit: places for unit, places in left.items() if len(places) == 1}
        return next((unit for behind in (True, False) for unit, places in single.items() if places[0] is behind), None)

    def _end_hung(self) -> None:
        now = self._place.now()
        for number, worker in [*self._workers.items()]:
            if worker.is_ready and worker.units and now - worker.since > SILENCE:
                self._place.kill(number)
                self._lose(number, f"it finished nothing for {SILENCE:.0f} seconds")

    def _lose(self, number: int, why: str) -> None:
        """Take what a worker had back, and blame what it had begun."""
        self._place.kill(number)
        worker = self._workers.pop(number)
        self.outcome.deaths += 1
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS:
                raise StoreError(f"{_STARTS} workers died one after another before they could begin, the last: {why}.")
        held = {unit for other in self._workers.values() for unit in other.units}
        for unit, begun in reversed(worker.units.items()):
            if unit not in self._left:
                continue
            self._kills[unit] += begun
            if self._kills[unit] >= GIVEN_UP_AFTER:
                self._left.remove(unit)
                self.outcome.given_up[unit] = why
            elif unit not in held and unit not in self._waiting:
                # A suspect goes last: it may take others down, and takes long.
                (self._waiting.append if self._is_suspect(unit) else self._waiting.appendleft)(unit)

    def _state(self) -> State:
        done, failed = self._counted
        for worker in self._workers.values():
            done += max(0, worker.at[0] - worker.counted[0])
            failed += max(0, worker.at[1] - worker.counted[1])
        alive = sum(worker.is_ready for worker in self._workers.values())
        return State(done, failed, len(self._left), alive, tuple(self.outcome.given_up))
