"""Indexes: bytes of the FAISS file and of its rows, signed as who made them can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fxengine import FeatureStore
from fxengine.neighbours.index import Index, open_index
from tests.hostile.cases.indexes import signed
from tests.hostile.fuzz.mutations import OF_BYTES, Mutation, mutate, mutations
from tests.stores import write_store

MEGABYTES = 500
_FILES = ("index.faiss", "index.faiss", "index.faiss", "rows.parquet")
_FACTORIES = ("IVF2,Flat", "HNSW4,Flat", "Flat", "IVF2,SQ8")

_changes = mutations(("byte", "bit", "word"), most=2) | mutations(OF_BYTES, most=3)
inputs = st.tuples(st.sampled_from(_FACTORIES), st.sampled_from(_FILES), _changes, st.booleans())


def prepare(folder: Path) -> Any:
    """Return stores with an index each, by its factory, and the bytes of their files."""
    made = {}
    for factory in _FACTORIES:
        store = write_store(folder / factory, np.random.default_rng(0).normal(size=(60, 8)))
        Index.build(store, factory=factory).save()
        made[factory] = store.path, {name: (store.path / "_index" / name).read_bytes() for name in set(_FILES)}
    return made


def read(data: tuple[str, str, list[Mutation], bool], made: Any) -> object:
    """Open an index and ask it; half of the changes are in the first bytes, where the header is."""
    factory, name, changes, in_header = data
    path, files = made[factory]
    folder = path / "_index"
    for each, content in files.items():
        (folder / each).write_bytes(content)
    changed = files[name]
    for change in changes:
        changed = mutate(changed, change._replace(place=change.place % 120) if in_header else change)
    (folder / name).write_bytes(changed)
    signed(folder)
    opened = FeatureStore.open(path)
    index = open_index(opened, None)
    return None if index is None else index.search(opened.vectors()[:2], 3)
