"""What was found of a store's rows, as a table by group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.retrieval.judged import Judged, likeness
from fxengine.retrieval.kinds import REDUNDANT
from fxengine.retrieval.stars import Verdict


def make_table(rows: pa.Table, judged: Judged, whitened: np.ndarray, across_splits: bool) -> pa.Table:
    """Return the table of `fxengine.retrieval.duplicates.DuplicatesReport`.

    Args:
        rows: of the store.
        judged: what they were found to be.
        whitened: [n, dim] vectors, whose cosine is the likeness.
        across_splits: whether what has copies in several splits comes first.
    """
    stars, n = judged.stars, len(rows)
    kinds = np.array([None if verdict is None else verdict.kind for verdict in stars.verdicts], object)
    redundant = np.array([kind in REDUNDANT for kind in kinds], bool)
    picture = np.where(redundant, stars.of, np.arange(n))
    split_over = _crosses(picture, rows["split"]) & (np.bincount(picture, minlength=n)[picture] > 1)
    counts = np.bincount(stars.head, minlength=n)
    members = np.flatnonzero(counts[stars.head] > 1)
    rank = np.empty(n, np.int64)
    rank[stars.order] = np.arange(n)
    first = np.zeros(n, bool)
    if across_splits:
        first[stars.head[split_over]] = True
    head = stars.head[members]
    keys = (rank[members], rank[picture[members]], head, -counts[head], ~first[head])
    members = members[np.lexsort(keys)]
    head = stars.head[members]
    number = np.cumsum(np.r_[0, head[1:] != head[:-1]])[: len(members)].astype(np.int64)
    rows, verdicts = rows.take(pa.array(members)), [stars.verdicts[row] for row in members.tolist()]
    of = stars.of[members]
    begins = of == members
    place = np.empty(n, np.int64)
    place[members] = np.arange(len(members))
    alike = [float(likeness(whitened, a, np.array([b]))[0]) for a, b in zip(of.tolist(), members.tolist(), strict=True)]
    columns = {
        "group": pa.array(number),
        "id": rows["id"],
        "keep": pa.array(~redundant[members]),
        "identical": pa.array(_shared(rows["content_hash"])),
        "same_as": rows["id"].take(_first_same(rows["content_hash"])),
        "likeness": pa.array(alike, pa.float32()),
        **{name: rows[name] for name in ("label", "split", "width", "height", "size")},
        "crosses_labels": pa.array(_crosses(number, rows["label"])),
        "crosses_splits": pa.array(_crosses(number, rows["split"])),
        "kind": pa.array(kinds[members].tolist(), pa.string()),
        "of": rows["id"].take(pa.array(place[of], mask=begins)),
        "transform": pa.array([verdict.transform or None if verdict else None for verdict in verdicts], pa.string()),
        "score": pa.array([None if v is None or v.score != v.score else v.score for v in verdicts], pa.float32()),
        "kept_for": _reasons(rows, place[picture[members]], verdicts),
        "across_splits": pa.array(split_over[members]),
    }
    return pa.table(columns)


def _reasons(rows: pa.Table, kept: np.ndarray, verdicts: Sequence[Verdict | None]) -> pa.Array:
    """Return why a picture with copies is the one to keep, null for others; `kept` are the places of what they copy."""
    pixels = np.asarray(pc.fill_null(pc.multiply(rows["width"].cast(pa.int64()), rows["height"].cast(pa.int64())), 0))
    size = np.asarray(rows["size"])
    found: dict[int, set[str]] = {}
    for row in np.flatnonzero((kept != np.arange(len(kept))) & (pixels > 0)).tolist():
        at = int(kept[row])
        verdict = verdicts[row]
        if pixels[row] > pixels[at]:
            within = verdict is not None and verdict.shows == "less"
            found.setdefault(at, set()).add("shows more" if within else "no border")
        elif pixels[row] < pixels[at]:
            found.setdefault(at, set()).add("most pixels")
        elif size[row] < size[at]:
            found.setdefault(at, set()).add("least compressed")
    return pa.array([", ".join(sorted(found.get(row, ()))) or None for row in range(len(rows))], pa.string())


def _shared(hashes: pa.ChunkedArray) -> np.ndarray:
    """Return which rows have a content hash that another row has, too; equal files are always in one group."""
    _, inverse, counts = np.unique(hashes.to_numpy(zero_copy_only=False), return_inverse=True, return_counts=True)
    shared: np.ndarray = counts[inverse] > 1
    return shared


def _first_same(hashes: pa.ChunkedArray) -> pa.Array:
    """Return of each row the first one with its content hash, null where that is itself."""
    _, first, inverse = np.unique(hashes.to_numpy(zero_copy_only=False), return_index=True, return_inverse=True)
    found = first[inverse]
    return pa.array(found, mask=found == np.arange(len(found)))


def _crosses(groups: np.ndarray, names: pa.ChunkedArray) -> np.ndarray:
    """Return which rows are in a group that holds more than one name; an unknown one counts for none."""
    known = np.asarray(pc.is_valid(names))
    codes = np.unique(np.asarray(pc.fill_null(names, "")).astype(str), return_inverse=True)[1]
    pairs = np.unique(np.stack([groups[known], codes[known]]), axis=1)
    many = np.bincount(pairs[0], minlength=int(groups.max(initial=0)) + 1) > 1
    crossing: np.ndarray = many[groups]
    return crossing
