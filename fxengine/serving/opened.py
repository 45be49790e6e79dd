"""A store that is looked at: opened once, and what takes long computed once, when it is first asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.execute import usable_cores
from fxengine.features.read import FeatureStore
from fxengine.trust import within_named

if TYPE_CHECKING:  # loads ONNX Runtime, which the page does without
    from fxengine.heads.file import Head

T = TypeVar("T")


class Refused(Exception):
    """What was asked for is not given; the sentence says why.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class _Nothing:
    pass


_NOTHING = _Nothing()


class Once:
    """Values by name, each made once: who asks while it is being made waits, others do not.

    Only the `most` that were asked for last are kept.
    """

    def __init__(self, most: int = 64) -> None:
        self._most, self._lock = most, threading.Lock()
        self._locks: OrderedDict[object, threading.Lock] = OrderedDict()
        self._values: dict[object, Any] = {}

    def __call__(self, name: object, make: Callable[[], T]) -> T:
        """Return the value of that name; what `make` raises is raised, and made anew the next time."""
        with self._lock:
            own = self._locks.setdefault(name, threading.Lock())
            self._locks.move_to_end(name)
            while len(self._locks) > self._most:
                self._values.pop(self._locks.popitem(last=False)[0], None)
        with own:
            kept: T | _Nothing = self._values.get(name, _NOTHING)
            if not isinstance(kept, _Nothing):
                return kept
            try:
                value = make()
            except BaseException:
                with self._lock:
                    self._locks.pop(name, None)
                raise
            with self._lock:
                if name in self._locks:
                    self._values[name] = value
            return value


@dataclass(frozen=True)
class Opened:
    """A store, a head that answers for its rows, and what was computed of them.

    Attributes:
        store: the store.
        layer: a further layer's name; None for the default one.
        backbone: the file or name that embeds what is searched by, where the cache has it not.
        device: what runs it.
        head: answers for the rows, or None.
        reports: pages that can be opened beside the store.
        review: where what a person answers is kept; beside the store unless given.
        once: what takes long, by name.
        views: rows in an order, by what was asked for.
        picked: rows that were chosen by hand, and pictures that were brought, by a name that the page knows.
        decoding: as many pictures are decoded at once as there are cores.
        is_shown: tells whether this user extracted from, or named, a folder.
    """

    store: FeatureStore
    layer: str | None = None
    backbone: str | Path | None = None
    device: str = "auto"
    head: Head | None = None
    reports: tuple[Path, ...] = ()
    review: Path | None = None
    once: Once = field(default_factory=Once)
    views: Once = field(default_factory=lambda: Once(16))
    picked: Once = field(default_factory=lambda: Once(16))
    decoding: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(usable_cores()))
    is_shown: Callable[[str], bool] = field(default_factory=lambda: cache(within_named))

    @cached_property
    def table(self) -> pa.Table:
        """The small columns of every row, failed ones, too, in the order of ids."""
        return self.store.rows()

    @cached_property
    def rows(self) -> np.ndarray:
        """The permanent numbers of the rows of `table`, int64 [n]."""
        return np.asarray(self.table["row"])

    @cached_property
    def searchable(self) -> np.ndarray:
        """The place in `table` of every row that has a vector, int64 [m], in the order of `Index.table`."""
        return np.flatnonzero(np.asarray(pc.is_null(self.table["error_code"])))

    @cached_property
    def vector_places(self) -> np.ndarray:
        """The place among the vectors of every row of `table`, int64 [n]; -1 where it has none."""
        places = np.full(len(self.rows), -1, np.int64)
        places[self.searchable] = np.arange(len(self.searchable))
        return places

    @cached_property
    def _sorted(self) -> np.ndarray:
        return np.argsort(self.rows)

    def place_of(self, row: int) -> int:
        """Return the place in `table` of a row by its number; raises Refused where there is none."""
        at = int(np.searchsorted(self.rows, row, sorter=self._sorted))
        place = int(self._sorted[at]) if at < len(self.rows) else -1
        if place < 0 or self.rows[place] != row:
            raise Refused(404, f"The store has no row {row}.")
        return place

    def vector_place_of(self, row: int) -> int:
        """Return a row's place among the vectors; raises Refused where it has none."""
        place = int(self.vector_places[self.place_of(row)])
        if place < 0:
            raise Refused(404, f"Row {row} has no vector: it failed.")
        return place

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return values of the rows that have a vector, [m], as float64 [n] over all rows, NaN elsewhere."""
        out = np.full(len(self.rows), np.nan)
        out[self.searchable] = values
        return out
