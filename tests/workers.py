"""What tests of runs over many workers share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxengine import FeatureStore
from fxengine.features.parts import list_parts, read_part, read_provenance
from fxengine.pipeline.places import processes

POISON = b"\xff\xd8\xff\xe0 poison"  # begins what kills a worker that decodes it
TOLERANCE = 2e-3  # batch size and thread count may change the last bits of a sum


def table_of(store: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    opened = FeatureStore.open(store)
    return opened.rows().to_pylist(), opened.vectors().astype(np.float32)


def same_rows(store: Path, reference: Path, *, but: tuple[str, ...] = ()) -> None:
    """Hold that a store has row for row what another has, and each unit's part once."""
    (rows, vectors), (expected, their_vectors) = table_of(store), table_of(reference)
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        assert {n: v for n, v in row.items() if n not in but} == {n: v for n, v in other.items() if n not in but}
    np.testing.assert_allclose(vectors, their_vectors, atol=TOLERANCE)
    made = [tuple(made_in.values()) for path in list_parts(store) if (made_in := read_provenance(path).made_in)]
    assert len(made) == len(set(made))
    numbers = [number for path in list_parts(store) for number in read_part(path, ["row"])["row"].to_pylist()]
    assert len(numbers) == len(set(numbers))
    ids = [key for path in list_parts(store) for key in read_part(path, ["id"])["id"].to_pylist()]
    assert len(ids) == len(set(ids))


def leftovers(store: Path) -> list[str]:
    return [path.name for path in store.rglob("*") if "tmp" in path.name or path.name in ("plan.parquet", ".decoding")]


def with_faults(monkeypatch: pytest.MonkeyPatch, marks: Path, **faults: object) -> None:
    """Let workers be those of `tests.faults.faulty_worker`."""
    marks.mkdir(exist_ok=True)
    monkeypatch.setenv("FXENGINE_FAULTS", json.dumps({**faults, "marks": str(marks)}))
    monkeypatch.setattr(processes, "COMMAND", (sys.executable, "-m", "tests.faults.faulty_worker"))
