"""The texts of a store's rows: those that it keeps, else those of the table or the files that it was made from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fxengine.collect.item import Item, unescape_path
from fxengine.collect.stored import stored_path
from fxengine.collect.table_rows import READERS
from fxengine.collect.text_files import read_text_input
from fxengine.collect.text_table import TextTable
from fxengine.decode.limits import usual_limits
from fxengine.errors import DecodeError, InputError, StoreError
from fxengine.features import parts
from fxengine.features.footer import damaged, footer_of, open_part
from fxengine.features.read import FeatureStore
from fxengine.features.schema import KEPT_GROUP
from fxengine.store_files import each
from fxengine.trust import within_named

SHOWN = 500  # characters of a text that are shown
_BLOCK = 32  # texts that are read at once: each may be long


def texts_of(store: FeatureStore, keys: Sequence[str]) -> dict[str, str]:
    """Return id -> text, of those of these rows whose text is to be had.

    In a store of words it is the word. It is the store's own where it keeps texts, else that of the table or the file
    that the row was made from, where this user extracted from it or named it, and where it still is the text that the
    row was made from.

    Args:
        store: a feature store; one of pictures has no texts.
        keys: ids.

    Raises:
        StoreError: a part is damaged.
    """
    return dict(_found(store, keys))


def with_texts(rows: Sequence[dict[str, Any]], store: str | Path, column: str = "id") -> list[dict[str, Any]]:
    """Return rows, in a store of texts with one more entry `text`: the beginning of the text, or None.

    Args:
        rows: column -> value, for people.
        store: folder of the store that they are of.
        column: whose values are the rows' ids.
    """
    opened = text_store(store)
    if opened is None:
        return [*rows]
    found = beginnings(opened, [row[column] for row in rows])
    return [{**row, "text": found.get(row[column])} for row in rows]


def text_store(path: str | Path) -> FeatureStore | None:
    """Return the store in a folder where it is one of texts and can be opened, else None; "" is no folder."""
    try:
        opened = FeatureStore.open(path) if path != "" else None
    except StoreError:
        return None
    return opened if opened is not None and opened.provenance.modality == "text" else None


def beginnings(store: FeatureStore, keys: Sequence[str]) -> dict[str, str]:
    """Return what `texts_of` does, of each text the first `SHOWN` characters."""
    return {key: beginning(text) for key, text in _found(store, keys)}


def beginning(text: str, most: int = SHOWN) -> str:
    """Return the first `most` characters of a text, "..." behind them where it had more."""
    return text if len(text) <= most else f"{text[:most].rstrip()}..."


def source_is_named(store: FeatureStore, key: str) -> bool:
    """Tell whether this user extracted from, or named, the table or the folder that a row was made from."""
    return bool(_of_named_sources(store, [key]))


def _of_named_sources(store: FeatureStore, keys: Iterable[str]) -> list[str]:
    root, is_named = unescape_path(store.provenance.root), cache(within_named)
    if store.provenance.read_columns:
        return list(keys) if is_named(root) else []
    return [key for key in keys if is_named(os.path.dirname(stored_path(root, key)))]  # noqa: PTH120


def _found(store: FeatureStore, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    if store.provenance.modality != "text" or not keys:
        return
    if store.provenance.of_words:
        yield from ((key, unescape_path(key)) for key in keys)
        return
    wanted, hashes = pa.array(set(keys), pa.string()), dict[str, str]()
    paths = parts.list_parts(store.path)
    for path, rows in zip(paths, each(lambda path: parts.read_part(path, ["id", "content_hash"]), paths), strict=True):
        at = np.flatnonzero(pc.is_in(rows["id"], wanted))
        if not len(at):
            continue
        chosen = rows.take(pa.array(at))
        for key, sha256, text in zip(*chosen.to_pydict().values(), _kept(path, at), strict=True):
            if text is not None:
                yield key, text
            elif sha256 is not None:
                hashes[key] = sha256
    yield from _from_source(store, hashes)


def _kept(path: Path, at: np.ndarray) -> Iterator[str | None]:
    """Yield the texts that a part keeps of the rows at these places, int64 [n], ascending; None where it keeps none."""
    try:
        with open_part(path) as opened:
            if KEPT_GROUP not in footer_of(opened, path, ["text"]).provenance.groups:
                yield from repeat(None, len(at))
                return
            with pq.ParquetFile(opened, page_checksum_verification=True) as file:
                groups = range(file.metadata.num_row_groups)
                starts = np.cumsum([0, *(file.metadata.row_group(number).num_rows for number in groups)])
                for number in np.unique(np.searchsorted(starts, at, side="right") - 1).tolist():
                    begin = int(starts[number])
                    for batch in file.iter_batches(_BLOCK, [number], ["text"]):
                        batch.validate(full=True)
                        inside = at[(at >= begin) & (at < begin + len(batch))]
                        yield from batch.column("text").take(pa.array(inside - begin)).to_pylist()
                        begin += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def _from_source(store: FeatureStore, hashes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield id and text of the rows whose text has their SHA-256 (id -> hex), where the source has it."""
    read = _in_table if store.provenance.read_columns else _in_files
    for key, text in read(store, _of_named_sources(store, hashes)):
        if hashlib.sha256(text.encode()).hexdigest() == hashes[key]:
            yield key, text


def _in_table(store: FeatureStore, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    path = Path(unescape_path(store.provenance.root))
    if not keys or path.suffix.lower() not in READERS:
        return
    left = iter(keys)
    try:
        table = TextTable(path, store.provenance.text_columns)
        while block := list(islice(left, _BLOCK)):
            yield from table.find(block).items()
    except (InputError, OSError):  # it is gone, or another table by now
        return


def _in_files(store: FeatureStore, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    root = unescape_path(store.provenance.root)
    most = store.provenance.limits.get("max_bytes", usual_limits("text").max_bytes)
    for key in keys:
        try:
            text, _ = read_text_input(Item(key, stored_path(root, key), -1, 0), most)
        except DecodeError:
            continue
        yield key, text.decode()
