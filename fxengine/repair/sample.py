"""Computes rows of a store again from their inputs, and compares."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from fxengine.collect.item import unescape_path
from fxengine.decode.limits import TAKEN_IN
from fxengine.features import parts
from fxengine.features.schema import FEATURE, KEPT_GROUP, KEPT_TEXT, Provenance
from fxengine.pipeline.embed import Backbone, run_files
from fxengine.pipeline.lookahead import readers_of
from fxengine.pipeline.threads import Job
from fxengine.pipeline.units import Task
from fxengine.repair.inputs import StoredInputs, StoredRow, note_kept
from fxengine.repair.report import VerifyReport

# Cosine between a stored vector and a fresh one below which they are not the same input's: far below what
# float16, batch size or another CPU change (over 0.9999), far above what another picture gives (under 0.95).
SAME = 0.999


def check_sample(
    paths: list[Path],
    reference: Provenance,
    chosen: np.ndarray,
    inputs: StoredInputs,
    net: Backbone,
    report: VerifyReport,
) -> int:
    """Compute rows again and compare them; fills `changed`, `wrong` and `unchecked`; returns how many it computed.

    A row whose input is another now is not computed: there is nothing to compare.

    Args:
        paths: parts.
        reference: what they were made from.
        chosen: which rows, int64, counted over all parts; those with an error are passed over.
        inputs: the inputs of its rows.
        net: the store's backbone.
        report: where it is noted.
    """
    net = replace(net, limits=TAKEN_IN)
    asked, sampled = deque[_Asked](), 0

    def tasks() -> Iterator[Task]:
        for row in _rows(paths, chosen, reference.dim, inputs.kept):
            asked.append(row)
            yield Task(inputs.item(StoredRow(row.key, row.content_hash)))

    for job, fresh in run_files(net, tasks(), read=inputs.read, readers=readers_of(unescape_path(reference.root))):
        row = asked.popleft()
        _judge(job, row, report)
        sampled += job.content_hash == row.content_hash
        if fresh is not None and job.content_hash == row.content_hash:
            _compare(row, fresh, report)
    return sampled


@dataclass(frozen=True)
class _Asked:
    """A row to compute again: its id and content, its vector [dim], and whether its part says its limits."""

    key: str
    content_hash: str
    vector: np.ndarray
    limits_known: bool


def _rows(paths: list[Path], chosen: np.ndarray, dim: int, kept: dict[str, str] | None) -> Iterator[_Asked]:
    """Yield those of the chosen rows that have a vector; their texts go to `kept`, where these are wanted."""
    start = 0
    for path in paths:
        count = parts.read_part(path, ["row"]).num_rows
        mine = np.sort(chosen[(chosen >= start) & (chosen < start + count)]) - start
        start += count
        if not len(mine):
            continue
        made = parts.read_provenance(path)
        limits_known = bool(made.limits)
        columns = ["id", "content_hash", "error_code", FEATURE]
        if kept is not None and KEPT_GROUP in made.groups:
            columns.append(KEPT_TEXT)
        table = parts.read_part(path, columns).take(pa.array(mine))
        table = table.filter(table["error_code"].is_null()).combine_chunks()
        vectors = parts.vector_matrix(table[FEATURE].chunk(0), dim) if len(table) else ()
        ids, hashes = table["id"].to_pylist(), table["content_hash"].to_pylist()
        if kept is not None and KEPT_TEXT in columns:
            note_kept(kept, table)
        for key, digest, vector in zip(ids, hashes, vectors, strict=True):
            yield _Asked(key, digest, vector, limits_known)


def _judge(job: Job, row: _Asked, report: VerifyReport) -> None:
    """Note an input that is another now, or that does not become a vector any more."""
    error = job.error
    if job.content_hash != row.content_hash:
        if error is not None and job.content_hash is None and error.code == "out_of_memory":
            report.unchecked[row.key] = str(error)
        else:
            report.changed.append(row.key)
    elif error is not None:
        # A part that does not say by which rules it was made may have had others.
        kept = error.code == "out_of_memory" or not row.limits_known
        (report.unchecked if kept else report.wrong)[row.key] = f"Its input does not decode: {error}"


def _compare(row: _Asked, fresh: np.ndarray, report: VerifyReport) -> None:
    a, b = row.vector.astype(np.float64), fresh.astype(np.float64)
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    cosine = float(a @ b) / max(lengths[0] * lengths[1], 1e-12)
    if cosine < SAME or not 0.98 < lengths[0] / max(lengths[1], 1e-12) < 1.02:
        report.wrong[row.key] = f"Its vector is not that of its input (cosine {cosine:.4f})."
