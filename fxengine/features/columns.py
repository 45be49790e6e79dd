"""One column of vectors of a store's parts, piece by piece, put where each row belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from fxengine.collect.memory import demand
from fxengine.features import parts
from fxengine.features.footer import read_footer
from fxengine.features.scan import scan
from fxengine.storage import shown
from fxengine.store_files import each

# Places, int64 [k], and the vectors of the rows there, [k, dim].
Pieces = Iterator[tuple[np.ndarray, np.ndarray]]


def read_column(paths: Sequence[Path], part: np.ndarray, at: np.ndarray, column: str) -> Pieces:
    """Yield the places of rows and their vectors, a piece at a time, until all rows came, in the order of the parts.

    Args:
        paths: the parts.
        part: of every row, which of them it is in, int [n].
        at: of every row, its place in that, int64 [n].
        column: the column's name.

    Raises:
        StoreError: a part is damaged, as `scan` has it.
    """
    used = np.unique(part)
    if not len(used):
        return
    wanted = [*each(lambda path: read_footer(path, [column, "error_code"]), [paths[number] for number in used])]
    # Place of each wanted row in the parts read one after the other.
    starts = np.zeros(len(paths), np.int64)
    starts[used] = np.cumsum([0, *(footer.rows for footer in wanted)])[:-1]
    place = starts[part] + at
    order = np.argsort(place, kind="stable")
    placed, dim = place[order], wanted[0].provenance.columns[column]
    begin = first = 0
    for chunk in scan(wanted, column):
        last = int(np.searchsorted(placed, begin + len(chunk)))
        rows = order[first:last]
        if len(rows):
            matrix = parts.vector_matrix(chunk, dim)
            yield rows, matrix if len(rows) == len(matrix) else matrix[place[rows] - begin]
        begin, first = begin + len(chunk), last


def counting(pieces: Pieces, step: Callable[[int], object]) -> Pieces:
    """Yield the same; `step` is told how many rows came."""
    done = 0
    for places, vectors in pieces:
        yield places, vectors
        done += len(places)
        step(done)


def room_for(shape: tuple[int, int], dtype: str, store: Path) -> np.ndarray:
    """Return an empty matrix for a store's vectors, [n, dim]; raises StoreError where the memory for it is not free."""
    advice = "Free memory, or set FXENGINE_CACHE to a folder on a disk with room for a copy that is mapped."
    demand(shape[0] * shape[1] * np.dtype(dtype).itemsize, f"Reading the vectors of {shown(store)}", advice)
    return np.empty(shape, dtype)


def put(out: np.ndarray, places: np.ndarray, vectors: np.ndarray) -> None:
    """Set `out[places] = vectors`, in one pass where these are a run of `out`."""
    if places[-1] - places[0] == len(places) - 1 and (np.diff(places) == 1).all():
        out[places[0] : places[-1] + 1] = vectors
    else:
        out[places] = vectors


def fill(column: pa.ChunkedArray, rows: pa.Table, out: np.ndarray) -> None:
    """Set `out` to the vectors of some rows of a part, which say where they are `at`, out of its vector column."""
    at, start = np.asarray(rows["at"]), 0
    for chunk in column.chunks:
        inside = np.flatnonzero((at >= start) & (at < start + len(chunk)))
        if len(inside):
            put(out, inside, parts.vector_matrix(chunk, out.shape[1])[at[inside] - start])
        start += len(chunk)
