"""Lists the rows of a table of texts: .csv, .tsv, .jsonl, .ndjson, .parquet, or the lines of a .txt."""

from __future__ import annotations

import difflib
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.collect.item import (
    SPLITS,
    Filters,
    Item,
    Payload,
    Place,
    TextColumns,
    columns_refused,
    escape_path,
)
from fxengine.collect.kept_texts import KeptTexts
from fxengine.collect.memory import require
from fxengine.collect.stored import open_place
from fxengine.collect.table import ensure_single
from fxengine.collect.table_rows import LONGEST, READERS, Rows, open_rows
from fxengine.errors import DecodeError, InputError, reason
from fxengine.storage import shown

_DIGITS = 9  # of a record's number in an id
_MOST_ROWS = 10**_DIGITS
_LONGEST_NAME = 4096  # bytes of an id or a label
_SHOWN = 60  # characters of a name, an id or a label in a sentence
_NAMED = 30  # columns in a sentence
_DOUBLES = 5  # ids in a sentence
_BLOCK = 16_384  # ids


class TextTable:
    """The rows of a table of texts; iterating yields `Item`s sorted by id, bytewise.

    The table is read once, when it is opened; the texts lie in a temporary file from then on. Memory takes 17 bytes
    a row, the ids where a column has them, and each different label.

    Attributes:
        root: the table.
        labelled: whether a column of labels or of splits was named.
        unreadable: always empty.
        columns: what is what; `text` is the column that was read.
    """

    def __init__(self, path: Path, columns: TextColumns = TextColumns()) -> None:  # noqa: B008 - frozen
        """Read a table.

        Args:
            path: absolute, it may lead into a container; its suffix is one of `READERS`.
            columns: what is what; `text` may be None where there is one column, or one called "text".

        Raises:
            InputError: it is not there, cannot be read, has no such columns or no rows; an id is missing, there twice,
                or too long; a label is no plain value; a split is none.
        """
        self.root = path
        self.labelled = columns.label is not None or columns.split is not None
        self.unreadable: list[str] = []
        self._prefix = f"{escape_path(path.name)}#"
        self._called = called = shown(path)
        try:
            opened, self._mtime_ns = open_place(path)
            with opened:
                rows = open_rows(opened, path, called)
                chosen = _choose(rows, path, columns)
                self.columns = replace(columns, text=rows.names[chosen["text"]])
                found = _Read(called, chosen)
                found.read(rows)
        except FileNotFoundError as error:
            raise InputError(f"There is no file {path}.") from error
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last, of a column's name
            raise InputError(f"{called} cannot be read: {reason(error)}.") from error
        if not len(found.texts):
            raise InputError(f"{called} holds no rows.")
        self._texts, self._not_text = found.texts, found.not_text
        self._labels, self._splits = found.labels, found.splits
        self._ids = None if found.ids is None else found.ids.sorted(called, str(columns.id))

    def __iter__(self) -> Iterator[Item]:
        for begin in range(0, self.count(), _BLOCK):
            end = min(begin + _BLOCK, self.count())
            if self._ids is None:
                pairs = [(f"{self._prefix}{number:0{_DIGITS}d}", number) for number in range(begin, end)]
            else:
                keys, numbers = self._ids
                pairs = [*zip(keys[begin:end].to_pylist(), numbers[begin:end].tolist(), strict=True)]
            for key, number in pairs:
                yield self._item(number, key)

    def count(self) -> int:
        """Return how many rows there are."""
        return len(self._texts)

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        """Return the text of a row in UTF-8, and the item as it is.

        Raises:
            DecodeError: it is missing or blank (`empty`), no text (`not_text`), has more than `max_bytes` bytes, or the
                temporary file cannot be read.
        """
        number = int(item.source.rpartition("#")[2])
        size = self._texts.size(number)
        if self._not_text[number]:
            raise DecodeError("not_text", "It is a number, a list or the like, or bytes that are not UTF-8, no text.")
        if size > max_bytes:
            raise DecodeError("too_large", f"{size} bytes; `max_bytes` allows {max_bytes}.")
        require(size, "Reading it")
        try:
            text = self._texts.text(number) if size > 0 else b""
        except OSError as error:
            raise DecodeError("io", f"Reading failed: {error.strerror or error}.") from error
        if not text or (_may_be_space(text[0]) and text.decode().isspace()):
            raise DecodeError("empty", "The text is missing." if size < 0 else "The text is empty.")
        return text, item

    def find(self, keys: Collection[str]) -> dict[str, str]:
        """Return id -> text, of those ids that are there and have one."""
        numbers = {key: number for key in keys if (number := self._number_of(key)) is not None}
        return {
            key: self._texts.text(number).decode() for key, number in numbers.items() if self._texts.size(number) >= 0
        }

    def _number_of(self, key: str) -> int | None:
        """Return the number of the record that has an id."""
        if self._ids is None:
            digits = key.removeprefix(self._prefix)
            number = int(digits) if digits.isascii() and digits.isdigit() else self.count()
            return number if number < self.count() and key == f"{self._prefix}{number:0{_DIGITS}d}" else None
        keys, numbers = self._ids
        # Not by `encode`, which refuses half a surrogate pair: in Python text has the order of its UTF-8.
        place = bisect_left(range(len(keys)), key, key=lambda i: str(keys[i].as_py()))
        return int(numbers[place]) if place < len(keys) and keys[place].as_py() == key else None

    def _item(self, number: int, key: str) -> Item:
        return Item(
            key,
            f"{self._called}#{number}",
            max(0, self._texts.size(number)),
            self._mtime_ns,
            None if self._labels is None else self._labels[number],
            None if self._splits is None else self._splits[number],
            self._texts.sha256(number),
        )


