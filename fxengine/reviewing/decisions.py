"""What a person decides on duplicates and on labels that may be wrong; nothing is done before `fxengine apply`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fxengine.errors import InputError
from fxengine.features.read import FeatureStore
from fxengine.reviewing.csv_file import id_cell, write_csv
from fxengine.reviewing.journal import Entry, Journal, is_row, is_text, review_folder
from fxengine.reviewing.labels import is_name

LOG, TABLE = "decisions.log", "decisions.csv"
DUPLICATE, LABEL = "duplicate", "label"
# What can be decided, by what it is about.
CHOICES = {DUPLICATE: ("keep", "drop", "different"), LABEL: ("accept", "keep", "skip")}
COLUMNS = ("about", "id", "decision", "of", "label", "content_hash", "of_hash")


@dataclass(frozen=True)
class Choice:
    """What is decided of a row.

    Attributes:
        place: of the row, in the order of the store's ids.
        decision: one of `CHOICES`.
        of: place of the row that it was compared with; None where it was with none.
        label: what is suggested instead of its own label, where the decision is about that.
    """

    place: int
    decision: str
    of: int | None = None
    label: str | None = None


class Decisions:
    """The decisions on a store's rows so far.

    Attributes:
        folder: where `decisions.log` and `decisions.csv` lie.
        taken: (about, id) -> the last decision, which has the columns of `decisions.csv`.
        different: content hashes of two rows that are different, the smaller one first -> the decision.
    """

    def __init__(self, store: FeatureStore, folder: Path | None = None) -> None:
        """Take up what was decided before; arguments and errors are those of `Labels`."""
        self.folder = review_folder(store.path) if folder is None else folder
        self.taken: dict[tuple[str, str], Entry] = {}
        self.different: dict[tuple[str, str], Entry] = {}
        self._table = store.rows(["row", "id", "content_hash"])
        self._journal = Journal(self.folder / LOG, _is_entry, self._take_in)

    @property
    def damaged(self) -> int:
        """How many lines of the journal cannot be read."""
        return self._journal.damaged

    def refresh(self) -> None:
        """Take in what another process decided."""
        self._journal.refresh()

    def decide(self, about: str, choices: Sequence[Choice]) -> None:
        """Note decisions, which are taken back together; they are on the disk when this returns.

        Raises:
            InputError: there is no such decision, two equal files are called different, a different one is compared
                with none, or it cannot be written.
        """
        self._journal.append([self._entry(about, choice) for choice in choices])

    def undo(self) -> list[str]:
        """Take the last decisions back and return their ids; empty where there are none."""
        return [str(entry["id"]) for entry in self._journal.undo()]

    def are_different(self, one: str | None, other: str | None) -> bool:
        """Tell whether two contents, by their hashes, were decided to be different."""
        return one is not None and other is not None and _pair(one, other) in self.different

    def _entry(self, about: str, choice: Choice) -> Entry:
        if choice.decision not in CHOICES.get(about, ()):
            raise InputError(f"{choice.decision!r} is no decision on a {about}. There is: {CHOICES.get(about)}.")
        row = self._row(choice.place)
        other: Mapping[str, Any] = {} if choice.of is None else self._row(choice.of)
        of, of_hash = other.get("id"), other.get("content_hash")
        if choice.decision == "different" and (not of_hash or of_hash == row["content_hash"]):
            raise InputError(f"{row['id']!r} is the same file as {of!r}, or is compared with none: not different.")
        if choice.label is not None and not is_name(choice.label):
            raise InputError(f"{choice.label[:40]!r} cannot be a label here: `labels` would read it otherwise.")
        return {**row, "about": about, "decision": choice.decision, "of": of, "of_hash": of_hash, "label": choice.label}

    def _row(self, place: int) -> dict[str, Any]:
        row: dict[str, Any] = self._table.slice(place, 1).to_pylist()[0]
        return row

    def _take_in(self, entries: Sequence[Entry]) -> None:
        """Make decisions of the journal's entries, and write them."""
        taken: dict[tuple[str, str], Entry] = {}
        different: dict[tuple[str, str], Entry] = {}
        for entry in entries:
            key = (str(entry["about"]), str(entry["id"]))
            pair = _pair(str(entry["content_hash"]), str(entry["of_hash"]))
            if entry["decision"] == "different":
                different[pair] = entry
                taken.pop(key, None)
            else:
                taken[key] = entry
                different.pop(pair, None)
        self.taken, self.different = taken, different
        write_csv(self.folder / TABLE, COLUMNS, [_cells(entry) for entry in (*taken.values(), *different.values())])


def open_groups(
    rows: Sequence[dict[str, Any]], decisions: Decisions, hashes: Mapping[str, str | None]
) -> list[list[dict[str, Any]]]:
    """Return the groups of duplicates on which something is to be decided still.

    A row that was decided to be different from the one that it was compared with is left out, and so is a group of
    which a single row is left, or of which every row but the first was decided on.

    Args:
        rows: of the table of a `DuplicatesReport`.
        decisions: so far.
        hashes: id -> content hash.
    """
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if not decisions.are_different(hashes.get(row["id"]), hashes.get(row["of"])):
            groups.setdefault(row["group"], []).append(row)
    return [group for group in groups.values() if len(group) > 1 and not _is_decided(group, decisions)]


def _is_decided(rows: list[dict[str, Any]], decisions: Decisions) -> bool:
    return all((DUPLICATE, row["id"]) in decisions.taken for row in rows if row["kind"] is not None)


def hashes_of(store: FeatureStore, ids: Sequence[str]) -> dict[str, str | None]:
    """Return the content hashes of some rows by their ids."""
    table = store.rows(["id", "content_hash"])
    some = table.filter(pc.is_in(table["id"], pa.array(ids, pa.string())))
    return dict(zip(some["id"].to_pylist(), some["content_hash"].to_pylist(), strict=True))


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def _cells(entry: Entry) -> list[str]:
    cells = {name: str(entry[name] or "") for name in COLUMNS}
    return [*({**cells, "id": id_cell(cells["id"]), "of": id_cell(cells["of"])}).values()]


def _is_entry(said: Entry) -> bool:
    choices = CHOICES.get(str(said.get("about")), ())
    texts = all(name in said and (said[name] is None or is_text(said[name])) for name in ("of", "of_hash"))
    named = "label" in said and (said["label"] is None or is_name(said["label"]))
    compared = said.get("decision") != "different" or (bool(said.get("content_hash")) and bool(said.get("of_hash")))
    return is_row(said) and said.get("decision") in choices and texts and named and compared
