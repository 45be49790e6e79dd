"""Row numbers are given once: the highest that was given is noted, and a number that two rows hold is told apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.errors import StoreError
from fxengine.features import parts
from fxengine.features.schema import MOST_ROWS
from fxengine.storage import is_remote, shown
from fxengine.store_files import making, read_short

_NAME = ".next_row"
_LONGEST = 32  # bytes


class Clash(NamedTuple):
    """Two rows that hold one number and are no rename of each other.

    Attributes:
        row: the number.
        older: the part that holds it first.
        newer: the other one, or the same.
        at: place of the row in `newer`.
    """

    row: int
    older: Path
    newer: Path
    at: int


def noted_next_row(folder: Path) -> int:
    """Return the number that a store's note says; 0 where there is none that can be read."""
    try:
        found = re.fullmatch(rb"(\d+)\s*", read_short(folder / _NAME, _LONGEST))
    except OSError:
        return 0
    number = int(found[1]) if found else 0
    return number if number < MOST_ROWS // 2 else 0  # else there were soon none left


def note_next_row(folder: Path, number: int) -> None:
    """Note that no row number below `number` is given again; never lowers what is noted.

    The parts say it, too, unless the last one is deleted by hand: a disk that has no room for the note stops nothing.
    """
    if number <= noted_next_row(folder):
        return
    with suppress(OSError), making(folder / _NAME) as temporary:
        temporary.write_text(f"{number}\n")


def older_halves(rows: np.ndarray, part: np.ndarray, paths: Sequence[Path]) -> np.ndarray:
    """Return the places of the rows whose number a later part holds under a newer id: half of a rename.

    Args:
        rows: row numbers of all parts one after the other, int64 [n].
        part: index of each row's part, ascending, [n].
        paths: the parts.

    Raises:
        StoreError: two rows hold one number and are no rename: neither may be left out.
    """
    older, _, renamed = _doubles(rows, part, paths)
    if not renamed.all():
        raise StoreError(_sentence(find_clashes(rows, part, paths)))
    return older


def find_clashes(rows: np.ndarray, part: np.ndarray, paths: Sequence[Path]) -> list[Clash]:
    """Return the rows that hold a number of another row; arguments as for `older_halves`.

    A rename keeps the content: where two parts hold one number with different contents, it is none.
    """
    older, newer, renamed = _doubles(rows, part, paths)
    starts = np.searchsorted(part, np.arange(len(paths)))
    return [
        Clash(int(rows[b]), paths[part[a]], paths[part[b]], int(b - starts[part[b]]))
        for a, b in zip(older[~renamed], newer[~renamed], strict=True)
    ]


def doubled_ids(rows: np.ndarray, part: np.ndarray, paths: Sequence[Path]) -> list[tuple[str, Path, Path]]:
    """Return (id, part, later part) of the ids that two rows have, the older halves of renames left out.

    Arguments as for `older_halves`. No run writes such rows: readers give both, an update takes one for missing.
    """
    older, _, renamed = _doubles(rows, part, paths)
    keep = np.ones(len(rows), bool)
    keep[older[renamed]] = False
    ids = pa.chunked_array(
        [pa.array([], pa.string()), *(parts.read_part(p, ["id"])["id"].combine_chunks() for p in paths)]
    )
    ids, of = ids.filter(pa.array(keep)), part[keep]
    order = np.asarray(pc.sort_indices(ids))  # stable: of equal ids the older part's comes first
    ordered = ids.take(order)
    same = np.flatnonzero(np.asarray(pc.equal(ordered[1:], ordered[:-1])))
    return [(ordered[i].as_py(), paths[of[order[i]]], paths[of[order[i + 1]]]) for i in same.tolist()]


def renumber(paths: Sequence[Path]) -> None:
    """Give the later row of every clash a number that was never given; the store's lock must be held."""
    while True:
        rows, part = read_numbers(paths)
        clashes = find_clashes(rows, part, paths)
        if not clashes:
            return
        number = next_row(paths)
        note_next_row(paths[0].parent, number + len(clashes))
        # One part at a time, the last first: each is whole by itself, and the next round looks at what is left.
        path = max((clash.newer for clash in clashes), key=parts.part_number)
        mine = [clash.at for clash in clashes if clash.newer == path]
        table = parts.read_part(path)
        numbers = np.asarray(table["row"]).copy()
        numbers[mine] = np.arange(number, number + len(mine))
        at = table.schema.get_field_index("row")
        changed = table.set_column(at, table.schema.field(at), pa.array(numbers))
        provenance = replace(parts.read_provenance(path), next_row=number + len(mine))
        parts.write_part(changed.replace_schema_metadata(provenance.to_metadata()), path, replace=True)


def next_row(paths: Sequence[Path]) -> int:
    """Return the first number that was never given, as the parts and the note have it."""
    rows, _ = read_numbers(paths)
    given = (parts.read_provenance(path).next_row for path in paths)
    return max(int(rows.max(initial=-1)) + 1, noted_next_row(paths[0].parent), *given)


def read_numbers(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Return the row numbers of all parts one after the other, int64 [n], and the index of each row's part, [n]."""
    rows = [np.asarray(parts.read_part(path, ["row"])["row"]) for path in paths]
    lengths = [len(numbers) for numbers in rows]
    return np.concatenate([np.zeros(0, np.int64), *rows]), np.repeat(np.arange(len(paths)), lengths)


def _doubles(rows: np.ndarray, part: np.ndarray, paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places of rows of equal number, two by two, the older part's first, and which are one row renamed."""
    order = np.lexsort((part, rows))
    same = rows[order[:-1]] == rows[order[1:]]
    older, newer = order[:-1][same], order[1:][same]
    starts = np.searchsorted(part, np.arange(len(paths)))
    contents = {number: _contents(paths[number]) for number in np.unique(part[np.concatenate([older, newer])]).tolist()}

    def is_rename(a: int, b: int) -> bool:
        (hash_a, id_a), (hash_b, id_b) = (contents[part[i]][i - starts[part[i]]] for i in (a, b))
        # What could not be read has no hash and is never renamed; it may stand in a copy of a part.
        return bool(part[a] != part[b]) and hash_a == hash_b and (hash_a is not None or id_a == id_b)

    return older, newer, np.fromiter(map(is_rename, older.tolist(), newer.tolist()), bool, len(older))


def _contents(path: Path) -> list[tuple[str | None, str]]:
    table = parts.read_part(path, ["id", "content_hash"])
    return list(zip(table["content_hash"].to_pylist(), table["id"].to_pylist(), strict=True))


def _sentence(clashes: Sequence[Clash]) -> str:
    row, older, newer, _ = clashes[0]
    called = shown(newer)
    if parts.read_provenance(older).space != parts.read_provenance(newer).space:
        return f"{called} is of another feature space than {older.name}: two stores are mixed. Move one of the two out."
    more = f" (and {len(clashes) - 1} more)" if len(clashes) > 1 else ""
    where = f"{called} holds row {row} twice" if older == newer else f"{older.name} and {called} both hold row {row}"
    copied, folder = ("Copy the store to a folder: ", "FOLDER") if is_remote(newer) else ("", newer.parent)
    return (
        f"{where}{more}, with different contents: that is no rename, and neither is left out. {copied}"
        f"`fxengine verify {folder} --repair` gives the later one a new number."
    )
