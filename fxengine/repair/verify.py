"""Checks a store, part by part and against its inputs, and mends what is bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from fxengine.collect.item import unescape_path
from fxengine.decode import preparer_of
from fxengine.errors import InputError, StoreError, at_least
from fxengine.features import parts
from fxengine.features.blocks import Say, counted
from fxengine.features.footer import read_footer
from fxengine.features.row_numbers import doubled_ids, find_clashes, read_numbers
from fxengine.features.schema import ERROR_CODES, Provenance, part_schema
from fxengine.pipeline.embed import Backbone
from fxengine.repair.inputs import open_inputs
from fxengine.repair.mend import mend
from fxengine.repair.report import VerifyReport
from fxengine.repair.sample import check_sample
from fxengine.storage import is_remote, shown
from fxengine.store_files import WHOLE_AT_ONCE, each, place_of
from fxengine.trust import name_pictures


def verify(
    store: str | Path,
    *,
    sample: int = 0,
    repair: bool = False,
    backbone: str | Path | None = None,
    device: str = "auto",
    pictures: str | Path | None = None,
    progress: Say | None = None,
) -> VerifyReport:
    """Read every part whole, then compute `sample` rows again from their inputs and compare.

    A store may be somebody else's: inputs are read below folders, and in tables, that this user extracted from, or
    names. Of a store of texts whose table or folder is gone, the texts that it keeps serve.

    Args:
        store: folder of a feature store.
        sample: rows to compute again, spread at random.
        repair: compute bad parts and wrong rows again; everything else stays as it is.
        backbone: only where neither the cache nor a fresh export gives the store's space.
        device: "auto", "cpu", "cuda" or "tensorrt".
        pictures: a folder whose files may be read, from now on, be it pictures, texts or tables.
        progress: called with a sentence every few seconds.

    Raises:
        StoreError: there is no part at all, or none is readable; `repair`, and two parts have rows of one id.
        InputError: `sample` is negative, the backbone of the store's space is not to be had, there is no folder
            `pictures`, inputs are to be read in one that nobody named, or the table of texts is gone; or rows of a
            store of words are to be computed.
    """
    at_least("sample", sample, 0)
    if pictures is not None:
        name_pictures(pictures)
    folder = place_of("store", store)
    called = shown(folder)
    if repair and is_remote(folder):
        raise InputError(f"{called} lies in a bucket, where no part is made anew: copy it to a folder, and give that.")
    paths = parts.list_parts(folder) if is_remote(folder) or folder.is_dir() else []
    if not paths:
        raise StoreError(f"{called} is no feature store: it has no part-*.parquet.")
    report, rows = VerifyReport(parts=len(paths)), 0
    reference, step = _reference(paths), counted("parts checked", len(paths), progress)
    checked = each(lambda path: _check_part(path, reference), paths, WHOLE_AT_ONCE)
    for done, (path, found) in enumerate(zip(paths, checked, strict=True)):
        step(done)
        if isinstance(found, int):
            rows += found
        else:
            report.bad_parts[path.name] = found
    report = replace(report, rows=rows)  # the lists and mappings of both are the same, and are filled in
    _check_doubles([path for path in paths if path.name not in report.bad_parts], report)
    good = [path for path in paths if path.name not in report.bad_parts]
    if not sample and not (repair and report.bad_parts):
        return report
    if reference.of_words:
        raise InputError(
            f"{called} holds the words of {unescape_path(reference.root)[:200]}, of which nothing is computed: leave "
            "`sample` and `repair` away. Where a part is damaged, delete it: `fxengine words` writes its rows again."
        )
    # Everything that is needed is looked up before anything is changed.
    inputs = open_inputs(reference, _ids(paths), repair=repair)
    net = Backbone.for_store(reference, backbone, device)
    preparer_of(net.file)
    if sample:
        report = replace(report, sampled=check_sample(good, reference, _chosen(good, sample), inputs, net, report))
    if repair and (report.bad_parts or report.wrong):
        report = replace(report, repair=mend(folder, reference, report, inputs, net, device))
    return report


def _ids(paths: list[Path]) -> Iterator[str]:
    """Yield the ids of every part that says them, bad ones included."""
    for path in paths:
        with suppress(StoreError):
            yield from parts.read_part(path, ["id"])["id"].to_pylist()


def _chosen(paths: list[Path], sample: int) -> np.ndarray:
    """Return so many of the rows of all parts, int64, at random."""
    count = sum(parts.read_part(path, ["row"]).num_rows for path in paths)
    return np.asarray(np.random.default_rng(0).choice(count, min(sample, count), replace=False))


def _reference(paths: list[Path]) -> Provenance:
    """Return what most readable parts agree on: a foreign part must not make the others foreign."""
    # Those whose own columns do not contradict them; only where there are none, the others.
    found = _stated(paths, None) or _stated(paths, ())
    if not found:
        raise StoreError(f"No part of {shown(paths[0].parent)} can be read. Extract into a new folder.")
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


def _check_part(path: Path, reference: Provenance) -> int | str:
    """Return how many rows a part has, or what is wrong with it."""
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
    return int(table.num_rows)


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
    report.doubled.extend(sorted({path.name for older, newer, _ in found for path in (older, newer)}))
