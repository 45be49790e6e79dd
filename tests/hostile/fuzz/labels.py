"""Tables of labels: lines and cells changed, of any encoding and delimiter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fxengine.probing.targets import load_targets
from tests.hostile.fuzz.mutations import OF_PIECES, mutate_pieces, mutations
from tests.stores import write_store

MEGABYTES = 400
_IDS = [f"{i:06d}" for i in range(20)]
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252")

_ODD = ["a", "b", "1", "0", "0.5", "", " ", "nan", "inf", "1e999", "9" * 400, "true", '"', '""', '"a', "a\nb", "\0",
        "=1+1", "\x1b[2J", "\u202e", "\ufeff", "001", "1,000", "2020-01-01", "-0"]  # fmt: skip
_cells = st.sampled_from(_ODD) | st.text(max_size=5)
_names = st.sampled_from(["id", "path", "ID", "file", "label", "", "2", "a,b"]) | st.text(max_size=4)


def _table(columns: list[str], cells: list[str], delimiter: str, end: str) -> list[str]:
    width = max(1, len(columns))
    lines = [delimiter.join(columns)]
    for i, key in enumerate(_IDS):
        row = [cells[(i * width + j) % len(cells)] for j in range(1, width)]
        lines.append(delimiter.join([key, *row]))
    return [line + end for line in lines]


def _encoded(lines: list[str], encoding: str, changes: list[Any]) -> bytes:
    data = [line.encode(encoding, "replace") for line in lines]
    return b"".join(mutate_pieces(data, changes))


inputs = st.builds(
    _encoded,
    st.builds(
        _table,
        st.lists(_names, min_size=1, max_size=4),
        st.lists(_cells, min_size=1, max_size=12),
        st.sampled_from([",", ";", "\t", "|", ", "]),
        st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\u2028"]),
    ),
    st.sampled_from(_ENCODINGS),
    st.just([]) | mutations(OF_PIECES, most=3),
)


def prepare(folder: Path) -> Any:
    """Return a store, and where tables are written to."""
    return write_store(folder / "s", np.random.default_rng(0).normal(size=(20, 4))), folder / "labels.csv"


def read(data: bytes, made: Any) -> object:
    """Join a table with a store."""
    store, path = made
    path.write_bytes(data)
    return load_targets(store, path)
