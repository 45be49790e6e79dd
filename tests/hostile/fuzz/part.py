"""Parts of a store: bytes of the footer, of the headers of pages and of what is in them."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fxengine import FeatureStore
from fxengine.repair.verify import verify
from tests.hostile.fuzz.mutations import OF_BYTES, Mutation, mutate, mutations
from tests.stores import write_store

MEGABYTES = 500  # what announces more than a part can have is refused; texts have 256 MB all together
_NAME = "part-000000.parquet"


def _sound() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        vectors = np.random.default_rng(0).normal(size=(20, 8))
        labels: list[str | None] = ["a", "b"] * 10
        write_store(Path(folder) / "s", vectors, labels=labels, failed=(3,))
        return (Path(folder) / "s" / _NAME).read_bytes()


def _changed(seed: bytes, in_footer: list[Mutation], in_pages: list[Mutation]) -> bytes:
    """Change the footer, whose length is then said anew, and the pages before it."""
    length = struct.unpack("<I", seed[-8:-4])[0]
    pages, footer = seed[: -8 - length], seed[-8 - length : -8]
    for change in in_footer:
        footer = mutate(footer, change)
    for change in in_pages:
        pages = mutate(pages, change)
    return pages + footer + struct.pack("<I", len(footer)) + seed[-4:]


_few = mutations(("byte", "bit", "word"), most=2)
inputs = st.builds(
    _changed, st.just(_sound()), st.just([]) | _few | mutations(OF_BYTES), st.just([]) | _few | mutations(OF_BYTES)
)


def prepare(folder: Path) -> Any:
    """Return the folder of the store."""
    return folder


def read(data: bytes, made: Path) -> object:
    """Read the part in every way that is not the same code."""
    (made / _NAME).write_bytes(data)
    verify(made)  # says what is wrong and raises nothing
    store = FeatureStore.open(made)
    return store.table(), list(store.batches(7)), store.select(ids=store.ids()[:3]).vectors()
