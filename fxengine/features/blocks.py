"""A store's vectors in blocks, as heads and PCA read them: again and again, never all at once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.errors import StoreError
from fxengine.features.float16 import widen
from fxengine.features.moments import Block, Blocks
from fxengine.features.read import FeatureStore
from fxengine.features.unit import unit_length

# Enough for a fold's share to be worth a product, few enough to stay small.
_ROWS = 4096
_SAY_EVERY = 5.0  # seconds

# Takes a sentence about how far long work is.
Say = Callable[[str], None]


def store_rows(store: FeatureStore) -> pa.Table:
    """Return row, id, label, split and content_hash of the rows that have a vector, sorted by id."""
    table = store.whole.rows(["row", "id", "label", "split", "content_hash", "error_code"])
    table = table.filter(pc.is_null(table["error_code"])).drop_columns(["error_code"])
    ids = store.ids()
    return table if len(ids) == len(table) else table.filter(pc.is_in(table["id"], pa.array(ids, pa.string())))


def store_blocks(
    store: FeatureStore, rows: np.ndarray, *, layer: str | None = None, unit: bool = False, often: bool = False
) -> Blocks:
    """Return the blocks of these rows, in the store's order.

    Args:
        store: the store.
        rows: permanent numbers of the rows, int64 [n]; a block's `at` is a row's place in it.
        layer: a further layer's name; the default one unless given.
        unit: whether to scale every vector to length 1.
        often: whether they will be read several times, so that a copy in the cache pays.

    Raises:
        StoreError (while reading): a vector has a value that is not finite.
    """
    order = np.argsort(rows)
    ordered, width = rows[order], store.provenance.dim_of(layer)

    def stored() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        copied = None
        if often:
            with suppress(OSError):  # there is no room for the copy
                copied = store.matrix_blocks(_ROWS, layer)
        if copied is not None:
            yield from copied
            return
        for table in store.batches(_ROWS, layer=layer):
            yield table.rows, table.vectors

    def read() -> Iterator[Block]:
        # One is filled while the other is worked on. Memory that is touched for the first time costs more than all
        # that is done to it here.
        rooms = itertools.cycle([np.empty((_ROWS, width), np.float32) for _ in range(2)])
        for numbers, vectors in stored():
            place = np.minimum(np.searchsorted(ordered, numbers), len(rows) - 1)
            mine = np.flatnonzero(ordered[place] == numbers)
            if not len(mine):
                continue
            x = widen(vectors if len(mine) == len(vectors) else vectors[mine], next(rooms)[: len(mine)])
            squares = np.einsum("ij,ij->i", x, x)
            if not np.isfinite(squares).all():
                check_finite(x, numbers[mine], store)
            if unit:
                unit_length(x, out=x, squares=squares)
            yield Block(x, order[place[mine]])

    return lambda: _ahead(read())


def _ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """Yield the blocks while the next one is read."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = pool.submit(next, blocks, None)
            yield block


def told(blocks: Blocks, rows: int, what: str, progress: Say | None) -> Blocks:
    """Return the same blocks, which say every five seconds the how manyth pass over them it is and how far it is.

    Args:
        blocks: the rows.
        rows: how many.
        what: what they are read for.
        progress: told so; None for nobody.
    """
    if progress is None:
        return blocks
    passes, said = 0, time.monotonic()

    def read() -> Iterator[Block]:
        nonlocal passes, said
        passes, done = passes + 1, 0
        for block in blocks():
            yield block
            done += len(block.at)
            if time.monotonic() - said >= _SAY_EVERY:
                said = time.monotonic()
                progress(f"{what}: {done:,} of {rows:,} rows, pass {passes}")

    return read


def counted(what: str, total: int, progress: Say | None) -> Callable[[int], None]:
    """Return what is told how many are done, and says every five seconds how far it is, how fast, and the time left.

    Args:
        what: is done.
        total: how many there are.
        progress: told so; None for nobody.
    """
    begin = said = time.monotonic()

    def step(done: int) -> None:
        nonlocal said
        now = time.monotonic()
        if progress is not None and now - said >= _SAY_EVERY and done:
            said, rate = now, done / (now - begin)
            progress(f"{what}: {done:,} of {total:,}, {rate:.0f}/s, {(total - done) / rate:.0f} s left")

    return step


def counted_blocks(blocks: Iterable[np.ndarray], what: str, total: int, progress: Say | None) -> Iterator[np.ndarray]:
    """Yield blocks of rows, and tell how many were worked on as `counted` does."""
    done, step = 0, counted(what, total, progress)
    for block in blocks:
        yield block
        done += len(block)
        step(done)


def check_finite(x: np.ndarray, rows: np.ndarray, store: FeatureStore) -> None:
    """Raise StoreError, naming the first row, where a vector has a value that is not finite.

    Args:
        x: [n, dim] vectors.
        rows: their permanent numbers, int64 [n].
        store: where they come from.
    """
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        table = store.rows(["row", "id"])
        key = table["id"][pc.index(table["row"], int(rows[bad[0]])).as_py()].as_py()
        raise StoreError(
            f"The vector of {key!r} has values that are not finite ({len(bad)} such rows in one "
            f"block). `fxengine verify {store.called} --repair` computes bad parts again."
        )


def matrix_blocks(x: np.ndarray, some: np.ndarray | None = None) -> Blocks:
    """Return the blocks of rows in memory, float32 or float16 [n, dim], or of `some`, int64 [k], scaled to length 1."""
    count = len(x) if some is None else len(some)

    def read() -> Iterator[Block]:
        for start in range(0, count, _ROWS):
            rows = widen(x[start : start + _ROWS] if some is None else x[some[start : start + _ROWS]])
            unit_length(rows, out=rows, squares=np.einsum("ij,ij->i", rows, rows))
            yield Block(rows, np.arange(start, start + len(rows)))

    return read


def as_matrix(blocks: Blocks, n: int, dim: int) -> np.ndarray:
    """Return all rows as float32 [n, dim], in the order of their places."""
    matrix = np.empty((n, dim), np.float32)
    for x, at in blocks():
        matrix[at] = x
    return matrix
