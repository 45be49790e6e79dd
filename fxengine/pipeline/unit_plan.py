"""The plan of a run over many workers: written once, before anything is computed, and never changed.

`_run/plan.parquet` in the store; a row group is a unit, and every part and row has its number in it. So a unit can be
run again, or elsewhere, or twice at once, and what comes of it is the same part, which is made only where none is.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fxengine import store_files
from fxengine.collect.item import Item, escape_path, unescape_path
from fxengine.errors import StoreError, explained, reason
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.features import parts
from fxengine.features.footer import read_footer
from fxengine.features.row_numbers import note_next_row
from fxengine.features.run_folder import RUN_FOLDER
from fxengine.features.schema import MOST_ROWS, Provenance
from fxengine.files import remove_temporaries
from fxengine.pipeline.source import Source
from fxengine.pipeline.units import Task
from fxengine.storage import is_remote, shown

_NAME = "plan.parquet"
_KEY = b"fxengine_plan"
_FORMAT = 1
_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("split", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("etag", pa.string()),
    ]
)
_DIGITS = 16  # of a unit's digest


@dataclass(frozen=True)
class Computing:
    """How every worker computes, chosen once.

    Attributes:
        backbone: the name or path that it was asked for by.
        path: its file on the machine that planned.
        options: of the export, what is not the default.
        runtime: a name in `execute.RUNTIMES`.
        streams: whether a worker runs as many at once as it has cores, or one.
        device: "auto", "cpu", "cuda" or "tensorrt".
        batch_size: rows in one run of the model; of texts, tokens.
        decode_on: "cpu" or "gpu".
    """

    backbone: str
    path: str
    options: dict[str, Any]
    runtime: str
    streams: bool
    device: str
    batch_size: int
    decode_on: str

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= 1 << 30:
            raise ValueError(f"'batch_size' cannot be {self.batch_size}")


@dataclass(frozen=True)
class PlanFacts:
    """What a plan says of all its units.

    Attributes:
        run: the run's own name, 16 random hex digits.
        provenance: what the rows are made with; a worker that would make them otherwise is refused.
        computing: how.
        source: where the inputs are listed.
        again: numbers of the parts whose rows the first units compute again.
        first_part: number of the part that the first of the other units makes; the others count on.
        next_row: the first row number that no unit gives.
        digests: of each unit what `PlannedUnit` is told by, 16 hex digits.
        digest: SHA-256 of all these.
    """

    run: str
    provenance: Provenance
    computing: Computing
    source: Source
    again: tuple[int, ...]
    first_part: int
    next_row: int = 0
    digests: tuple[str, ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{16}", self.run):  # files are called by it
            raise ValueError(f"'run' cannot be {self.run[:60]!r}")
        wrong = next((n for n in (*self.again, self.first_part, self.next_row) if not 0 <= n < MOST_ROWS), None)
        if wrong is not None:
            raise ValueError(f"no part and no row can have the number {wrong}")

    def to_json(self) -> str:
        """Return it as text."""
        own = {name: getattr(self, name) for name in ("run", "again", "first_part", "next_row", "digests", "digest")}
        others = {"provenance": self.provenance.to_dict(), "source": self.source.to_dict()}
        return json.dumps({"format": _FORMAT, **own, **others, "computing": asdict(self.computing)})


@dataclass(frozen=True)
class PlannedUnit:
    """A unit with all that is needed to compute it.

    Attributes:
        number: its place in the plan.
        tasks: its inputs, with the numbers of their rows and the file that they go to.
        kept: of these numbers, those of rows that stay as they are where they cannot be computed again.
    """

    number: int
    tasks: tuple[Task, ...]
    kept: frozenset[int]


class UnitPlan:
    """A plan that was written.

    Attributes:
        folder: the store.
        facts: what it says of all its units.
        rows: how many rows each unit has.
    """

    def __init__(self, folder: Path) -> None:
        """Open it.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it is damaged.
        """
        self.folder, path = folder, plan_path(folder)
        self._state = store_files.state(path)
        if self._state is not None and not self._state.size:
            raise FileNotFoundError(errno.ENOENT, "The run has ended", str(path))
        opened = store_files.open_file(path)
        try:
            self._file = pq.ParquetFile(opened, page_checksum_verification=True, pre_buffer=is_remote(path))
            metadata = self._file.metadata
            said = (metadata.metadata or {}).get(_KEY)
            if said is None or not self._file.schema_arrow.equals(_SCHEMA):
                raise FactsError("is no plan of fxengine")
            self.facts = facts_from(PlanFacts, read_json(said), _FORMAT)
            self.rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
            if _digest_of(self.facts.digests) != self.facts.digest or len(self.rows) != len(self.facts.digests):
                raise FactsError("is damaged: its digest is another")
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, f"is damaged ({reason(error)})") from error
        except FactsError as error:
            raise _damaged(path, str(error)) from error

    def __len__(self) -> int:
        """Return how many units there are."""
        return len(self.rows)

    @property
    def new_parts(self) -> int:
        """How many of them make a new part."""
        return len(self) - len(self.facts.again)

    def target(self, number: int) -> Path:
        """Return the file that a unit makes: a new part, or in `_run/` the rows that are computed again of one."""
        again = self.facts.again
        if number < len(again):
            return self.folder / RUN_FOLDER / f"again-{self.facts.run}-{again[number]:06d}.parquet"
        return parts.part_path(self.folder, self.facts.first_part + number - len(again))

    def provenance(self, number: int) -> Provenance:
        """Return what the file of a unit says of itself."""
        return replace(self.facts.provenance, made_in={"run": self.facts.run, "unit": number})

    def unit(self, number: int) -> PlannedUnit:
        """Read a unit.

        Raises:
            StoreError: the plan is damaged, or was replaced while it was read.
        """
        try:
            table = self._file.read_row_group(number)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(plan_path(self.folder), f"is damaged ({reason(error)})") from error
        if _digest(table) != self.facts.digests[number]:
            raise _damaged(plan_path(self.folder), "is damaged: a unit's digest is another")
        target, columns = self.target(number), [column.to_pylist() for column in table.columns]
        tasks, kept = [], []
        for row, key, source, size, mtime_ns, label, split, content_hash, is_kept, etag in zip(*columns, strict=True):
            item = Item(key, unescape_path(source), size, mtime_ns, label, split, content_hash, etag)
            tasks.append(Task(item, row, target))
            if is_kept:
                kept.append(row)
        return PlannedUnit(number, tuple(tasks), frozenset(kept))

    def is_done(self, number: int) -> bool:
        """Tell whether the file of a unit is there.

        Raises:
            StoreError: it is, and another run made it: another process writes here, or it is damaged.
        """
        return self.is_there(number) and self.check_made(number)

    def is_there(self, number: int) -> bool:
        """Tell whether there is a file by the name that a unit gives; raises StoreError where a server does not say."""
        with explained(f"{shown(self.target(number))} cannot be looked for", kind=StoreError):
            return store_files.is_there(self.target(number))

    def check_made(self, number: int) -> bool:
        """Return True where the file of a unit was made by this run; raises StoreError where not."""
        target = self.target(number)
        made = read_footer(target).provenance.made_in
        if made != self.provenance(number).made_in:
            whose = f"unit {made['unit']} of run {made['run']}" if made else "no run of many workers"
            raise StoreError(
                f"{shown(target)} was made by {whose}, not by unit {number} of run {self.facts.run}: another process "
                f"writes to {shown(self.folder)}. Let one run end before the next one begins."
                + _in_a_bucket(self.folder)
            )
        return True

    def open_units(self) -> list[int]:
        """Return the units whose file is not there, in order; raises StoreError as `is_done` does."""
        with parts.unlisted(self.folder):
            there = {*store_files.names(self.folder), *store_files.names(self.folder / RUN_FOLDER)}
        absent = [number for number in range(len(self)) if self.target(number).name not in there]
        known = absent_from(range(len(self)), absent)
        # Who else writes here is told by the first and the last one: a footer takes a millisecond, of a share more.
        for number in {*known[:1], *known[-1:]}:
            self.check_made(number)
        return absent

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)

    def remove(self) -> None:
        """End the run: every unit is in the store, or was given up. Raises StoreError of a server."""
        self.close()
        with explained(f"{shown(plan_path(self.folder))} cannot be ended", kind=StoreError):
            for number in range(len(self.facts.again)):
                store_files.delete(self.target(number))
            store_files.end(plan_path(self.folder), self._state)


def absent_from(numbers: Iterable[int], others: Sequence[int]) -> list[int]:
    """Return the numbers that are not among others."""
    gone = set(others)
    return [number for number in numbers if number not in gone]


def plan_path(folder: Path) -> Path:
    """Return where the plan of a store is, be there one or not."""
    return folder / RUN_FOLDER / _NAME


def open_plan(folder: Path) -> UnitPlan | None:
    """Return the plan that a store has, None where it has none; raises StoreError where it is damaged."""
    try:
        return UnitPlan(folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        path = plan_path(folder)
        refused = store_files.reason_of(path, error)
        if refused is not None:
            raise StoreError(f"{shown(path)} cannot be read: {refused}") from error
        raise _damaged(path, f"cannot be read ({reason(error)})") from error


def write_plan(
    folder: Path,
    facts: PlanFacts,
    again: Iterable[Sequence[tuple[int, Item, bool]]],
    new: Iterable[Item],
    first_row: int,
    part_rows: int,
) -> UnitPlan:
    """Write a plan where none is, and return the one that is there then: another process may have been first.

    Args:
        folder: the store.
        facts: what it says, but for `next_row` and the digests.
        again: for each number in `facts.again`, rows that are computed again: (number, input, whether what is there
            stays where that fails).
        new: inputs that get new rows, in the order of their ids.
        first_row: number of the first of them.
        part_rows: of each part at most.

    Raises:
        StoreError: it cannot be written.
    """
    path = plan_path(folder)
    row, digests = first_row, []
    with explained(f"Cannot write {shown(path)}", kind=StoreError):
        store_files.make_folder(path.parent)
        remove_temporaries(path.parent)
        for name in store_files.names(path.parent):
            if fnmatch(name, "again-*.parquet"):  # of a run that has ended
                store_files.delete(path.parent / name)
        made = store_files.make(path)
        try:
            with (
                made.path.open("wb") as file,
                pq.ParquetWriter(
                    file, _SCHEMA, compression="zstd", write_statistics=False, write_page_checksum=True
                ) as writer,
            ):
                for table in _tables(again, iter(new), first_row, part_rows):
                    writer.write_table(table, row_group_size=max(1, len(table)))
                    digests.append(_digest(table))
                    if len(digests) > len(facts.again):
                        row += len(table)
                told = replace(facts, next_row=row, digests=tuple(digests), digest=_digest_of(digests))
                writer.add_key_value_metadata({_KEY.decode(): told.to_json()})
            note_next_row(folder, row)  # before anybody can give one of them
            made.create()
        finally:
            made.close()
    return UnitPlan(folder)


def _tables(
    again: Iterable[Sequence[tuple[int, Item, bool]]], new: Iterator[Item], row: int, part_rows: int
) -> Iterator[pa.Table]:
    for rows in again:
        numbers, items, kept = zip(*rows, strict=True)
        yield _table(numbers, items, kept)
    while items := tuple(islice(new, part_rows)):
        yield _table(range(row, row + len(items)), items, [False] * len(items))
        row += len(items)


def _table(numbers: Sequence[int], items: Sequence[Item], kept: Sequence[bool]) -> pa.Table:
    keys, sources, sizes, times, labels, splits, hashes, etags = zip(*items, strict=True)
    columns = [numbers, keys, list(map(escape_path, sources)), sizes, times, labels, splits, hashes, kept, etags]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def _digest(table: pa.Table) -> str:
    """Return the digest of a unit: of its numbers, ids and places."""
    hashed = hashlib.sha256()
    for name in ("row", "size"):
        hashed.update(np.asarray(table[name]).tobytes())
    for name in ("key", "source"):
        hashed.update("\0".join(table[name].to_pylist()).encode())
    return hashed.hexdigest()[:_DIGITS]


def _digest_of(digests: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _in_a_bucket(folder: Path) -> str:
    """Return what to do where a late writer, whose lease another run has taken over, has made a part of that run's."""
    if not is_remote(folder):
        return ""
    plan = shown(plan_path(folder))
    return f" Where none is at work any more, delete {plan}: what is in the store stays, the rest is planned anew."


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{shown(path)} {why}. Where no worker runs any more, delete it: what is in the store stays, the rest is "
        "planned anew."
    )
