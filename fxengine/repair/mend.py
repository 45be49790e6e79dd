"""Mends what a check of a store found bad; everything else stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.backbones import EMBEDDED, load_backbone
from fxengine.collect import Listing
from fxengine.collect.item import Item, Payload, unescape_path
from fxengine.decode.limits import Limits, usual_limits
from fxengine.errors import InputError, StoreError
from fxengine.features import parts
from fxengine.features.lock import locked
from fxengine.features.read import FeatureStore
from fxengine.features.row_numbers import doubled_ids, next_row, read_numbers, renumber
from fxengine.features.schema import (
    ERROR_CODES,
    KEPT_GROUP,
    KEPT_TEXT,
    NEWER,
    Provenance,
    is_vector_column,
    part_schema,
)
from fxengine.pipeline.embed import Backbone
from fxengine.pipeline.extract import extract
from fxengine.pipeline.plan import recorded_limits
from fxengine.pipeline.summary import Summary
from fxengine.repair.inputs import StoredInputs, StoredRow, note_kept
from fxengine.repair.report import VerifyReport

_DAMAGED = "The part that held this row was damaged; it is computed again by the next run."


def mend(
    folder: Path, reference: Provenance, report: VerifyReport, inputs: StoredInputs, net: Backbone, device: str
) -> Summary:
    """Turn what is bad into rows with a passing error; return what the run did that computed them again.

    They keep their numbers.

    Args:
        folder: the store.
        reference: what its parts were made from.
        report: what is bad; `lost` is filled in.
        inputs: the inputs of its rows.
        net: the store's backbone.
        device: "auto", "cpu", "cuda" or "tensorrt".

    Raises:
        StoreError: two parts have rows of one id.
        InputError: a part belongs to another store, or to a newer version.
    """
    found = net.file
    plain = reference.source in EMBEDDED and load_backbone(reference.source).fingerprint == reference.space
    for name in report.bad_parts:
        _refuse_foreign(folder / name, reference)
    _refuse_doubled_ids([folder / name for name in report.doubled])
    with locked(folder):
        if inputs.kept is not None:
            _keep_texts(folder, report, inputs.kept)
        for name in sorted(report.bad_parts.keys() - set(report.doubled)):
            if not _salvage(folder / name, reference):
                _set_aside(folder / name)
                report.lost.append(name)
        if report.lost:
            _skip_row_numbers(folder, reference)
        renumber(parts.list_parts(folder))
        for path in parts.list_parts(folder):
            _invalidate(path, set(report.wrong))
    root = Path(unescape_path(reference.root))
    # Where not even the ids are left, only the folder or the table itself can say what the part held.
    listing: Listing
    if report.lost and inputs.everything is not None:
        listing = inputs.everything()
    else:
        listing = _StoredListing(root, FeatureStore.open(folder), inputs)
    name = reference.source if plain else str(found.path)
    return extract(
        listing,
        folder,
        backbone=name,
        device=device,
        dtype=reference.dtype,
        limits=_limits_of(folder, reference.modality),
        add_columns=reference.groups,
    )


def _keep_texts(folder: Path, report: VerifyReport, kept: dict[str, str]) -> None:
    """Read the texts of bad rows, and those of bad parts, before these are mended."""
    for path in parts.list_parts(folder):
        with suppress(StoreError, pa.ArrowException, KeyError):
            if KEPT_GROUP not in parts.read_provenance(path).groups:
                continue
            table = parts.read_part(path, ["id", "content_hash", KEPT_TEXT])
            if path.name not in report.bad_parts:
                table = table.filter(pc.is_in(table["id"], pa.array(list(report.wrong), pa.string())))
            note_kept(kept, table)


def _limits_of(folder: Path, modality: str) -> Limits:
    """Return the limits that a store was made with, as far as its parts say and its rows show."""
    paths = parts.list_parts(folder)
    limits = recorded_limits(paths) or usual_limits(modality)
    for path in paths:
        rows = parts.read_part(path, ["width", "height", "size"])
        pixels = pc.max(pc.multiply(rows["width"].cast(pa.int64()), rows["height"].cast(pa.int64()))).as_py() or 0
        size = pc.max(rows["size"]).as_py() or 0
        # A pixel of the heaviest format counts twice against the limit, a byte of the file less than once.
        limits = limits.wider(Limits(2 * pixels + size, size))
    return limits


def _refuse_foreign(path: Path, reference: Provenance) -> None:
    try:
        space = parts.read_provenance(path).space
    except StoreError as error:
        if NEWER in str(error):  # no damage
            raise InputError(str(error)) from error
        return
    if space != reference.space:
        raise InputError(f"{path} is a part of another store: move it out of the folder, then repair.")


def _refuse_doubled_ids(paths: list[Path]) -> None:
    """Raise StoreError where two rows have one id: only a person can say which of them is to go."""
    for key, older, newer in doubled_ids(*read_numbers(paths), paths):
        raise StoreError(
            f"{older} and {newer.name} both have a row for {key!r}. Move one of the two out of the folder, "
            "then repair; what only that one held is computed again by the next `fxengine extract`."
        )


def _set_aside(path: Path) -> None:
    """Keep an unreadable part under a name that no reader takes for a part."""
    number = 0
    while (aside := path.with_name(f"{path.name}.damaged{number or ''}")).exists():
        number += 1
    path.replace(aside)


def _skip_row_numbers(folder: Path, reference: Provenance) -> None:
    """Let no number that a lost part may have held be given again; a part holds at most this many rows."""
    paths = parts.list_parts(folder)
    if paths:
        path = paths[-1]
        provenance = replace(parts.read_provenance(path), next_row=next_row(paths) + reference.part_rows)
        table = parts.read_part(path).replace_schema_metadata(provenance.to_metadata())
        parts.write_part(table, path, replace=True)


@dataclass
class _StoredListing:
    """The inputs that a store knows, with the labels that it has, as they are now."""

    root: Path
    store: FeatureStore
    inputs: StoredInputs
    unreadable: list[str] = field(default_factory=list)
    labelled: bool = True

    def __iter__(self) -> Iterator[Item]:
        columns = ["id", "content_hash", "size", "mtime_ns", "error_code", "label", "split"]
        for key, content_hash, size, mtime_ns, error_code, label, split in zip(
            *self.store.rows(columns).to_pydict().values(), strict=True
        ):
            item = self.inputs.item(StoredRow(key, content_hash, size, mtime_ns, error_code is not None))
            yield item._replace(label=label, split=split)

    def count(self) -> int:
        return len(self.store)

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        return self.inputs.read(item, max_bytes)


def _salvage(path: Path, reference: Provenance) -> bool:
    """Keep a bad part's rows without their vectors; False where not even these can be read."""
    try:
        provenance = parts.read_provenance(path)
        names = part_schema(replace(reference, groups=[])).names
        table = parts.read_part(path, [name for name in names if not is_vector_column(name)])
    except (StoreError, pa.ArrowException, KeyError):
        return False
    if provenance.space != reference.space:
        return False
    ids = table["id"].to_pylist()
    if len(set(ids)) != len(ids):
        return False
    table = table.take(pc.sort_indices(table, [("id", "ascending")]))
    # What it says of its vectors may be what is wrong with it.
    told = replace(provenance, dim=reference.dim, dtype=reference.dtype, layers=reference.layers, groups=[])
    _write_without_vectors(path, table, told, np.ones(len(table), bool))
    return True


