"""Computes rows of a store again from their inputs, and compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from fxengine.collect.item import Item, unescape_path
from fxengine.decode.limits import TAKEN_IN
from fxengine.features import parts
from fxengine.features.schema import FEATURE, Provenance
from fxengine.pipeline.embed import Backbone, run_files
from fxengine.pipeline.threads import Job
from fxengine.pipeline.units import Task
from fxengine.repair.report import VerifyReport

# Cosine between a stored vector and a fresh one below which they are not the same picture's: far below what
# float16, batch size or another CPU change (over 0.9999), far above what another picture gives (under 0.95).
SAME = 0.999


def check_sample(
    paths: list[Path], reference: Provenance, chosen: np.ndarray, net: Backbone, report: VerifyReport
) -> None:
    """Compute rows again and compare them; fills `sampled`, `changed`, `wrong` and `unchecked`.

    Args:
        paths: parts.
        reference: what they were made from.
        chosen: which rows, int64, counted over all parts; those with an error are passed over.
        net: the store's backbone.
        report: where it is noted.
    """
    starts = np.concatenate([[0], np.cumsum([parts.read_part(path, ["row"]).num_rows for path in paths])])
    net = replace(net, limits=TAKEN_IN)
    root = Path(unescape_path(reference.root))
    for path, start, stop in zip(paths, starts[:-1], starts[1:], strict=True):
        mine = np.sort(chosen[(chosen >= start) & (chosen < stop)]) - start
        if not len(mine):
            continue
        limits_known = bool(parts.read_provenance(path).limits)
        ids, hashes, stored = _rows(path, mine, reference.dim)
        report.sampled += len(ids)
        for (job, fresh), digest, vector in zip(run_files(net, _tasks(root, ids)), hashes, stored, strict=True):
            _judge(job, digest, limits_known, report)
            if fresh is not None and job.content_hash == digest:
                _compare(job.item.key, vector, fresh, report)


def _rows(path: Path, mine: np.ndarray, dim: int) -> tuple[list[str], list[str], np.ndarray]:
    """Return ids, content hashes and vectors [n, dim] of those of a part's rows that have a vector."""
    table = parts.read_part(path, ["id", "content_hash", "error_code", FEATURE]).take(pa.array(mine))
    table = table.filter(table["error_code"].is_null()).combine_chunks()
    stored = parts.vector_matrix(table[FEATURE].chunk(0), dim) if len(table) else np.zeros((0, dim))
    return table["id"].to_pylist(), table["content_hash"].to_pylist(), stored


def _tasks(root: Path, ids: list[str]) -> Iterator[Task]:
    for key in ids:
        yield Task(Item(key, str(root / unescape_path(key)), -1, 0))


def _judge(job: Job, digest: str, limits_known: bool, report: VerifyReport) -> None:
    """Note an input that is another now, or that does not become a vector any more."""
    key, error = job.item.key, job.error
    if job.content_hash != digest:
        if error is not None and job.content_hash is None and error.code == "out_of_memory":
            report.unchecked[key] = str(error)
        else:
            report.changed.append(key)
    elif error is not None:
        # A part that does not say by which rules it was made may have had others.
        kept = error.code == "out_of_memory" or not limits_known
        (report.unchecked if kept else report.wrong)[key] = f"Its input does not decode: {error}"


def _compare(key: str, stored: np.ndarray, fresh: np.ndarray, report: VerifyReport) -> None:
    a, b = stored.astype(np.float64), fresh.astype(np.float64)
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    cosine = float(a @ b) / max(lengths[0] * lengths[1], 1e-12)
    if cosine < SAME or not 0.98 < lengths[0] / max(lengths[1], 1e-12) < 1.02:
        report.wrong[key] = f"Its vector is not that of its input (cosine {cosine:.4f})."
