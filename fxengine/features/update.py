"""Brings a store up to date: takes finished rows in order and puts each where it belongs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from fxengine.collect.stored import is_gone, stored_path
from fxengine.errors import StoreError
from fxengine.features import parts
from fxengine.features.known import Plan
from fxengine.features.parts import Row, Vectors
from fxengine.features.schema import Provenance
from fxengine.features.write import PartWriter, rewrite_part
from fxengine.storage import Found, shown


class StoreUpdate:
    """Commits new rows as new parts, and rewrites a part as soon as all of its changed rows are there.

    Rows to replace must come part by part, as `Plan.again` lists them; new rows follow.
    """

    def __init__(
        self,
        folder: Path,
        provenance: Provenance,
        plan: Plan,
        next_row: int,
        part_rows: int,
        *,
        first_part: int | None = None,
        states: Mapping[str, Found] = MappingProxyType({}),
    ) -> None:
        """Begin.

        Args:
            folder: the store.
            provenance: what its rows are made with.
            plan: what there is to do.
            next_row: the first number that was never given.
            part_rows: of a new part at most.
            first_part: as for `PartWriter`.
            states: name of a part -> the state that it was planned by, in a bucket.
        """
        self._writer = PartWriter(folder, provenance, next_row, part_rows, first_part)
        self._states = {**states}
        self._provenance = provenance
        self._plan = plan
        self._part: Path | None = None
        self._again: dict[int, tuple[Row, Vectors | None]] = {}
        self._drops: dict[Path, set[int]] = {}
        self._done: set[Path] = set()

    @property
    def next_row(self) -> int:
        """The number that the next new row gets."""
        return self._writer.next_row

    @property
    def new_part(self) -> Path:
        """The part that the next new row goes to."""
        return self._writer.part

    @property
    def part_rows(self) -> int:
        """The rows of a new part at most."""
        return self._writer.part_rows

    def replace(self, part: Path, row: Row, vectors: Vectors | None) -> None:
        """Take the new content of a row of `part`."""
        if part != self._part:
            self._flush_part()
            self._part = part
        self._again[row.row] = (row, vectors)

    def append(self, row: Row, vectors: Vectors | None) -> None:
        """Take a row that is new, or that moves here from another part (`drop` it there afterwards)."""
        self._flush_part()
        self._writer.append(row, vectors)

    def extend(self, rows: Sequence[Row], vectors: Vectors) -> None:
        """Take rows that are new, with the vectors of the first of them, [n, dim]."""
        self._flush_part()
        self._writer.extend(rows, vectors)

    def drop(self, part: Path, rows: Collection[int]) -> None:
        """Leave these rows out of `part`, after everything else was committed."""
        self._drops.setdefault(part, set()).update(rows)

    def commit(self) -> None:
        """Commit what has come so far, as an interrupted run does: nothing is dropped or relabelled."""
        self._flush_part()
        self._writer.commit()

    def finish(self) -> None:
        """Commit everything, then relabel and drop in the parts that are left."""
        self.commit()
        done = set(self._done)
        # In the order of their numbers: of a rename that was cut off, the older half always goes first.
        for part in sorted({*self._plan.relabel, *self._drops}, key=parts.part_number):
            if part not in done:
                self._rewrite(part)
            elif part in self._drops:
                rewrite_part(part, self._provenance, drop=self._drops[part], read=self._planned(part))

    def _flush_part(self) -> None:
        if self._part is not None and self._again:
            # A rename that was cut off is told by its equal contents: its older half goes before the newer one changes.
            halves: dict[Path, list[int]] = {}
            for part, row in self._plan.superseded:
                if row in self._again:
                    halves.setdefault(part, []).append(row)
            for part, rows in halves.items():
                rewrite_part(part, self._provenance, drop=rows, read=self._planned(part))
            self._rewrite(self._part)
        self._part, self._again = None, {}

    def _rewrite(self, part: Path) -> None:
        rewrite_part(
            part,
            self._provenance,
            again=self._again if part == self._part else None,
            relabel=self._plan.relabel.get(part),
            drop=() if part == self._part else self._drops.get(part, ()),
            read=self._planned(part),
        )
        self._done.add(part)

    def _planned(self, part: Path) -> Found | None:
        """Return the state that a part was planned by, the first time that it is written anew."""
        return self._states.pop(part.name, None)


@dataclass(frozen=True)
class StoredVector:
    """A row's vectors as a store holds them, with the size of its picture and its values of further columns."""

    vectors: Vectors
    width: int | None
    height: int | None
    further: Mapping[str, object]


_MOVABLE = ["row", "id", "content_hash", "error_code", "size"]


class Movable:
    """Rows whose input is gone, by content: a new input with the same bytes takes over number and vector.

    Attributes:
        sizes: of their inputs in bytes.
    """

    def __init__(self, missing: dict[Path, list[int]], root: Path) -> None:
        """Take the missing rows of each part, and the folder that ids are relative to."""
        self._root = root
        self._rows: dict[str, list[tuple[Path, int, str]]] = {}
        self._claimed: dict[str, int] = {}
        self.sizes: set[int] = set()
        self._loaded: tuple[Path, pa.Table] | None = None
        for part, rows in missing.items():
            table = parts.read_part(part, _MOVABLE)
            gone = set(rows)
            for row, key, digest, error, size in zip(*(table[n].to_pylist() for n in _MOVABLE), strict=True):
                if row in gone and digest is not None and error is None:
                    self._rows.setdefault(digest, []).append((part, row, key))
                    self.sizes.add(size)

    def __contains__(self, digest: object) -> bool:
        return digest in self._rows

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def claim(self, digest: str) -> tuple[Path, int] | None:
        """Return (part, row) of a row with this content whose file is really gone, each only once.

        A row may be missing from a listing only because a filter left its file out.
        """
        for part, row, key in self._rows[digest][self._claimed.get(digest, 0) :]:
            self._claimed[digest] = self._claimed.get(digest, 0) + 1
            if is_gone(stored_path(str(self._root), key)):
                return part, row
        return None

    def stored(self, digest: str) -> StoredVector:
        """Return the vectors of this content, and what else goes with it."""
        part, row, _ = self._rows[digest][0]
        if self._loaded is None or self._loaded[0] != part:
            self._loaded = part, parts.read_part(part).combine_chunks()
        table = self._loaded[1]
        places = np.flatnonzero(np.asarray(table["row"]) == row)
        if not len(places):
            raise StoreError(f"{shown(part)} has no row {row} any more: another process writes to the store.")
        at = int(places[0])
        made = Provenance.from_schema(table.schema, part.name)
        vectors = {n: parts.vector_matrix(table[n].chunk(0), dim)[at].copy() for n, dim in made.columns.items()}
        further = {each.name: table[each.name][at].as_py() for each in made.further}
        return StoredVector(vectors, table["width"][at].as_py(), table["height"][at].as_py(), further)
