"""Checks a store, part by part and against its inputs, and mends what is bad."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.backbones import EMBEDDED, load_backbone
from fxengine.collect import Listing, collect
from fxengine.collect.read import read_input
from fxengine.errors import DecodeError, InputError, StoreError
from fxengine.extraction import extract
from fxengine.extraction_summary import Summary
from fxengine.features import parts
from fxengine.features.known import Known
from fxengine.features.lock import locked
from fxengine.features.read import FeatureStore
from fxengine.features.schema import (
    ERROR_CODES,
    FEATURE,
    Item,
    Provenance,
    is_vector_column,
    part_schema,
    unescape_path,
)
from fxengine.tasks.embed import Backbone

# Cosine between a stored vector and a fresh one below which they are not the same picture's: far below what
# float16, batch size or another CPU change (over 0.9999), far above what another picture gives (under 0.95).
SAME = 0.999
_DAMAGED = "The part that held this row was damaged; it is computed again by the next run."


@dataclass
class VerifyReport:
    """What a check found.

    Attributes:
        parts: how many were checked.
        rows: how many readable rows they hold.
        bad_parts: part -> what is wrong with it.
        sampled: rows that were read and computed again.
        changed: ids whose input is another file now, or gone: nothing wrong with the store.
        wrong: id -> why its vector is not that of its input.
        repair: summary of the run that mended the store, or None.
        lost: parts of which not even the ids could be read; their inputs got new row numbers.
    """

    parts: int = 0
    rows: int = 0
    bad_parts: dict[str, str] = field(default_factory=dict)
    sampled: int = 0
    changed: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    repair: Summary | None = None
    lost: list[str] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong, or everything was mended."""
        return not (self.bad_parts or self.wrong) or self.repair is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return {**asdict(self), "fine": self.fine}


def verify(
    store: str | Path,
    *,
    sample: int = 0,
    repair: bool = False,
    backbone: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
) -> VerifyReport:
    """Read every part whole, then compute `sample` rows again from their inputs and compare.

    Args:
        store: folder of a feature store.
        sample: rows to compute again, spread at random.
        repair: compute bad parts and wrong rows again; everything else stays as it is.
        backbone: only where neither the cache nor a fresh export gives the store's space.
        device: "auto", "cpu", "cuda" or "tensorrt".
        seed: of the sample.

    Raises:
        StoreError: there is no part at all, or none is readable.
        InputError: the backbone of the store's space is not to be had.
    """
    folder = Path(store)
    paths = parts.list_parts(folder) if folder.is_dir() else []
    if not paths:
        raise StoreError(f"{folder} is no feature store: it has no part-*.parquet.")
    report = VerifyReport(parts=len(paths))
    reference = _reference(paths)
    seen: dict[int, Path] = {}
    for path in paths:
        problem = _check_part(path, reference, seen)
        if problem is None:
            report.rows += parts.read_part(path, ["row"]).num_rows
        else:
            report.bad_parts[path.name] = problem
    good = [path for path in paths if path.name not in report.bad_parts]
    if sample:
        _check_sample(good, reference, sample, seed, backbone, device, report)
    if repair and (report.bad_parts or report.wrong):
        _repair(folder, reference, report, backbone, device)
    return report


def _reference(paths: list[Path]) -> Provenance:
    """Return what most readable parts agree on: a foreign part must not make the others foreign."""
    found = []
    for path in paths:
        with suppress(StoreError):
            found.append(parts.read_provenance(path))
    if not found:
        raise StoreError(f"No part of {paths[0].parent} can be read. Extract into a new folder.")
    most = Counter((p.space, p.root, p.dtype) for p in found).most_common(1)[0][0]
    return next(p for p in found if (p.space, p.root, p.dtype) == most)


