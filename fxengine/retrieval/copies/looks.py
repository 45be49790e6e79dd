"""The looks of a store's pictures: each made once, the last ones asked for kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fxengine.collect.item import sha256_of
from fxengine.collect.stored import is_named, stored_path
from fxengine.decode.picture.small import read_small
from fxengine.errors import DecodeError
from fxengine.execute import usable_cores
from fxengine.retrieval.copies.look import EDGE, LARGE, Look, in_large, look_at

_KEPT = 2048  # looks in memory, some 80 KB each


class Looks:
    """Looks at the pictures of a store, where this user extracted from their folder or named it.

    Attributes:
        hidden: whether some were not looked at, since nobody named their folder.
    """

    def __init__(self, root: str, ids: Sequence[str], hashes: Sequence[str | None]) -> None:
        self.hidden = False
        self._root, self._ids, self._hashes = root, ids, hashes
        self._kept: OrderedDict[int, Look | None] = OrderedDict()

    def __call__(self, row: int) -> Look | None:
        """Return the look of a row, None where its file is gone, another one now, or not to be looked at."""
        if row in self._kept:
            self._kept.move_to_end(row)
            return self._kept[row]
        found = self._kept[row] = self._made(row)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found

    def ready(self, rows: Sequence[int]) -> None:
        """Look at rows that will be asked for, fewer than are kept, on all cores."""
        wanted = [row for row in rows if row not in self._kept]
        with ThreadPoolExecutor(usable_cores()) as pool:
            for row, look in zip(wanted, pool.map(self._made, wanted), strict=True):
                self._kept[row] = look
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def large(self, row: int) -> np.ndarray | None:
        """Return what the look of a row shows in up to `LARGE` pixels, uint8 [height, width]; None without one."""
        look = self(row)
        if look is None:
            return None
        try:
            return in_large(look, read_small(stored_path(self._root, self._ids[row]), LARGE)[0])
        except DecodeError:
            return None

    def _made(self, row: int) -> Look | None:
        path = stored_path(self._root, self._ids[row])
        if not is_named(path):
            self.hidden = True
            return None
        try:
            pixels, size, data = read_small(path, EDGE)
        except DecodeError:
            return None
        return look_at(pixels, size) if sha256_of(data) == self._hashes[row] else None
