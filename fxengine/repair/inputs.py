"""Where the inputs of a store's rows are read again: their files, the table that they stand in, or the store itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from fxengine.collect import Listing, TextColumns, collect
from fxengine.collect.item import Item, Payload, sha256_of, unescape_path
from fxengine.collect.stored import ensure_named, is_there, read_stored, stat_place, stored_path
from fxengine.collect.table_rows import READERS
from fxengine.collect.text_files import read_text_input
from fxengine.collect.text_table import TextTable
from fxengine.errors import DecodeError, InputError
from fxengine.features.schema import KEPT_GROUP, KEPT_TEXT, Provenance
from fxengine.trust import within_named

_SHOWN = 200  # characters of a path


class StoredRow(NamedTuple):
    """What a store says of a row's input."""

    key: str
    content_hash: str | None
    size: int = -1
    mtime_ns: int = 0
    failed: bool = False


@dataclass(frozen=True)
class StoredInputs:
    """The inputs of a store's rows, as they are now.

    Attributes:
        item: the item of a row; its size is -1 where it is gone, its time another where it is not what it was.
        read: as `Listing.read`.
        everything: lists all inputs there are, where not even the ids of some rows are known.
        kept: id -> text, to be filled in before a row is read, where only the store has the texts; else None.
    """

    item: Callable[[StoredRow], Item]
    read: Callable[[Item, int], tuple[Payload, Item]]
    everything: Callable[[], Listing] | None
    kept: dict[str, str] | None = None


def open_inputs(made: Provenance, keys: Iterable[str], *, repair: bool) -> StoredInputs:
    """Return the inputs of a store, which may be somebody else's.

    Texts that the store keeps serve where their table or folder is gone.

    Args:
        made: what the store was made from.
        keys: the ids of its rows.
        repair: whether the store is to be mended, after which its root counts as named.

    Raises:
        InputError: they lie where this user named nothing, or their table is gone, or has other columns now.
    """
    root = unescape_path(made.root)
    if made.modality == "picture":
        ensure_named(root, keys)
        boxes = Path(unescape_path(made.boxes)) if made.boxes else None
        frames = made.frames or None
        everything = partial(collect, root, containers=made.containers, boxes=boxes, margin=made.margin, frames=frames)
        return StoredInputs(partial(_file_item, root), read_stored, everything)
    named = within_named(root)
    if KEPT_GROUP in made.groups and not (named and Path(root).exists()) and (named or not repair):
        kept: dict[str, str] = {}
        return StoredInputs(_kept_item, partial(_read_kept, kept), None, kept)
    if made.read_columns:
        if not named:
            raise InputError(
                f"The store says that its texts are those of {root[:_SHOWN]}, from which you did not extract: one from "
                "others may name any file. Where it is right, name its folder as `pictures`."
            )
        return _in_table(Path(root), made.text_columns)
    ensure_named(root, keys)
    everything = partial(collect, root, modality="text", containers=made.containers)
    return StoredInputs(partial(_file_item, root), read_text_input, everything)


def note_kept(kept: dict[str, str], table: pa.Table) -> None:
    """Add to `kept` the texts of a table with the columns id, content_hash and `KEPT_TEXT` that are what was read."""
    columns = [table[name].to_pylist() for name in ("id", "content_hash", KEPT_TEXT)]
    for key, content_hash, text in zip(*columns, strict=True):
        if text is not None and sha256_of(text.encode()) == content_hash:
            kept[key] = text


def _file_item(root: str, row: StoredRow) -> Item:
    return stat_place(row.key, stored_path(root, row.key))


def _in_table(path: Path, columns: TextColumns) -> StoredInputs:
    if path.suffix.lower() not in READERS:
        raise InputError(f"The store says that its texts are those of {str(path)[:_SHOWN]}, which is no table.")
    if not is_there(path):
        raise InputError(
            f"The table {path} is gone, and the store does not keep its texts: put it back, then its rows can be "
            "computed again."
        )
    table = TextTable(path, columns)
    mtime_ns = stat_place("", str(path)).mtime_ns
    return StoredInputs(partial(_table_item, table, mtime_ns), partial(_read_table, table), lambda: table)


def _table_item(table: TextTable, mtime_ns: int, row: StoredRow) -> Item:
    found = table.find([row.key])
    if row.key not in found:  # gone; a row that failed because it held no text is as it was
        return Item(row.key, str(table.root), row.size if row.failed else -1, row.mtime_ns)
    text = found[row.key].encode()
    # The size is what a run's windows are cut by.
    same = sha256_of(text) == row.content_hash
    return Item(row.key, str(table.root), len(text), row.mtime_ns if same else mtime_ns)


def _read_table(table: TextTable, item: Item, max_bytes: int) -> tuple[Payload, Item]:
    found = table.find([item.key])
    if item.key not in found:
        raise DecodeError("vanished", "Its row is not in the table (any more).")
    return found[item.key].encode(), item


def _kept_item(row: StoredRow) -> Item:
    return Item(row.key, "", row.size, row.mtime_ns)


def _read_kept(kept: dict[str, str], item: Item, max_bytes: int) -> tuple[Payload, Item]:
    text = kept.pop(item.key, None)  # a row is read once
    if text is None:
        raise DecodeError("vanished", "Its table or file is gone, and the store has not kept its text.")
    return text.encode(), item