def _may_be_space(byte: int) -> bool:
    """Tell whether a blank text can begin with this byte."""
    return byte <= 0x20 or byte >= 0x80


def takes(place: Place) -> bool:
    """Tell whether it lists such a place: a file with texts in it, one after the other."""
    is_table = place.root.suffix.lower() in READERS and not place.root.is_dir()
    return place.modality == "text" and place.listing is None and is_table


def open_listing(place: Place) -> TextTable:
    """Return the rows of a table of texts; raises InputError as `TextTable` does."""
    if place.filters != Filters():
        raise InputError(f"`include` and `exclude` choose among files, and {place.root} is one table: give neither.")
    return TextTable(place.root, place.columns)


class _Ids:
    """The ids of all rows, as they come."""

    def __init__(self) -> None:
        self._blocks: list[pa.Array] = []
        self._block: list[str] = []

    def append(self, key: str) -> None:
        self._block.append(key)
        if len(self._block) == _BLOCK:
            self._flush()

    def _flush(self) -> None:
        self._blocks.append(pa.array(self._block, pa.large_string()))
        self._block = []

    def sorted(self, called: str, name: str) -> tuple[pa.Array, np.ndarray]:
        """Return the ids, sorted, and their records' numbers, int64 [n]; raises InputError where two are alike."""
        self._flush()
        keys = pa.concat_arrays(self._blocks)
        self._blocks = []
        # Two alike lie in the order of the file.
        numbered = pa.table({"key": keys, "number": np.arange(len(keys))})
        by_key = pc.sort_indices(numbered, [("key", "ascending"), ("number", "ascending")])
        order = by_key.to_numpy().astype(np.int64)
        keys = keys.take(by_key)
        doubled = np.flatnonzero(pc.equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False))
        if len(doubled):
            raise InputError(_doubles(keys, order, doubled, called, name))
        return keys, order


def _doubles(keys: pa.Array, order: np.ndarray, doubled: np.ndarray, called: str, name: str) -> str:
    """Return which ids, sorted, are the same as those behind them, at `doubled`."""
    records = dict[str, list[int]]()
    for place in doubled.tolist():
        records.setdefault(keys[place].as_py(), order[place : place + 2].tolist())
        if len(records) > _DOUBLES:
            break
    named = [f"{_short(key)} (records {first} and {second})" for key, (first, second) in records.items()]
    more = ", ..." if len(named) > _DOUBLES else ""
    return (
        f"The column {name!r} of {called} has an id twice: {', '.join(named[:_DOUBLES])}{more}; records are counted "
        "from 0.\nEach row needs an id of its own: change these, or name no column of ids."
    )


@dataclass
class _Words:
    """One of a few words, or None, for every row."""

    numbers: dict[str | None, int] = field(default_factory=dict)
    rows: array[int] = field(default_factory=lambda: array("i"))
    words: list[str | None] = field(default_factory=list)

    def append(self, word: str | None) -> None:
        number = self.numbers.setdefault(word, len(self.words))
        if number == len(self.words):
            self.words.append(word)
        self.rows.append(number)

    def __getitem__(self, row: int) -> str | None:
        return self.words[self.rows[row]]