def _check_part(path: Path, reference: Provenance, seen: dict[int, Path]) -> str | None:
    """Return what is wrong with a part, or None."""
    try:
        provenance = parts.read_provenance(path)
        table = parts.read_part(path)
    except StoreError as error:
        return str(error)
    if (provenance.space, provenance.columns, provenance.dtype) != (
        reference.space,
        reference.columns,
        reference.dtype,
    ):
        return f"It is of another feature space ({provenance.source!r}) than the rest: move it out of the folder."
    if not table.schema.equals(part_schema(provenance)):
        return "Its columns are not those of a part."
    ids = table["id"].to_pylist()
    if ids != sorted(set(ids), key=str.encode):
        return "Its rows are not in the order of their ids, or an id stands twice."
    problem = _check_vectors(table, provenance)
    if problem is not None:
        return problem
    for row in table["row"].to_pylist():
        # The same number in a later part is a rename that was cut off; the next run removes the older one.
        if row in seen and seen[row] == path:
            return f"Row number {row} stands twice."
        seen[row] = path
    return None


def _check_vectors(table: pa.Table, provenance: Provenance) -> str | None:
    """Return what is wrong with a part's vectors and errors, or None."""
    failed = np.asarray(pc.is_valid(table["error_code"]))
    unknown = set(table["error_code"].drop_null().to_pylist()) - ERROR_CODES
    if unknown:
        return f"It has unknown error codes: {sorted(unknown)}."
    for name, dim in provenance.columns.items():
        column = table[name]
        if not np.array_equal(failed, np.asarray(pc.is_null(column))):
            return "A row has both a vector and an error, or neither."
        lengths = pc.unique(pc.list_value_length(column.drop_null())).to_pylist()
        if lengths not in ([], [dim]):
            return f"Its vectors have {lengths} numbers, not {dim}."
        if not all(np.isfinite(parts.vector_matrix(chunk, dim)).all() for chunk in column.chunks):
            return "A vector has a value that is not a finite number."
    return None


def _check_sample(
    paths: list[Path],
    reference: Provenance,
    sample: int,
    seed: int,
    backbone: str | Path | None,
    device: str,
    report: VerifyReport,
) -> None:
    net = Backbone.for_store(reference, backbone, device)
    columns = ["id", "content_hash", "error_code", FEATURE]
    counts = [parts.read_part(path, ["row"]).num_rows for path in paths]
    chosen = np.random.default_rng(seed).choice(sum(counts), min(sample, sum(counts)), replace=False)
    starts = np.concatenate([[0], np.cumsum(counts)])
    for path, start, stop in zip(paths, starts[:-1], starts[1:], strict=True):
        mine = np.sort(chosen[(chosen >= start) & (chosen < stop)]) - start
        if not len(mine):
            continue
        table = parts.read_part(path, columns).take(pa.array(mine)).combine_chunks()
        stored = parts.vector_matrix(table[FEATURE].chunk(0), reference.dim)
        for i, row in enumerate(table.select(columns[:3]).to_pylist()):
            if row["error_code"] is None:
                report.sampled += 1
                _check_row(row, stored[i], reference, net, report)


def _check_row(
    row: dict[str, str], stored: np.ndarray, reference: Provenance, net: Backbone, report: VerifyReport
) -> None:
    path = Path(unescape_path(reference.root)) / unescape_path(row["id"])
    try:
        data, _ = read_input(Item(row["id"], str(path), -1, 0), 1 << 40)
    except DecodeError:
        report.changed.append(row["id"])
        return
    if hashlib.sha256(data).hexdigest() != row["content_hash"]:
        report.changed.append(row["id"])
        return
    try:
        fresh = net.embed([data])[0]
    except DecodeError as error:
        report.wrong[row["id"]] = f"It has a vector, but its input does not decode: {error}"
        return
    a, b = stored.astype(np.float64), fresh.astype(np.float64)
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    cosine = float(a @ b) / max(lengths[0] * lengths[1], 1e-12)
    if cosine < SAME or not 0.98 < lengths[0] / max(lengths[1], 1e-12) < 1.02:
        report.wrong[row["id"]] = f"Its vector is not that of its input (cosine {cosine:.4f})."


