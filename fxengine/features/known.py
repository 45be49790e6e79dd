"""What a store already knows, held against what is there now: the plan of an update."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine import store_files
from fxengine.collect.item import Item
from fxengine.features import parts
from fxengine.features.row_numbers import older_halves
from fxengine.features.schema import COLUMN_GROUPS, ETAG_GROUP, TRANSIENT_ERRORS, Provenance
from fxengine.storage import Found

_COLUMNS = ["row", "id", "label", "split", "size", "mtime_ns", "error_code", "content_hash"]
_CHUNK = 65_536


@dataclass(frozen=True)
class Known:
    """The rows of a store without their vectors, sorted by id (bytewise): about 90 bytes a row, 160 with the hashes.

    Attributes:
        table: columns row, id, label, split, size, mtime_ns, error_code, content_hash (null unless it was asked for),
            part (index into `paths`), and for every column group, named like its first column, whether the row has it;
            of `etag` its value.
        paths: the parts.
        superseded: (part, row) of rows that another part holds under a newer id: half of a rename.
        next_row: the first row number that was never given out.
        states: name of a part -> the state that it was read in, where it lies in a bucket.
    """

    table: pa.Table
    paths: list[Path]
    superseded: list[tuple[Path, int]]
    next_row: int
    states: Mapping[str, Found] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: list[Path], *, hashes: bool = False) -> Known:
        """Read the small columns of every part.

        Args:
            paths: the parts.
            hashes: whether what rows hold is to be compared by its content.

        Raises:
            StoreError: a part is damaged, or two hold one row number with different contents.
        """
        tables, next_row, groups = [], 0, list(map(_mark, COLUMN_GROUPS))
        wanted = [*_COLUMNS[: None if hashes else -1], *groups]
        with parts.unlisted(paths[0].parent if paths else Path()):
            states = store_files.states(paths[0].parent) if paths else {}
        found = store_files.each(lambda path: parts.read_part(path, wanted), paths)
        for number, (path, table) in enumerate(zip(paths, found, strict=True)):
            if not hashes:
                table = table.append_column("content_hash", pa.nulls(len(table), pa.string()))
            highest = pc.max(table["row"]).as_py() if len(table) else -1
            next_row = max(next_row, highest + 1, Provenance.from_schema(table.schema, path.name).next_row)
            for name in ("label", "split", "error_code"):
                index = table.schema.get_field_index(name)
                table = table.set_column(index, name, pc.dictionary_encode(table.column(name)))
            for name in groups:
                if name == ETAG_GROUP:
                    continue
                table = table.set_column(table.schema.get_field_index(name), name, pc.is_valid(table.column(name)))
            tables.append(
                table.append_column("part", pa.array(np.full(len(table), number, np.int32))).replace_schema_metadata()
            )
        if not tables:
            return cls(pa.table({name: [] for name in [*_COLUMNS, *groups, "part"]}), [], [], 0)
        table = pa.concat_tables(tables).unify_dictionaries()
        del tables  # or all rows would be there twice more
        table, superseded = _drop_superseded(table, paths)
        table = table.take(pc.sort_indices(table, [("id", "ascending")]))
        pa.default_memory_pool().release_unused()  # the run has other uses for it than Arrow
        return cls(table, paths, [(paths[part], row) for part, row in superseded], next_row, states)

    def __len__(self) -> int:
        return len(self.table)


@dataclass
class Plan:
    """What an update has to do.

    Attributes:
        new: inputs that have no row.
        unchanged: rows to leave alone.
        changed: rows whose input is another now.
        retried: rows that failed and are worth another try.
        widened: rows that are as they were, but lack a column group that is wanted.
        kept: (part, row) of these: what they have stays where they cannot be computed again.
        again: part -> inputs whose row is computed again (changed, retried or widened), with rows.
        relabel: part -> row -> (label, split) where only these changed.
        missing: part -> rows whose input is not there any more.
        superseded: as `Known` has it.
    """

    new: int = 0
    unchanged: int = 0
    changed: int = 0
    retried: int = 0
    widened: int = 0
    kept: set[tuple[Path, int]] = field(default_factory=set)
    again: dict[Path, list[tuple[int, Item]]] = field(default_factory=dict)
    relabel: dict[Path, dict[int, tuple[str | None, str | None]]] = field(default_factory=dict)
    missing: dict[Path, list[int]] = field(default_factory=dict)
    superseded: list[tuple[Path, int]] = field(default_factory=list)


def make_plan(
    known: Known,
    listing: Iterable[Item],
    *,
    retry_failed: bool = False,
    labelled: bool = True,
    groups: Sequence[str] = (),
    hashed: bool = False,
) -> Plan:
    """Compare a sorted listing with a store's rows, both once from front to back.

    Args:
        known: the store's rows.
        listing: what is there now.
        retry_failed: whether to try lasting errors again, too.
        labelled: whether the listing knows labels and splits; where it does not, the rows keep theirs.
        groups: column groups that every row with a vector is to have, from `schema.united_groups`.
        hashed: whether the listing and `known` say the hash of what each holds, which then decides what has changed.
    """
    plan = Plan(superseded=known.superseded)
    for row, item in _merge(known, listing, groups):
        if row is None:
            plan.new += 1
        elif item is None:
            plan.missing.setdefault(known.paths[row.part], []).append(row.row)
        else:
            if not labelled:
                item = item._replace(label=row.label, split=row.split)
            _plan_known(plan, known.paths[row.part], row, item, retry_failed, hashed)
    return plan


def new_items(known: Known, listing: Iterable[Item]) -> Iterator[Item]:
    """Yield the inputs that the store has no row for, in their order."""
    for row, item in _merge(known, listing):
        if row is None and item is not None:
            yield item


class _KnownRow(NamedTuple):
    row: int
    key: str
    label: str | None
    split: str | None
    size: int
    mtime_ns: int
    error_code: str | None
    content_hash: str | None
    part: int
    etag: str | None
    lacks: bool


def _plan_known(plan: Plan, path: Path, row: _KnownRow, item: Item, retry_failed: bool, hashed: bool) -> None:
    if item.size < 0 and row.error_code is None:
        # Named by a list or a link, and yet not there (a share is not mounted?): its vector stays.
        plan.missing.setdefault(path, []).append(row.row)
        return
    if hashed:
        changed = row.content_hash != item.content_hash
    elif row.etag and item.etag:  # whatever the clocks say
        changed = (row.size, row.etag) != (item.size, item.etag)
    else:
        changed = (row.size, row.mtime_ns) != (item.size, item.mtime_ns)
    retry = row.error_code is not None and (retry_failed or row.error_code in TRANSIENT_ERRORS)
    widen = row.error_code is None and row.lacks
    if changed or retry or widen:
        plan.again.setdefault(path, []).append((row.row, item))
        plan.changed += changed
        plan.retried += retry and not changed
        if widen and not changed:
            plan.widened += 1
            plan.kept.add((path, row.row))
        return
    plan.unchanged += 1
    if (row.label, row.split) != (item.label, item.split):
        plan.relabel.setdefault(path, {})[row.row] = (item.label, item.split)


def _merge(
    known: Known, listing: Iterable[Item], groups: Sequence[str] = ()
) -> Iterator[tuple[_KnownRow | None, Item | None]]:
    """Yield (row, item) of equal id, or one of the two with None, in the order of the ids."""
    rows = _iterate(known.table, groups)
    row = next(rows, None)
    for item in listing:
        key = item.key
        if row is not None and row.key != key:
            encoded = key.encode()
            while row is not None and row.key.encode() < encoded:
                yield row, None
                row = next(rows, None)
        if row is not None and row.key == key:
            yield row, item
            row = next(rows, None)
        else:
            yield None, item
    while row is not None:
        yield row, None
        row = next(rows, None)


def _iterate(table: pa.Table, groups: Sequence[str]) -> Iterator[_KnownRow]:
    for start in range(0, len(table), _CHUNK):
        chunk = table.slice(start, _CHUNK)
        columns = [_values(chunk.column(name)) for name in [*_COLUMNS, "part"]]
        lacks = np.zeros(len(chunk), bool)
        for group in groups:
            has = chunk.column(_mark(group))
            lacks |= ~np.asarray(pc.is_valid(has) if group == ETAG_GROUP else has)
        yield from map(_KnownRow, *columns, _etags(chunk), lacks.tolist())


def _etags(chunk: pa.Table) -> Iterable[str | None]:
    has = ETAG_GROUP in chunk.column_names and chunk[ETAG_GROUP].null_count < len(chunk)
    return _values(chunk[ETAG_GROUP]) if has else repeat(None, len(chunk))


def _mark(group: str) -> str:
    """Return the column that is null in a row with a vector only where it lacks the group."""
    name: str = COLUMN_GROUPS[group][0].name
    return name


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values; numbers and dictionaries by numpy, which is ten times faster than Arrow."""
    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        words = [*array.dictionary.to_pylist(), None]  # the code of a null is -1, the last
        return [words[code] for code in np.asarray(pc.fill_null(array.indices, -1)).tolist()]
    values: list[Any] = array.to_pylist() if pa.types.is_string(array.type) else np.asarray(array).tolist()
    return values


def _drop_superseded(table: pa.Table, paths: list[Path]) -> tuple[pa.Table, list[tuple[int, int]]]:
    """Where two parts hold the same row number, keep the later part's: a rename was cut off between its halves."""
    rows, part = np.asarray(table["row"]), np.asarray(table["part"])
    older = older_halves(rows, part, paths)
    if not len(older):
        return table, []
    keep = np.ones(len(table), bool)
    keep[older] = False
    return table.filter(pa.array(keep)), [(int(part[i]), int(rows[i])) for i in older]
