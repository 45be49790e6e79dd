"""The loop that hands units out, with workers that only let time pass, by a clock that is only counted."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from bench.workers_sim import simulate
from fxengine.errors import StoreError
from fxengine.pipeline import driver
from fxengine.pipeline.driver import At, Begun, Died, Done, Event, Ready, Refused, State, drive
from fxengine.pipeline.unit_runner import Asked
from fxengine.pipeline.unit_sink import UnitResult


def result(unit: int, *, made: bool = True) -> UnitResult:
    return UnitResult(unit, made, {"extracted": 10, "failed": {"corrupt": 1}})


@dataclass
class Script:
    """A place whose workers do what `act` says for each unit that they get."""

    act: dict[int, str] = field(default_factory=dict)
    start_with: str = "ready"
    clock: float = 0.0
    number: int = -1
    asked: list[tuple[int, Asked]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)

    def now(self) -> float:
        return self.clock

    def start(self) -> int:
        self.number += 1
        events: dict[str, Event] = {
            "ready": Ready(self.number),
            "die": Died(self.number, "it ran out of memory"),
            "refuse": Refused(self.number, "This worker's precision is fp32, that of the run is bf16."),
        }
        self.events.append(events[self.start_with])
        return self.number

    def send(self, worker: int, asked: Asked) -> None:
        self.asked.append((worker, asked))
        self.events.append(Begun(worker, asked.unit))
        what = self.act.get(asked.unit, "done")
        if what == "done" or (what == "die unless apart" and asked.apart):
            self.events.append(Done(worker, result(asked.unit)))
        elif what.startswith("die"):
            self.events.append(Died(worker, "it died"))
        elif what == "repeat":
            self.events += [At(worker, 5, 0)] * 3

    def wait(self, seconds: float) -> list[Event]:
        events, self.events = self.events, []
        if not events:
            self.clock += seconds
        return events

    def kill(self, worker: int) -> None:
        self.killed.append(worker)

    def close(self) -> list[Event]:
        return []


def test_every_unit_is_done_once_and_counted() -> None:
    states: list[State] = []
    place = Script()

    def tell(state: State) -> bool:
        states.append(state)
        return False

    outcome = drive(place, range(7), 3, tell=tell)
    assert sorted(each.unit for each in outcome.results) == list(range(7))
    assert states[-1] == State(77, 7, 0, 3, ())
    assert (outcome.deaths, outcome.given_up) == (0, {})
    assert place.number == 2


def test_a_unit_that_has_killed_two_goes_alone_and_apart() -> None:
    place = Script({2: "die unless apart"})
    outcome = drive(place, range(6), 2)
    assert sorted(each.unit for each in outcome.results) == list(range(6))
    assert [asked.apart for _, asked in place.asked if asked.unit == 2] == [False, False, True]
    assert outcome.deaths == 2


def test_a_unit_that_kills_three_is_given_up_and_the_rest_is_done() -> None:
    outcome = drive(Script({2: "die"}), range(6), 2)
    assert sorted(each.unit for each in outcome.results) == [0, 1, 3, 4, 5]
    assert outcome.given_up == {2: "it died"}
    assert outcome.deaths == 3


def test_a_worker_that_says_nothing_new_is_taken_for_hung() -> None:
    place = Script({1: "repeat"})  # it answers, and always the same
    outcome = drive(place, range(3), 1)
    assert outcome.given_up == {1: "it finished nothing for 600 seconds"}
    assert sorted(each.unit for each in outcome.results) == [0, 2]
    assert 3 * driver.SILENCE < place.clock < 3 * driver.SILENCE + 10


def test_what_takes_long_is_handed_out_twice_once_nothing_waits() -> None:
    place = Script({0: "wait"})

    def tell(state: State) -> bool:
        if len(place.asked) > 4:
            assert place.asked[-1] == (1, Asked(0))
            place.events.append(Done(1, result(0)))
        return False

    outcome = drive(place, range(4), 2, tell=tell)
    assert sorted(each.unit for each in outcome.results) == list(range(4))
    assert outcome.doubled >= 1
    assert place.killed == []


def test_an_interrupted_run_keeps_what_is_done() -> None:
    outcome = drive(Script({0: "wait"}), range(4), 1, tell=lambda state: state.left < 4)
    assert outcome.interrupted
    outcome = drive(Script({0: "wait"}), range(4), 1, tell=lambda _: True)
    assert (outcome.interrupted, outcome.results) == (True, [])


def test_a_worker_that_refuses_ends_the_run_with_its_sentence() -> None:
    with pytest.raises(StoreError, match="precision is fp32, that of the run is bf16"):
        drive(Script(start_with="refuse"), range(4), 2)


def test_workers_that_die_before_they_begin_end_the_run() -> None:
    place = Script(start_with="die")
    with pytest.raises(StoreError, match=r"3 workers died .* the last: it ran out of memory\."):
        drive(place, range(4), 1)
    assert place.number == 2


def test_a_file_that_is_not_seen_ends_the_run() -> None:
    def check(_: UnitResult) -> None:
        raise StoreError("they do not share the folder")

    with pytest.raises(StoreError, match="do not share"):
        drive(Script(), range(4), 2, check=check)


def test_slow_and_dying_workers_cost_little() -> None:
    took, ideal, outcome = simulate(16, 256, seed=1)  # with the 64 of bench/workers_sim.py it takes seconds
    assert len(outcome.results) == 256
    assert outcome.deaths > 0
    assert ideal < took < 1.15 * ideal