def _invalidate(path: Path, ids: set[str]) -> None:
    table = parts.read_part(path)
    wrong = np.array([key in ids for key in table["id"].to_pylist()], bool)
    if wrong.any():
        _write_without_vectors(path, table, parts.read_provenance(path), wrong)


def _write_without_vectors(path: Path, table: pa.Table, provenance: Provenance, lost: np.ndarray) -> None:
    """Rewrite a part with a passing error in place of the vectors of the rows that are `lost`."""
    codes, reasons = table["error_code"].to_pylist(), table["error"].to_pylist()
    vectors = {
        name: np.concatenate([parts.vector_matrix(chunk, dim) for chunk in table[name].chunks])
        if name in table.column_names
        else np.zeros((len(table), dim), provenance.dtype)
        for name, dim in provenance.columns.items()
    }
    for i in np.flatnonzero(lost):
        if codes[i] not in ERROR_CODES:
            codes[i], reasons[i] = "io", _DAMAGED
    schema = part_schema(provenance)
    missing = np.array([code is not None for code in codes], bool)
    columns = {name: table[name] for name in schema.names if name in table.column_names}
    columns["error_code"], columns["error"] = pa.array(codes, pa.string()), pa.array(reasons, pa.string())
    for name, matrix in vectors.items():
        columns[name] = parts.vector_array(matrix, missing, schema.field(name).type)
    parts.write_part(pa.Table.from_arrays([columns[n] for n in schema.names], schema=schema), path, replace=True)
