"""A run without a driver: every process takes its share of the plan's units, then helps with those that are left."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fxengine.errors import InputError, StoreLocked, given
from fxengine.features.crash_note import CrashNote
from fxengine.features.lock import locked
from fxengine.features.run_folder import notes_folder
from fxengine.pipeline.driver import Outcome
from fxengine.pipeline.here import How
from fxengine.pipeline.many import run_on
from fxengine.pipeline.run_state import StateNote
from fxengine.pipeline.unit_plan import UnitPlan, absent_from, open_plan
from fxengine.pipeline.unit_runner import Asked, UnitRunner

_WAIT = 1.0  # seconds between two looks whether another process has written the plan


@dataclass(frozen=True)
class Shard:
    """One of several shares.

    Attributes:
        number: from 1.
        of: how many there are.
    """

    number: int
    of: int

    @property
    def name(self) -> str:
        """What its files are called by."""
        return f"shard-{self.number}-of-{self.of}"


def shard_of(text: str | None) -> Shard | None:
    """Return the share that NUMBER/OF says, None for None; raises InputError where it is none."""
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text) if isinstance(text, str) else None
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"`shard` must be a share such as 3/16, from 1/16 to 16/16. Got {given(text)}.")
    return Shard(int(found[1]), int(found[2]))


def find_plan(folder: Path, make: Callable[[], UnitPlan | None]) -> UnitPlan | None:
    """Return the plan of a store; where there is none the first process that has the lock makes it, others wait."""
    while True:
        plan = open_plan(folder)
        if plan is not None:
            return plan
        try:
            with locked(folder):
                return open_plan(folder) or make()
        except StoreLocked:
            time.sleep(_WAIT)


def run_shard(plan: UnitPlan, shard: Shard, how: How) -> Outcome:
    """Compute a share of a plan's units, and then those of others that are not there yet.

    Raises:
        StoreError: this process would make other rows than the plan is for, or another run writes there.
    """
    notes = notes_folder(plan.folder, f"{shard.number}/{shard.of}")
    notes.mkdir(exist_ok=True)
    state, outcome = StateNote(plan.folder, plan.facts.run, shard.name), Outcome()
    mine = range(shard.number - 1, len(plan), shard.of)
    with closing(CrashNote(notes, how.decoders)) as note:
        if not plan.open_units():
            return outcome
        total = sum(plan.rows[unit] for unit in mine)
        runner = UnitRunner(plan, how.decoders, note)
        run_on(runner, _Walk(plan, mine), total, how, state, outcome)
    outcome.results = [result for result in outcome.results if result.made]
    return outcome


class _Walk:
    """Gives the units of a share, then others that are open, in no order: others that come to an end help, too."""

    def __init__(self, plan: UnitPlan, mine: range) -> None:
        self._plan, self._mine, self._given = plan, iter(mine), set[int]()

    def __call__(self) -> Asked | None:
        unit = next(self._mine, None)
        if unit is None:
            left = absent_from(self._plan.open_units(), [*self._given])
            if not left:
                return None
            unit = random.choice(left)
        self._given.add(unit)
        return Asked(unit)
