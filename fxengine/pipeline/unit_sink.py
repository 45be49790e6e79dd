"""Turns what a worker computed into the files of its units, each made only where none is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from fxengine.features import parts
from fxengine.features.part_rows import PartRows
from fxengine.pipeline.sink import count_rows, row_of, stored_vectors
from fxengine.pipeline.summary import Summary
from fxengine.pipeline.threads import Batch, Job
from fxengine.pipeline.unit_plan import PlannedUnit, UnitPlan

_COUNTED = ("extracted", "failed", "truncated", "words", "known_words", "widened")  # of a `Summary`


@dataclass(frozen=True)
class UnitResult:
    """What became of a unit.

    Attributes:
        unit: its number.
        made: whether this worker made its file; else it was there.
        counts: what a `Summary` counts of its rows, by name.
        seconds: from its first row to its file.
    """

    unit: int
    made: bool
    counts: dict[str, Any]
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


@dataclass
class _Unit:
    """A unit that is being collected."""

    planned: PlannedUnit
    rows: PartRows
    left: int
    counts: Summary = field(default_factory=lambda: Summary("", ""))
    begin: float = field(default_factory=time.perf_counter)


class UnitSink:
    """Takes finished batches in the order of their tasks.

    Attributes:
        done: rows that came so far.
        failed: of these, error rows.
    """

    def __init__(self, plan: UnitPlan, columns: Mapping[str, str]) -> None:
        """Begin with no unit; `columns` are the graph's output -> the store's column."""
        self.done = self.failed = 0
        self._plan, self._columns, self._units = plan, columns, dict[Path | None, _Unit]()

    def expect(self, unit: PlannedUnit) -> None:
        """Prepare for the rows of a unit, before the first of them comes."""
        provenance = self._plan.provenance(unit.number)
        group = min(self._plan.rows[unit.number], parts.group_rows(provenance))
        rows = PartRows(self._plan.target(unit.number), provenance, group)
        self._units[self._plan.target(unit.number)] = _Unit(unit, rows, len(unit.tasks))

    def take(self, batch: Batch) -> Iterator[UnitResult]:
        """Store the rows of a finished batch; yield the units that are whole by it.

        Raises:
            StoreError: a file cannot be written, or another run made one of that name.
        """
        vectors = stored_vectors(batch, self._columns, self._plan.facts.provenance.dtype)
        for target, alike in groupby(batch.jobs, key=lambda job: job.task.part):
            jobs, unit = list(alike), self._units[target]
            self._store(unit, jobs, vectors)
            unit.left -= len(jobs)
            if not unit.left:
                del self._units[target]
                yield self._finish(unit)
        self.done += len(batch.jobs)

    def discard(self) -> None:
        """Remove what was written of units that are not whole."""
        for unit in self._units.values():
            unit.rows.discard()

    def _store(self, unit: _Unit, jobs: list[Job], vectors: Mapping[str, Any]) -> None:
        kept = unit.planned.kept
        if kept:  # a group of columns is not worth a good vector
            jobs = [job for job in jobs if job.error is None or job.task.row not in kept]
            unit.counts.widened += sum(job.task.row in kept for job in jobs)
        slots = [job.slot for job in jobs]
        rows = [row_of(job, job.filled) for job in jobs]
        # What the net was not run for at the end of a batch has no vector: those rows have an error.
        there = sum(slot < len(next(iter(vectors.values()))) for slot in slots) if vectors else 0
        unit.rows.extend(rows, {column: values[slots[:there]] for column, values in vectors.items()})
        count_rows(unit.counts, rows)
        self.failed += sum(job.error is not None for job in jobs)

    def _finish(self, unit: _Unit) -> UnitResult:
        number, counts = unit.planned.number, {name: getattr(unit.counts, name) for name in _COUNTED}
        made = unit.rows.finished().create()
        if not made:
            self._plan.check_made(number)  # by whom, perhaps by this very worker: an answer can be lost
        return UnitResult(number, made, counts, time.perf_counter() - unit.begin)


def result_of(plan: UnitPlan, number: int) -> UnitResult:
    """Return the result of a unit whose file is there."""
    table = parts.read_part(plan.target(number), ["error_code"])
    codes = table["error_code"].value_counts().to_pylist()
    failed = {pair["values"]: pair["counts"] for pair in codes if pair["values"] is not None}
    return UnitResult(number, False, {"extracted": len(table) - sum(failed.values()), "failed": failed})
