"""What a run over many workers says of itself while it goes on and when it has ended, for `fxengine info`."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fxengine.errors import StoreError, explained
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.features.run_folder import RUN_FOLDER
from fxengine.pipeline.unit_plan import open_plan
from fxengine.storage import shown
from fxengine.store_files import delete, making, names, read_short

_FORMAT = 1
_LONGEST = 1 << 20  # bytes
_EVERY = 2.0  # seconds between two notes
_OLD = 60.0  # seconds after which whoever wrote one is taken for dead


@dataclass(frozen=True)
class RunState:
    """How far one process that drives workers, or works alone on its share, has come.

    Attributes:
        run: the run.
        name: "driver", or which share it has.
        host: its machine.
        pid: its process.
        workers: workers alive.
        units: units that it has done.
        rows: rows that they have.
        failed: of these, error rows.
        given_up: units that were given up.
        ended: whether it has ended.
        seconds: since it began.
        at: when it said so, in seconds since 1970.
    """

    run: str
    name: str
    host: str
    pid: int
    workers: int
    units: int
    rows: int
    failed: int
    given_up: list[int]
    ended: bool
    seconds: float
    at: float


class StateNote:
    """Writes how far a process is, now and then."""

    def __init__(self, folder: Path, run: str, name: str) -> None:
        self._path = folder / RUN_FOLDER / f"state-{name}.json"
        self._run, self._name, self._begin, self._last = run, name, time.monotonic(), 0.0

    def write(
        self, *, workers: int, units: int, rows: int, failed: int, given_up: list[int], ended: bool = False
    ) -> None:
        """Note it, unless that was done a moment ago; a disk that has no room for it stops nothing."""
        now = time.monotonic()
        if not ended and now - self._last < _EVERY:
            return
        self._last = now
        state = RunState(
            self._run,
            self._name,
            socket.gethostname(),
            os.getpid(),
            workers,
            units,
            rows,
            failed,
            given_up,
            ended,
            round(now - self._begin, 1),
            time.time(),
        )
        with suppress(OSError), making(self._path) as temporary:
            temporary.write_text(json.dumps({"format": _FORMAT, **asdict(state)}))


def forget_states(folder: Path) -> None:
    """Remove what earlier runs said."""
    with suppress(OSError):  # a server that does not answer is heard of by what follows
        for path in _notes(folder):
            delete(path)


def run_facts(folder: Path) -> dict[str, Any]:
    """Return what a store says of its last run over many workers, or of the one that goes on; {} where none was.

    Raises:
        StoreError: the plan is damaged.
    """
    with explained(f"{shown(folder)} cannot be listed", kind=StoreError):
        states = [state for path in _notes(folder) if (state := _read(path))]
    plan = open_plan(folder)
    if plan is None:
        if not states:
            return {}
        return {"run": states[-1].run, "state": "ended", **_told(states)}
    total, absent = len(plan), len(plan.open_units())
    states = [state for state in states if state.run == plan.facts.run]
    plan.close()
    is_at_work = any(not state.ended and time.time() - state.at < _OLD for state in states)
    counted = {"units": total, "units_done": total - absent, "units_left": absent}
    how = "at work" if is_at_work else "unfinished" if absent else "done, to be finished"
    return {"run": plan.facts.run, "state": how, **counted, **_told(states)}


def _notes(folder: Path) -> list[Path]:
    """Return the notes of a store, in the order of their names; raises OSError."""
    return sorted(folder / RUN_FOLDER / name for name in names(folder / RUN_FOLDER) if fnmatch(name, "state-*.json"))


def _told(states: list[RunState]) -> dict[str, Any]:
    alive = [state for state in states if not state.ended and time.time() - state.at < _OLD]
    given_up = sorted({unit for state in states for unit in state.given_up})
    return {
        "workers": sum(state.workers for state in alive),
        "units_given_up": given_up,
        "rows": sum(state.rows for state in states),
        "failed_rows": sum(state.failed for state in states),
        "by": {state.name: f"on {state.host}, {state.seconds:.0f} s, units: {state.units}" for state in states},
    }


def _read(path: Path) -> RunState | None:
    with suppress(OSError, FactsError):
        return facts_from(RunState, read_json(read_short(path, _LONGEST)), _FORMAT)
    return None
