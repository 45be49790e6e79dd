"""Does what was decided: dropped files go, accepted labels become a table; or takes a former run back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fxengine.collect.item import unescape_path
from fxengine.collect.stored import ensure_named
from fxengine.collect.table import column_of, read_table
from fxengine.errors import InputError, StoreError, explained, path_of, reason
from fxengine.features.read import FeatureStore
from fxengine.reviewing import moving
from fxengine.reviewing.csv_file import id_cell, id_in, write_csv
from fxengine.reviewing.decisions import CHOICES, DUPLICATE, LABEL, hashes_of
from fxengine.reviewing.journal import make_folder, review_folder
from fxengine.reviewing.labels import checked_name
from fxengine.reviewing.undo import DELETED, FILE, MOVED, UndoLog
from fxengine.storage import is_remote, shown
from fxengine.trust import name_pictures

CORRECTED = "corrected.csv"
# What can be decided of a row, by what it is about; of a file what an undo log says.
_ALL = {**CHOICES, FILE: (MOVED, DELETED)}


@dataclass(frozen=True)
class Applied:
    """What came of decisions.

    Attributes:
        action: what is done to files: "move", "delete" or "restore".
        done: ids of the files that it was done to; of a dry run, or where `yes` lacks, to which it would be.
        skipped: id -> why nothing is done.
        labels: how many labels were accepted.
        corrected: the table of all labels with these, None where none was accepted or nothing is done.
        undo: the log that takes this run back, None where nothing was begun.
        acted: whether anything was done, and not only looked at.
    """

    action: str
    done: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    labels: int = 0
    corrected: Path | None = None
    undo: Path | None = None
    acted: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        paths = {name: None if path is None else str(path) for name, path in
                 (("corrected", self.corrected), ("undo", self.undo))}  # fmt: skip
        return {**asdict(self), "skipped": dict(self.skipped), **paths}


@dataclass(frozen=True)
class _Row:
    """A line of decisions, and what the store says of its row."""

    id: str
    decision: str
    about: str
    of: str
    label: str
    content_hash: str
    stored_hash: str | None
    of_hash: str | None

    @property
    def said(self) -> str:
        """What was decided, in words."""
        return f"{self.decision} {self.label}".rstrip()


def apply(
    store: str | Path,
    decisions: str | Path,
    *,
    move: str | Path | None = None,
    dry_run: bool = False,
    yes: bool = False,
    pictures: str | Path | None = None,
) -> Applied:
    """Act on what was decided in the page of `serve`, or undo that.

    A dropped file goes where its content is the one that was extracted, and the one that was decided on; no link is
    followed and nothing is overwritten. The store stays: `extract` with `prune` brings it up to date.

    Args:
        store: folder of a feature store.
        decisions: a table with the columns `id` and `decision`, as `decisions.csv`; or an undo log of a former run.
        move: a folder: dropped files go to the same paths below it. An undo log brings them back from there.
        dry_run: look at everything and do nothing.
        yes: without `move`, dropped files are deleted for good; unless this is given, they are only looked at.
        pictures: a folder whose files may be acted on, from now on, where you did not extract from it.

    Raises:
        InputError: `decisions` cannot be read, says of one row two things or what cannot be decided; `move` lies in the
            folder of the store's pictures, or an undo log lacks it; or nobody named that folder.
        StoreError: there is no such store, or files are to go and it is not one of pictures in files.
    """
    opened = FeatureStore.open(path_of("store", store))
    if pictures is not None:
        name_pictures(pictures)
    file = path_of("decisions", decisions)
    rows, skipped = _read(file, opened)
    # Beside a store in a bucket there is no folder of answers: they are where the decisions are.
    folder = file.absolute().parent if is_remote(opened.path) else review_folder(opened.path)
    restored = [row for row in rows if row.about == FILE]
    files = restored or [row for row in rows if (row.about, row.decision) == (DUPLICATE, "drop")]
    accepted = {row.id: checked_name(row.label) for row in rows if (row.about, row.decision) == (LABEL, "accept")}
    action = "restore" if restored else "delete" if move is None else "move"
    acted = not dry_run and (action != "delete" or yes or not files)
    found = Applied(action, skipped=skipped, labels=len(accepted), acted=acted)
    if files:
        to = None if move is None else path_of("move", move)
        found = _on_files(opened, files, found, to, folder)
    if accepted and acted:
        found = replace(found, corrected=_write_labels(opened, accepted, folder))
    return found


def _on_files(opened: FeatureStore, files: list[_Row], planned: Applied, to: Path | None, folder: Path) -> Applied:
    """Do it to files, or look whether it can be done."""
    root, action = _root_of(opened), planned.action
    if to is None and action == "restore":
        raise InputError("`move` must name the folder that the files were moved to: they are brought back from there.")
    if to is not None:
        _check_folder(to, root, make=planned.acted and action == "move")
    undo = UndoLog(folder)
    dropped = {row.id for row in files}
    done, skipped = list[str](), dict(planned.skipped)
    with undo:
        for row in files:
            try:
                _ensure_fits(row, root, dropped, action)
                if planned.acted and action != "restore":
                    undo.note(row.id, DELETED if to is None else MOVED, row.stored_hash or "")
                _do(row, action if planned.acted else "look", root, to)
                done.append(row.id)
            except moving.LeftOut as error:
                skipped[row.id] = str(error)
            except OSError as error:
                skipped[row.id] = f"{reason(error)}."
    return replace(planned, done=tuple(done), skipped=skipped, undo=undo.path)


def _do(row: _Row, action: str, root: Path, to: Path | None) -> None:
    path, content = unescape_path(row.id), row.stored_hash or ""
    if action == "look":
        moving.check(to if row.about == FILE and to is not None else root, path, content)
    elif to is None:
        moving.delete(root, path, content)
    elif action == "move":
        moving.move(root, to, path, content)
    else:
        moving.move(to, root, path, content)


def _ensure_fits(row: _Row, root: Path, dropped: set[str], action: str) -> None:
    """Raise LeftOut where a row is not what was decided on, or where nothing of its picture would be left."""
    if row.stored_hash is None:
        raise moving.LeftOut("The store has no content of it.")
    if row.content_hash and row.content_hash != row.stored_hash:
        raise moving.LeftOut("Its content is another one since it was decided on.")
    if row.decision == DELETED:
        raise moving.LeftOut("It was deleted for good.")
    if action != "restore" and row.of:
        if row.of in dropped:
            raise moving.LeftOut(f"{row.of}, which it is a copy of, is dropped, too.")
        try:
            moving.check(root, unescape_path(row.of), row.of_hash or "")
        except moving.LeftOut as error:
            raise moving.LeftOut(f"{row.of}, which it is a copy of, is not what it was: {error}") from None


def _root_of(opened: FeatureStore) -> Path:
    """Return the folder of the store's pictures; raises StoreError where these are no files in one."""
    made = opened.provenance
    root = Path(unescape_path(made.root))
    if made.modality != "picture" or made.of_words:
        raise StoreError(f"{opened.called} is of texts: files are moved and deleted for stores of pictures alone.")
    if is_remote(root):
        raise StoreError(
            f"The pictures of {opened.called} lie in {shown(root)}: files are moved and deleted on disks alone."
        )
    ensure_named(str(root), ())
    if not root.is_dir():
        raise InputError(f"The pictures of {opened.called} are not there: there is no folder {root}.")
    moving.ensure_possible()
    return root