def _repair(
    folder: Path, reference: Provenance, report: VerifyReport, backbone: str | Path | None, device: str
) -> None:
    """Turn what is bad into rows with a passing error, which a run computes again under their own numbers."""
    # Everything that is needed is looked up before anything is changed.
    found = Backbone.for_store(reference, backbone, device).file
    plain = reference.source in EMBEDDED and load_backbone(reference.source).fingerprint == reference.space
    for name in report.bad_parts:
        _refuse_foreign(folder / name, reference)
    with locked(folder):
        for name in report.bad_parts:
            if not _salvage(folder / name, reference):
                _set_aside(folder / name)
                report.lost.append(name)
        if report.lost:
            _skip_row_numbers(folder, reference)
        for path in parts.list_parts(folder):
            _invalidate(path, set(report.wrong))
    root = Path(unescape_path(reference.root))
    # Where not even the ids are left, only the folder itself can say what the part held.
    listing: Listing = collect(root) if report.lost else _StoredListing(root, FeatureStore.open(folder))
    name = reference.source if plain else str(found.path)
    report.repair = extract(listing, folder, backbone=name, device=device, dtype=reference.dtype)


def _refuse_foreign(path: Path, reference: Provenance) -> None:
    with suppress(StoreError):
        if parts.read_provenance(path).space == reference.space:
            return
        raise InputError(f"{path} is a part of another store: move it out of the folder, then repair.")


def _set_aside(path: Path) -> None:
    """Keep an unreadable part under a name that no reader takes for a part."""
    number = 0
    while (aside := path.with_name(f"{path.name}.damaged{number or ''}")).exists():
        number += 1
    path.replace(aside)


def _skip_row_numbers(folder: Path, reference: Provenance) -> None:
    """Let no number that a lost part may have held be given again; a part holds at most this many rows."""
    most = (2**31 - 1) // max(reference.columns.values())
    known = Known.read(parts.list_parts(folder))
    if known.paths:
        path = known.paths[-1]
        provenance = replace(parts.read_provenance(path), next_row=known.next_row + most)
        table = parts.read_part(path).replace_schema_metadata(provenance.to_metadata())
        parts.write_part(table, path, replace=True)


@dataclass
class _StoredListing:
    """The inputs that a store knows, with the labels that it has, as they are on the disk now."""

    root: Path
    store: FeatureStore
    unreadable: list[str] = field(default_factory=list)
    labelled: bool = True

    def __iter__(self) -> Iterator[Item]:
        for row in self.store.rows(["id", "label", "split"]).to_pylist():
            path = self.root / unescape_path(row["id"])
            try:
                status = path.stat()
                size, mtime_ns = status.st_size, status.st_mtime_ns
            except OSError:
                size, mtime_ns = -1, 0
            yield Item(row["id"], str(path), size, mtime_ns, row["label"], row["split"])

    def count(self) -> int:
        return len(self.store)


def _salvage(path: Path, reference: Provenance) -> bool:
    """Keep a bad part's rows without their vectors; False where not even these can be read."""
    try:
        provenance = parts.read_provenance(path)
        table = parts.read_part(path, [name for name in part_schema(reference).names if not is_vector_column(name)])
    except (StoreError, pa.ArrowException, KeyError):
        return False
    if provenance.space != reference.space:
        return False
    ids = table["id"].to_pylist()
    if len(set(ids)) != len(ids):
        return False
    table = table.take(pc.sort_indices(table, [("id", "ascending")]))
    _write_without_vectors(path, table, provenance, np.ones(len(table), bool))
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
        if codes[i] is None:
            codes[i], reasons[i] = "io", _DAMAGED
    schema = part_schema(provenance)
    missing = np.array([code is not None for code in codes], bool)
    columns = {name: table[name] for name in schema.names if name in table.column_names}
    columns["error_code"], columns["error"] = pa.array(codes, pa.string()), pa.array(reasons, pa.string())
    for name, matrix in vectors.items():
        columns[name] = parts.vector_array(matrix, missing, schema.field(name).type)
    parts.write_part(pa.Table.from_arrays([columns[n] for n in schema.names], schema=schema), path, replace=True)
