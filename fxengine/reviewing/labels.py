"""Labels that a person gives: a journal takes every answer, and `labels.csv` is what stands in the end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.backbones.spec import LONGEST_NAME
from fxengine.errors import InputError
from fxengine.features.read import FeatureStore
from fxengine.heads.evaluate.interval import Interval, exact_interval
from fxengine.probing.joined import MISSING
from fxengine.reviewing.csv_file import FORMULA, id_cell, write_csv
from fxengine.reviewing.journal import Entry, Journal, is_row, review_folder

LOG, TABLE = "labels.log", "labels.csv"
MOST_NAMES = 500
_RECENT = 100  # answers that the running accuracy is of
_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity)")


@dataclass(frozen=True)
class Running:
    """How often the fit before an answer had said what the person then answered.

    Attributes:
        right: how often, among the last answers.
        counted: how many that are, at most 100.
        interval: the share with its exact 95% interval; None where none was foretold.
    """

    right: int
    counted: int
    interval: Interval | None


class Labels:
    """The labels of a store's rows that a person has given so far.

    Attributes:
        folder: where `labels.log` and `labels.csv` lie.
        given: id -> label, of ids that the store has not any more, too.
    """

    def __init__(self, store: FeatureStore, folder: Path | None = None) -> None:
        """Take up what was answered before.

        Args:
            store: the store; its rows are those of `store.rows()`.
            folder: where the files lie; beside the store unless given.

        Raises:
            InputError: the journal cannot be read.
        """
        self.folder = review_folder(store.path) if folder is None else folder
        self.given: dict[str, str] = {}
        self._table = store.rows(["row", "id", "content_hash"])
        self._entries: Sequence[Entry] = ()
        self._journal = Journal(self.folder / LOG, _is_entry, self._take_in)

    @property
    def damaged(self) -> int:
        """How many lines of the journal cannot be read."""
        return self._journal.damaged

    @property
    def names(self) -> list[str]:
        """The labels that were given, in the order of the first answers that stand."""
        return list(dict.fromkeys(self.given.values()))

    def refresh(self) -> bool:
        """Take in what another process answered; tell whether it did."""
        return self._journal.refresh()

    def answer(self, places: Sequence[int], label: str | None, foretold: Mapping[int, str] | None = None) -> None:
        """Give rows a label, or take theirs away; it is on the disk when this returns.

        Args:
            places: of the rows, in the order of the store's ids.
            label: what they are called; None for what has no label.
            foretold: what the last fit says of these rows, by their places.

        Raises:
            InputError: the label is none that `--labels` can read, there are too many, or it cannot be written.
        """
        name = None if label is None else checked_name(label)
        if name is not None and len({*self.given.values(), name}) > MOST_NAMES:
            raise InputError(f"{MOST_NAMES} names are the most that are told apart here.")
        rows = self._table.take(pa.array(places, pa.int64())).to_pylist()
        said = foretold or {}
        self._journal.append(
            [{**row, "label": name, "foretold": said.get(place)} for place, row in zip(places, rows, strict=True)]
        )

    def undo(self) -> list[str]:
        """Take the last answer back and return its ids; empty where there is none."""
        return [str(entry["id"]) for entry in self._journal.undo()]

    def running(self) -> Running:
        """Return the running accuracy: of each row's first answer, where the fit before it had foretold a label."""
        first: dict[str, Entry] = {}
        for entry in self._entries:
            if entry["label"] is not None:
                first.setdefault(entry["id"], entry)
        counted = [entry for entry in first.values() if entry["foretold"] is not None][-_RECENT:]
        right = sum(entry["foretold"] == entry["label"] for entry in counted)
        interval = exact_interval(right / len(counted), len(counted)) if counted else None
        return Running(right, len(counted), interval)

    def places(self) -> tuple[np.ndarray, list[str]]:
        """Return the rows of the store that have a label, int64 [n], by their places, and the labels."""
        found = pc.index_in(pa.array(self.given, pa.string()), self._table["id"].combine_chunks())
        known = np.asarray(found.is_valid())
        labels = [label for label, is_known in zip(self.given.values(), known, strict=True) if is_known]
        return np.asarray(found.drop_null(), np.int64), labels

    def _take_in(self, entries: Sequence[Entry]) -> None:
        """Make labels of answers, and write them."""
        now = self._ids_now(entries)
        given: dict[str, str] = {}
        for entry in entries:
            key = now.get(entry["id"]) or entry["id"]
            if entry["label"] is None:
                given.pop(key, None)
            else:
                given[key] = entry["label"]
        self.given, self._entries = given, entries
        write_csv(self.folder / TABLE, ("id", "label"), ((id_cell(key), name) for key, name in given.items()))

    def _ids_now(self, entries: Sequence[Entry]) -> dict[str, str]:
        """Return the ids of rows that have another one now: a renamed file keeps its row and its content."""
        ids = pa.array([entry["id"] for entry in entries], pa.string())
        gone = np.flatnonzero(~np.asarray(pc.is_in(ids, self._table["id"].combine_chunks())))
        if not len(gone):
            return {}
        rows = pa.array([entries[i]["row"] for i in gone.tolist()], pa.int64())
        there = pc.index_in(rows, self._table["row"].combine_chunks()).to_pylist()
        found: dict[str, str] = {}
        for i, place in zip(gone.tolist(), there, strict=True):
            row = {} if place is None else self._table.slice(place, 1).to_pylist()[0]
            if row.get("content_hash") is not None and row["content_hash"] == entries[i]["content_hash"]:
                found[str(entries[i]["id"])] = row["id"]
        return found


def checked_name(label: str) -> str:
    """Return the name of a class as `labels.csv` holds it.

    Raises:
        InputError: `--labels` would not read it as that name, or a spreadsheet as a formula.
    """
    name = " ".join(label.split())
    if name in MISSING or len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(f"{name[:40]!r} cannot be a label: it is empty, stands for a missing value, or is too long.")
    if _NUMBER.fullmatch(name) and not _WHOLE.fullmatch(name):
        raise InputError(f"{name!r} cannot be a label: a number with a fraction is read as one to predict.")
    if name.startswith(FORMULA) and not _WHOLE.fullmatch(name):
        raise InputError(f"{name!r} cannot be a label: a spreadsheet would take it for a formula.")
    return name


def _is_entry(said: Entry) -> bool:
    names = ("label", "foretold")
    return is_row(said) and all(name in said and (said[name] is None or is_name(said[name])) for name in names)


def is_name(value: object) -> bool:
    """Tell whether a value is a name as `checked_name` gives it."""
    try:
        return isinstance(value, str) and checked_name(value) == value
    except InputError:
        return False
