"""Turns what a run computed into rows of the store, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from fxengine.decode import Filled
from fxengine.errors import DecodeError
from fxengine.features.known import Plan
from fxengine.features.parts import Row, Vectors
from fxengine.features.schema import ETAG_GROUP, Dtype
from fxengine.features.update import Movable, StoreUpdate
from fxengine.features.write import bad_feature, to_store_type
from fxengine.pipeline.summary import Summary
from fxengine.pipeline.threads import Batch, Job


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
        vectors = stored_vectors(batch, self.columns, self.dtype)
        # Rows of one new part are stored together: one by one, they would take longer than short texts to embed.
        for new_part, alike in groupby(batch.jobs, key=self._new_part):
            jobs = list(alike)
            begin, end = jobs[0].slot, jobs[-1].slot + 1
            if new_part is not None:
                assert new_part == self.update.new_part, "units are as long as parts"
                rows = [row_of(job, job.filled) for job in jobs]
                self.update.extend(rows, {column: values[begin:end] for column, values in vectors.items()})
                count_rows(self.summary, rows)
                continue
            for job in jobs:
                fine = job.error is None and not job.moved
                self._store(job, {column: values[job.slot] for column, values in vectors.items()} if fine else None)
        self.done += len(batch.jobs)

    def _new_part(self, job: Job) -> Path | None:
        """Return the part that a row is added to; None where it is there, or was elsewhere."""
        task = job.task
        return None if job.moved or task.move is not None or task.part in self.plan.again else task.part

    def _store(self, job: Job, vectors: Vectors | None) -> None:
        task, filled, error = job.task, job.filled, job.error
        kept = task.part is not None and (task.part, task.row) in self.plan.kept
        if kept and error is not None:
            return  # a group of columns is not worth a good vector
        self.summary.widened += kept
        if job.moved and job.content_hash is not None:
            known = self.movable.stored(job.content_hash)
            vectors, filled = known.vectors, Filled(known.width, known.height, known.further)
        row = row_of(job, filled)
        if task.part in self.plan.again:
            self.update.replace(task.part, row, vectors)
        else:
            assert task.part == self.update.new_part, "units are as long as parts"
            self.update.append(row, vectors)
        if task.move is None or error is not None:
            count_rows(self.summary, [row])
        if task.move is not None:
            self.summary.moved += error is None
            self.update.drop(task.move.part, [task.move.row])
            self.plan.missing[task.move.part].remove(task.move.row)


def stored_vectors(batch: Batch, columns: Mapping[str, str], dtype: Dtype) -> dict[str, np.ndarray]:
    """Return column -> vectors of a finished batch in the store's type, [jobs, dim]; what cannot be stored becomes an
    error of its job.

    Args:
        batch: the batch.
        columns: the graph's output -> the store's column.
        dtype: type of the stored vectors.
    """
    stored, bad = to_store_type(batch.outputs, dtype)
    for slot in np.flatnonzero(bad):
        job = batch.jobs[slot]
        if job.error is None and not job.moved:
            worst = max((batch.outputs[name][slot] for name in columns), key=lambda v: np.abs(v).max())
            job.error = DecodeError("bad_feature", bad_feature(worst, dtype))
    return {columns[name]: values for name, values in stored.items()}


def row_of(job: Job, filled: Filled) -> Row:
    """Return the row of a job, with what the store says of it beside its vector."""
    task, error = job.task, job.error
    code, why = (None, None) if error is None else (error.code, str(error))
    further = filled.further if job.item.etag is None else {**filled.further, ETAG_GROUP: job.item.etag}
    return Row(task.row, job.item, job.content_hash, filled.width, filled.height, code, why, further)


def count_rows(summary: Summary, rows: Sequence[Row]) -> None:
    """Count rows that were stored."""
    for code, count in Counter(row.error_code for row in rows).items():
        if code is None:
            summary.extracted += count
        else:
            summary.failed[code] = summary.failed.get(code, 0) + count
    for further in [row.further for row in rows if row.further]:
        summary.truncated += further.get("truncated") is True
        words, coverage = further.get("tokens"), further.get("coverage")
        if isinstance(words, int) and isinstance(coverage, float):
            summary.words += words
            summary.known_words += round(coverage * words)