def _check_folder(to: Path, root: Path, *, make: bool) -> None:
    """Raise InputError where files cannot be moved to or from a folder; make it first, if asked for."""
    if Path(os.path.realpath(to)).is_relative_to(os.path.realpath(root)):
        raise InputError(f"`move` {to} lies in {root}, where the next `fxengine extract` would find the files again.")
    with explained(f"`move` {to} cannot be made", kind=InputError):
        if make:
            to.mkdir(parents=True, exist_ok=True)
    if not to.is_dir() and (make or to.exists()):
        raise InputError(f"`move` {to} is no folder.")


def _read(path: Path, opened: FeatureStore) -> tuple[list[_Row], dict[str, str]]:
    """Return what is decided of rows of the store, and why nothing is done to others."""
    table, _ = read_table(path)
    for name in ("id", "decision"):
        if name not in table.column_names:
            raise InputError(f"{path} has no column {name!r}: it is no table of decisions.")
    columns = {name: _texts(table, name, path) for name in ("about", "id", "decision", "of", "label", "content_hash")}
    stored = hashes_of(
        opened, [each for name in ("id", "of") for cell in columns[name] for each in (cell, id_in(cell))]
    )
    rows, skipped = dict[tuple[str, str], _Row](), dict[str, str]()
    for line in zip(*columns.values(), strict=True):
        row = _row(dict(zip(columns, line, strict=True)), stored, path)
        if row.decision == "different":
            continue
        if row.id not in stored:
            skipped[row.id] = "The store has no such row."
        elif row.about == LABEL and row.content_hash not in ("", stored[row.id]):
            skipped[row.id] = "Its content is another one since it was decided on."
        elif (before := rows.setdefault((row.about, row.id), row)).said != row.said:
            raise InputError(f"{path} says of {row.id!r} both {before.said!r} and {row.said!r}: leave one.")
    return [*rows.values()], skipped


def _row(cells: Mapping[str, str], stored: Mapping[str, str | None], path: Path) -> _Row:
    decision = cells["decision"]
    about = cells["about"] or next((each for each, choices in _ALL.items() if decision in choices), "")
    if decision not in _ALL.get(about, ()):
        raise InputError(f"{path} has the decision {decision[:40]!r} on a {about[:40]!r}, and there is none such.")
    key, of = (cell if cell in stored else id_in(cell) for cell in (cells["id"], cells["of"]))
    return _Row(key, decision, about, of, cells["label"], cells["content_hash"], stored.get(key), stored.get(of))


def _texts(table: pa.Table, name: str, path: Path) -> list[str]:
    if name not in table.column_names:
        return [""] * len(table)
    found: list[str] = pc.fill_null(column_of(table, name, str(path)).cast(pa.string()), "").to_pylist()
    return found


def _write_labels(opened: FeatureStore, accepted: dict[str, str], folder: Path) -> Path:
    """Write the labels of all rows, those that were accepted in their places; `labels` reads it."""
    table = opened.rows(["id", "label"])
    labels = dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True)) | accepted
    make_folder(folder)
    path = folder / CORRECTED
    write_csv(path, ("id", "label"), ((id_cell(key), name) for key, name in labels.items() if name is not None))
    return path
