"""Writes feature stores with vectors of a test's choice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fxengine.collect.item import Item
from fxengine.features import parts
from fxengine.features.read import FeatureStore
from fxengine.features.schema import FEATURE, Dtype, Provenance


def write_store(
    folder: Path,
    vectors: np.ndarray,
    *,
    ids: list[str] | None = None,
    rows: list[int] | None = None,
    hashes: list[str] | None = None,
    labels: list[str | None] | None = None,
    splits: list[str | None] | None = None,
    widths: list[int] | None = None,
    failed: tuple[int, ...] = (),
    dtype: Dtype = "float16",
    space: str = "s" * 64,
    root: str = "/nowhere",
    part: int = 0,
) -> FeatureStore:
    """Write one part with these rows and open the store; rows in `failed` have an error instead of a vector."""
    n = len(vectors)
    folder.mkdir(exist_ok=True)
    provenance = Provenance(
        space=space, source="made", recipe={}, root=root, dim=vectors.shape[1], dtype=dtype, precision="fp32",
        engine="none", provider="none", decoder="none",
    )  # fmt: skip
    made = []
    for i in range(n):
        key = f"{i:06d}" if ids is None else ids[i]
        label = None if labels is None else labels[i]
        split = None if splits is None else splits[i]
        width = 100 if widths is None else widths[i]
        item = Item(key, "", 10, 0, label, split)
        content = f"hash {key}" if hashes is None else hashes[i]
        error = ("corrupt", "damaged") if i in failed else (None, None)
        made.append(parts.Row(i if rows is None else rows[i], item, content, width, 100, *error))
    table = parts.part_table(made, {FEATURE: vectors.astype(dtype)}, provenance)
    parts.write_part(table, parts.part_path(folder, part), replace=True)
    return FeatureStore.open(folder)
