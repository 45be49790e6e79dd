"""Turns what a run computed into rows of the store, in order."""

from __future__ import annotations

import numpy as np

from fxengine.decode import Filled
from fxengine.errors import DecodeError
from fxengine.features.known import Plan
from fxengine.features.parts import Row, Vectors
from fxengine.features.schema import Dtype
from fxengine.features.update import Movable, StoreUpdate
from fxengine.features.write import to_store_type
from fxengine.pipeline.summary import Summary
from fxengine.pipeline.threads import Batch, Job
from fxengine.pipeline.units import Move


class Sink:
    """Takes finished batches in the order of their tasks.

    Args:
        update: where rows go.
        movable: rows whose input is gone, by their content.
        plan: what the run has to do; a row that moves is taken from what is missing.
        summary: what is counted.
        columns: the graph's output -> the store's column.
        dtype: type of the stored vectors.
    """

    def __init__(
        self, update: StoreUpdate, movable: Movable, plan: Plan, summary: Summary, columns: dict[str, str], dtype: Dtype
    ) -> None:
        self.update, self.movable, self.plan, self.summary = update, movable, plan, summary
        self.columns, self.dtype = columns, dtype
        self.done = 0

    def take(self, batch: Batch) -> None:
        """Store the rows of a finished batch."""
        stored, bad = to_store_type(batch.outputs, self.dtype)
        for job in batch.jobs:
            if job.error is None and not job.moved and bad[job.slot]:
                worst = max((batch.outputs[name][job.slot] for name in self.columns), key=lambda v: np.abs(v).max())
                job.error = DecodeError("bad_feature", _bad_feature(worst, self.dtype))
            fine = job.error is None and not job.moved
            self._store(job, {self.columns[n]: values[job.slot] for n, values in stored.items()} if fine else None)
            self.done += 1

    def _store(self, job: Job, vectors: Vectors | None) -> None:
        task, filled, error = job.task, job.filled, job.error
        kept = task.part is not None and (task.part, task.row) in self.plan.kept
        if kept and error is not None:
            return  # a group of columns is not worth a good vector
        self.summary.widened += kept
        if job.moved and job.content_hash is not None:
            known = self.movable.stored(job.content_hash)
            vectors, filled = known.vectors, Filled(known.width, known.height, known.further)
        row = Row(
            row=task.row,
            item=job.item,
            content_hash=job.content_hash,
            width=filled.width,
            height=filled.height,
            error_code=error.code if error else None,
            error=str(error) if error else None,
            further=filled.further,
        )
        if task.part in self.plan.again:
            self.update.replace(task.part, row, vectors)
        else:
            assert task.part == self.update.new_part, "units are as long as parts"
            self.update.append(row, vectors)
        self._count(row, task.move)
        if task.move is not None:
            self.update.drop(task.move.part, [task.move.row])
            self.plan.missing[task.move.part].remove(task.move.row)

    def _count(self, row: Row, move: Move | None) -> None:
        if row.error_code is not None:
            self.summary.failed[row.error_code] = self.summary.failed.get(row.error_code, 0) + 1
        elif move is not None:
            self.summary.moved += 1
        else:
            self.summary.extracted += 1
            self.summary.truncated += row.further.get("truncated") is True


def _bad_feature(vector: np.ndarray, dtype: Dtype) -> str:
    if np.isfinite(vector).all():
        return f"A value of {np.abs(vector).max():.3g} is too large for {dtype}. Extract with `dtype` float32."
    return "The net gave a value that is not a finite number."