class _Read:
    """What is kept of a table while it is read, and after it."""

    def __init__(self, called: str, chosen: dict[str, int]) -> None:
        self._called, self._chosen = called, chosen
        self.texts = KeptTexts(called)
        self.not_text = bytearray()
        self.ids = _Ids() if "id" in chosen else None
        self.labels = _Words() if "label" in chosen else None
        self.splits = _Words() if "split" in chosen else None

    def read(self, rows: Rows) -> None:
        """Read the table to its end."""
        for number, cells in enumerate(rows.read(list(self._chosen.values()))):
            if number == _MOST_ROWS:
                raise InputError(f"{self._called} has over {_MOST_ROWS} rows: make several tables of it.")
            value = cells[0]
            text = _utf8(value)
            if text is not None and len(text) > LONGEST:
                raise InputError(f"Record {number} of {self._called} has a text of over {LONGEST} bytes: leave it out.")
            self.texts.append(text)
            self.not_text.append(text is None and value is not None)
            if len(cells) > 1:
                self._take(number, dict(zip(self._chosen, cells, strict=True)))
        self.texts.finish()

    def _take(self, number: int, row: dict[str, Any]) -> None:
        """Keep what stands beside a text."""
        if self.ids is not None:
            self.ids.append(escape_path(self._id(number, row["id"])))
        if self.labels is not None:
            self.labels.append(self._word(number, "label", row["label"]))
        if self.splits is not None:
            self.splits.append(self._split(number, row["split"]))

    def _id(self, number: int, value: Any) -> str:
        found = self._word(number, "id", value)
        if found is None or not found.strip():
            raise InputError(f"{self._which('id', number)} is missing: every row needs one.")
        return found

    def _split(self, number: int, value: Any) -> str | None:
        found = self._word(number, "split", value)
        if found is not None and found.lower() not in SPLITS:
            raise InputError(f"{self._which('split', number)} is {_short(found)}. There is: {', '.join(SPLITS)}.")
        return found.lower() if found is not None else None

    def _word(self, number: int, role: str, value: Any) -> str | None:
        """Return a value as text, None where it is missing or empty."""
        try:
            found = _plain(value)
        except ValueError as error:
            raise InputError(f"{self._which(role, number)} is {error}: text or a number is needed.") from error
        if len(found.encode()) > _LONGEST_NAME:
            raise InputError(f"{self._which(role, number)} has over {_LONGEST_NAME} bytes: is it the right column?")
        return found or None

    def _which(self, role: str, number: int) -> str:
        return f"The {role} of record {number} (counted from 0) of {self._called}"


def _utf8(value: Any) -> bytes | None:
    """Return a text in UTF-8, or None where it is none."""
    try:
        if isinstance(value, bytes):
            value.decode()
            return value
        return value.encode() if isinstance(value, str) else None
    except UnicodeError:
        return None


def _plain(value: Any) -> str:
    """Return text or a number as text, "" for nothing; raises ValueError that says what else it is."""
    if value is None or value != value:  # not a number: what pandas writes where there is nothing
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str | bytes):
        raise ValueError(f"an object of type {type(value).__name__}")
    found = _utf8(value)
    if found is None:
        raise ValueError("no text in UTF-8")
    return found.decode()


def _choose(rows: Rows, path: Path, columns: TextColumns) -> dict[str, int]:
    """Return the number of the column of each role: of "text", and of those that were named."""
    called = str(path)
    if path.suffix.lower() == ".txt" and columns != TextColumns():
        raise columns_refused(f"{called} has none: each of its lines is a text.")
    text = _text_column(rows.names, called) if columns.text is None else columns.text
    named = {"text": text, "id": columns.id, "label": columns.label, "split": columns.split}
    chosen = {role: _column(rows.names, name, called) for role, name in named.items() if name is not None}
    if (kind := rows.other.get(text)) is not None:
        raise InputError(f"The column {_short(text)} of {called} holds {kind}, not texts: name the one that does.")
    return chosen


def _text_column(names: Sequence[str], called: str) -> str:
    found = names if len(names) == 1 else [name for name in names if name.lower() == "text"]
    if len(found) != 1:
        raise InputError(f"Which column of {called} holds the texts? Name it as `column`. There is: {_listed(names)}.")
    return found[0]


def _column(names: Sequence[str], name: str, called: str) -> int:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
        hint = f" Did you mean {_short(near[0])}?" if near else ""
        raise InputError(f"{called} has no column {_short(name)}.{hint} There is: {_listed(names)}.")
    ensure_single(names, name, called)
    return names.index(name)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(_short, names[:_NAMED])) + more


def _short(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "...")
