"""Checks a store, part by part and against its inputs, and mends what is bad."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.backbones import EMBEDDED, load_backbone
from fxengine.collect import Listing, collect
from fxengine.collect.item import Item, stamp, unescape_path
from fxengine.collect.local import read_input
from fxengine.decode.picture import TAKEN_IN, Limits
from fxengine.errors import DecodeError, InputError, StoreError
from fxengine.features import parts
from fxengine.features.footer import read_footer
from fxengine.features.lock import locked
from fxengine.features.read import FeatureStore
from fxengine.features.row_numbers import doubled_ids, find_clashes, next_row, read_numbers, renumber
from fxengine.features.schema import ERROR_CODES, FEATURE, NEWER, Provenance, is_vector_column, part_schema
from fxengine.pipeline.embed import Backbone
from fxengine.pipeline.extract import extract, recorded_limits
from fxengine.pipeline.summary import Summary

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
        unchecked: id -> why its input could not be computed again; the vector is kept.
        repair: summary of the run that mended the store, or None.
        lost: parts of which not even the ids could be read; their inputs got new row numbers.
        doubled: those of the bad parts that are whole, but share row numbers or ids with another.
    """

    parts: int = 0
    rows: int = 0
    bad_parts: dict[str, str] = field(default_factory=dict)
    sampled: int = 0
    changed: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)
    repair: Summary | None = None
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

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
        StoreError: there is no part at all, or none is readable; `repair`, and two parts have rows of one id.
        InputError: the backbone of the store's space is not to be had.
    """
    folder = Path(store)
    paths = parts.list_parts(folder) if folder.is_dir() else []
    if not paths:
        raise StoreError(f"{folder} is no feature store: it has no part-*.parquet.")
    report = VerifyReport(parts=len(paths))
    reference = _reference(paths)
    for path in paths:
        problem = _check_part(path, reference)
        if problem is None:
            report.rows += parts.read_part(path, ["row"]).num_rows
        else:
            report.bad_parts[path.name] = problem
    _check_doubles([path for path in paths if path.name not in report.bad_parts], report)
    good = [path for path in paths if path.name not in report.bad_parts]
    if sample:
        _check_sample(good, reference, sample, seed, backbone, device, report)
    if repair and (report.bad_parts or report.wrong):
        _repair(folder, reference, report, backbone, device)
    return report


def _reference(paths: list[Path]) -> Provenance:
    """Return what most readable parts agree on: a foreign part must not make the others foreign."""
    # Those whose own columns do not contradict them; only where there are none, the others.
    found = _stated(paths, None) or _stated(paths, ())
    if not found:
        raise StoreError(f"No part of {paths[0].parent} can be read. Extract into a new folder.")
    most = Counter(map(_kind, found)).most_common(1)[0][0]
    return next(p for p in found if _kind(p) == most)


def _stated(paths: list[Path], columns: Sequence[str] | None) -> list[Provenance]:
    """Return what the parts say that can be read, these columns (None for all) checked against it."""
    found = []
    for path in paths:
        with suppress(StoreError):
            found.append(read_footer(path, columns).provenance)
    return found


def _kind(made: Provenance) -> tuple[object, ...]:
    return made.space, made.root, made.dtype, tuple(made.columns.items())


def _check_part(path: Path, reference: Provenance) -> str | None:
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
    unknown = set(table["error_code"].drop_null().to_pylist()) - ERROR_CODES
    if unknown:
        return f"It has unknown error codes: {sorted(unknown)}."
    numbers, counts = np.unique(np.asarray(table["row"]), return_counts=True)
    if (counts > 1).any():
        return f"Row number {numbers[np.argmax(counts > 1)]} stands twice."
    return None


def _check_doubles(paths: list[Path], report: VerifyReport) -> None:
    """Report parts that are whole, each by itself, and yet hold one row number or one id twice.

    One number with one content in two parts is a rename that was cut off; the next run removes the older half.
    """
    rows, part = read_numbers(paths)
    found = [(a, b, f"Row number {row} with other contents") for row, a, b, _ in find_clashes(rows, part, paths)]
    found += [(a, b, f"The id {key!r}") for key, a, b in doubled_ids(rows, part, paths)]
    for older, newer, what in found:
        for path, other in ((older, newer), (newer, older)):
            report.bad_parts.setdefault(path.name, f"{what} stands in {other.name}, too.")
    report.doubled = sorted({path.name for older, newer, _ in found for path in (older, newer)})


def _check_sample(
    paths: list[Path],
    reference: Provenance,
    sample: int,
    seed: int,
    backbone: str | Path | None,
    device: str,
    report: VerifyReport,
) -> None:
    net = replace(Backbone.for_store(reference, backbone, device), limits=TAKEN_IN)
    columns = ["id", "content_hash", "error_code", FEATURE]
    counts = [parts.read_part(path, ["row"]).num_rows for path in paths]
    chosen = np.random.default_rng(seed).choice(sum(counts), min(sample, sum(counts)), replace=False)
    starts = np.concatenate([[0], np.cumsum(counts)])
    for path, start, stop in zip(paths, starts[:-1], starts[1:], strict=True):
        mine = np.sort(chosen[(chosen >= start) & (chosen < stop)]) - start
        if not len(mine):
            continue
        limits_known = bool(parts.read_provenance(path).limits)
        table = parts.read_part(path, columns).take(pa.array(mine)).combine_chunks()
        stored = parts.vector_matrix(table[FEATURE].chunk(0), reference.dim)
        for i, row in enumerate(table.select(columns[:3]).to_pylist()):
            if row["error_code"] is None:
                report.sampled += 1
                _check_row(row, stored[i], reference, net, limits_known, report)


def _check_row(
    row: dict[str, str],
    stored: np.ndarray,
    reference: Provenance,
    net: Backbone,
    limits_known: bool,
    report: VerifyReport,
) -> None:
    path = Path(unescape_path(reference.root)) / unescape_path(row["id"])
    try:
        data, _ = read_input(Item(row["id"], str(path), -1, 0), TAKEN_IN.max_bytes)
    except DecodeError as error:
        if error.code == "out_of_memory":
            report.unchecked[row["id"]] = str(error)
        else:
            report.changed.append(row["id"])
        return
    if hashlib.sha256(data).hexdigest() != row["content_hash"]:
        report.changed.append(row["id"])
        return
    try:
        fresh = net.embed([data])[0]
    except DecodeError as error:
        # A part that does not say by which rules it was made may have had others.
        kept = error.code == "out_of_memory" or not limits_known
        (report.unchecked if kept else report.wrong)[row["id"]] = f"Its input does not decode: {error}"
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
    _refuse_doubled_ids([folder / name for name in report.doubled])
    with locked(folder):
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
    # Where not even the ids are left, only the folder itself can say what the part held.
    listing: Listing = collect(root) if report.lost else _StoredListing(root, FeatureStore.open(folder))
    name = reference.source if plain else str(found.path)
    report.repair = extract(
        listing, folder, backbone=name, device=device, dtype=reference.dtype, limits=_limits_of(folder)
    )


def _limits_of(folder: Path) -> Limits:
    """Return the limits that a store was made with, as far as its parts say and its rows show."""
    paths = parts.list_parts(folder)
    limits = recorded_limits(paths) or Limits()
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
    """The inputs that a store knows, with the labels that it has, as they are on the disk now."""

    root: Path
    store: FeatureStore
    unreadable: list[str] = field(default_factory=list)
    labelled: bool = True

    def __iter__(self) -> Iterator[Item]:
        for row in self.store.rows(["id", "label", "split"]).to_pylist():
            path = self.root / unescape_path(row["id"])
            try:
                size, mtime_ns = stamp(path.stat())
            except (OSError, ValueError):  # ValueError: a NUL byte in the path
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
    # What it says of its vectors may be what is wrong with it.
    told = replace(provenance, dim=reference.dim, dtype=reference.dtype, layers=reference.layers)
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
