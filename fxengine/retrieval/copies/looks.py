"""The looks of a store's pictures: each made once, the last ones asked for kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np

from fxengine.collect.stored import hash_of, stored_path
from fxengine.decode.picture.small import read_small
from fxengine.errors import DecodeError
from fxengine.execute import usable_cores
from fxengine.retrieval.copies.glance import GLANCE, glance_at
from fxengine.retrieval.copies.look import EDGE, LARGE, Look, in_large, look_at
from fxengine.trust import within_named

_KEPT = 2048  # looks in memory, some 80 KB each
_AHEAD = 1024  # glances that wait at most


class Looks:
    """Looks at the pictures of a store, where this user extracted from their folder or named it; threads may share it.

    Attributes:
        hidden: whether some were not looked at, since nobody named their folder.
    """

    def __init__(self, root: str, ids: Sequence[str], hashes: Sequence[str | None]) -> None:
        self.hidden = False
        self._root, self._ids, self._hashes = root, ids, hashes
        self._kept: OrderedDict[int, Look | None] = OrderedDict()
        self._named = cache(within_named)
        self._lock = Lock()

    def __call__(self, row: int) -> Look | None:
        """Return the look of a row, None where its file is gone, another one now, or not to be looked at."""
        with self._lock:
            if row in self._kept:
                self._kept.move_to_end(row)
                return self._kept[row]
        found = self._made(row)
        with self._lock:
            self._kept[row] = found
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def glances(self, rows: Sequence[int]) -> Iterator[tuple[np.ndarray, float] | None]:
        """Yield what `glance_at` says of rows, decoded on all cores; None as for a look."""
        with ThreadPoolExecutor(usable_cores()) as pool:
            for start in range(0, len(rows), _AHEAD):
                yield from pool.map(self._glance, rows[start : start + _AHEAD])

    def large(self, row: int) -> np.ndarray | None:
        """Return what the look of a row shows in up to `LARGE` pixels, uint8 [height, width]; None without one."""
        look = self(row)
        if look is None:
            return None
        try:
            return in_large(look, read_small(stored_path(self._root, self._ids[row]), LARGE)[0])
        except DecodeError:
            return None

    def _glance(self, row: int) -> tuple[np.ndarray, float] | None:
        found = self._read(row, EDGE if len(self._ids) <= _KEPT else GLANCE)
        return None if found is None else glance_at(found[0])

    def _made(self, row: int) -> Look | None:
        found = self._read(row, EDGE)
        return None if found is None else look_at(*found)

    def _read(self, row: int, edge: int) -> tuple[np.ndarray, tuple[int, int]] | None:
        path = stored_path(self._root, self._ids[row])
        if not self._named(Path(path).parent):
            self.hidden = True
            return None
        try:
            pixels, size, data = read_small(path, edge)
            return (pixels, size) if hash_of(path, data) == self._hashes[row] else None
        except DecodeError:
            return None
