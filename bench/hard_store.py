"""A made-up store that is hard to classify: unequal covariances, long-tailed classes, wrong labels."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fxengine.features import parts
from fxengine.features.schema import FEATURE, Provenance, part_schema

DIM, CLASSES, NOISE = 1280, 100, 0.05
_PART = 8192


def write_store(folder: Path, rows: int, seed: int, *, noise: float = NOISE, classes: int = CLASSES) -> Path:
    """Write `rows` float16 vectors of 1280 numbers in `classes` classes, whose shares fall as rank^-0.7.

    Every class has a centre, a spread of its own in 24 directions of its own, and noise of its own size; the numbers
    are those of a net that ends in a ReLU. `noise` is the share of labels drawn anew. Stores of different seeds have
    the same classes.
    """
    provenance = Provenance(
        space="0" * 64, source="made up", recipe={}, root=str(folder), dim=DIM, dtype="float16",
        precision="fp32", engine="none", provider="none", decoder="none",
    )  # fmt: skip
    folder.mkdir(parents=True)
    world, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centres = world.normal(0, 0.26, (classes, DIM)).astype(np.float32)
    spreads = world.normal(0, 0.4, (classes, 24, DIM)).astype(np.float32)
    spreads *= world.uniform(0.3, 1.6, (classes, 1, 1)).astype(np.float32)
    sizes = world.uniform(0.5, 1.5, classes).astype(np.float32)
    shares = np.arange(1, classes + 1) ** -0.7
    for number, start in enumerate(range(0, rows, _PART)):
        n = min(_PART, rows - start)
        y = rng.choice(classes, n, p=shares / shares.sum())
        if not start:
            y[: 5 * classes] = np.tile(np.arange(classes), 5)[:n]
        x = centres[y] + sizes[y, None] * rng.standard_normal((n, DIM), np.float32)
        for c in np.unique(y):
            mine = np.flatnonzero(y == c)
            x[mine] += rng.standard_normal((len(mine), 24), np.float32) @ spreads[c]
        wrong = rng.random(n) < noise
        y[wrong] = rng.integers(0, classes, wrong.sum())
        table = _table(np.maximum(x, 0).astype(np.float16), y, start, provenance)
        parts.write_part(table, parts.part_path(folder, number))
    return folder


def _table(x: np.ndarray, y: np.ndarray, start: int, provenance: Provenance) -> pa.Table:
    schema, n = part_schema(provenance), len(x)
    span = range(start, start + n)
    columns: dict[str, Any] = {name: [None] * n for name in schema.names}
    columns |= {
        "row": list(span),
        "id": [f"{i:09d}.jpg" for i in span],
        "label": [f"class {c:03d}" for c in y],
        "size": [0] * n,
        "mtime_ns": [0] * n,
        "content_hash": [f"{i:064x}" for i in span],
    }
    arrays = {name: pa.array(values, schema.field(name).type) for name, values in columns.items() if name != FEATURE}
    arrays[FEATURE] = parts.vector_array(x, np.zeros(n, bool), schema.field(FEATURE).type)
    return pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)


def in_a_process(module: str, *arguments: object, limit: float | None = None) -> dict[str, Any] | None:
    """Run `python -m MODULE ARGUMENTS` and return the JSON that it prints; None where the limit (seconds) passed."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def timed(work: Callable[[], dict[str, Any]]) -> None:
    """Print as JSON what `work` returns, with its seconds, those of all its threads, and its peak memory in MB."""
    begin, used = time.perf_counter(), time.process_time()
    result = work()
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"seconds": round(seconds, 3), "cpu_s": round(used, 3), "peak_mb": round(peak), **result}))
