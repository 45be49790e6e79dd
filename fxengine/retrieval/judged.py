"""The rows of a store, compared with what may be the same: pictures by their pixels, texts by their words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from fxengine.collect.item import unescape_path
from fxengine.errors import StoreError
from fxengine.execute import usable_cores
from fxengine.features.blocks import Say, counted
from fxengine.features.unit import unit_length
from fxengine.neighbours.groups import ALL_PAIRS, SIBLINGS, candidate_pairs
from fxengine.neighbours.index import Index, open_index
from fxengine.neighbours.pairs import neighbour_pairs
from fxengine.retrieval.copies.judge import Survey, judge_pictures, survey
from fxengine.retrieval.copies.looks import Looks
from fxengine.retrieval.kinds import ALIKE, SAME_SCENE
from fxengine.retrieval.same_text import same_text_pairs, verify_texts
from fxengine.retrieval.stars import Stars, Verdict, make_stars

_NEAREST = 16  # of each row that are compared with it
_FEW = 5_000  # pairs up to which all are compared
_BLOCK = 2048  # pairs
_ASKED = 4096  # rows at a time
_SURE = 0.9  # recall of an index from which it serves here: copies are easier to find than other neighbours


@dataclass(frozen=True)
class Judged:
    """Rows and what they were found to be.

    Attributes:
        stars: the groups.
        hidden: whether pictures were not looked at, since nobody named their folder.
    """

    stars: Stars
    hidden: bool = False


def judge_rows(
    index: Index, whitened: np.ndarray, threshold: float, chosen: bool, progress: Say | None = None
) -> Judged:
    """Return what every row of a store is to those that are kept.

    Args:
        index: the rows.
        whitened: [n, dim] vectors, whose cosine is the likeness.
        threshold: likeness from which rows that are not the same are in one group.
        chosen: whether a program chose it; then pairs are compared that are less alike, too, or whose looks are alike.
        progress: told how many pictures were looked at and compared.
    """
    text = index.store.provenance.modality == "text"
    least = min(threshold, SIBLINGS[index.store.provenance.modality]) if chosen else threshold
    pairs, near = _once(candidate_pairs(whitened, least, _NEAREST, _neighbours(index, progress)), len(whitened))
    if text:
        return _texts(index, whitened, threshold, pairs, chosen)
    if chosen:
        pairs = _likeliest(pairs, near, len(whitened), threshold)
    return _pictures(index, whitened, threshold, pairs, chosen, progress)


def _neighbours(index: Index, progress: Say | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows and their neighbours by the store's own index, where it is right enough, else by lists made for it."""
    made = None
    with suppress(StoreError):  # one that is damaged is none
        made = open_index(index.store, index.layer)
    sure = made is not None and made.fresh and made.metric == "cosine" and made.facts is not None
    if made is None or made.facts is None or not sure or made.facts.trial.recall.at_10 < _SURE:
        yield from neighbour_pairs(index.matrix, progress)
        return
    step = counted("rows compared by their vectors", len(index), progress)
    for start in range(0, len(index), _ASKED):
        rows = np.arange(start, min(start + _ASKED, len(index)))
        found, _ = made.positions(index.matrix[rows], min(_NEAREST, len(index)))
        a, at = np.nonzero(found != rows[:, None])
        yield rows[a], found[a, at]
        step(start + len(rows))


def _once(pairs: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair of `n` rows once, the first row first, int64 [m, 2], and what came with it, float32 [m]."""
    keys, near = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for a, b, cosines in pairs:
        keys.append(np.minimum(a, b) * n + np.maximum(a, b))  # as one number a pair they take little
        near.append(cosines)
    once, first = np.unique(np.concatenate(keys), return_index=True)
    return np.stack(np.divmod(once, n), axis=1), np.concatenate(near)[first]


def likeness(whitened: np.ndarray, row: int, others: np.ndarray) -> np.ndarray:
    """Return the cosines of a row with others, float32; 1 of two that are 0, as both equal the mean of all."""
    mine, theirs = (unit_length(whitened[which].astype(np.float32)) for which in ([row], others))
    found: np.ndarray = theirs @ mine[0]
    return found if mine.any() else np.where(theirs.any(axis=1), found, np.float32(1))


def likeness_of(whitened: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the cosines of pairs of rows, int64 [m, 2], float32 [m]."""
    found = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _BLOCK):
        a, b = (unit_length(whitened[side].astype(np.float32)) for side in pairs[start : start + _BLOCK].T)
        found[start : start + _BLOCK] = np.einsum("ij,ij->i", a, b)
    return found


def _each_once(pairs: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    return found


def _pictures(
    index: Index, whitened: np.ndarray, threshold: float, pairs: np.ndarray, chosen: bool, progress: Say | None
) -> Judged:
    rows, share, off = index.table, np.ones(len(index.table)), frozenset[tuple[int, int]]()
    hashes = rows["content_hash"].to_pylist()
    looks = Looks(unescape_path(index.store.provenance.root), rows["id"].to_pylist(), hashes)
    if chosen:
        whole = len(rows) <= ALL_PAIRS  # with more, only those are decoded whose vectors are near others
        glanced = range(len(rows)) if whole else np.unique(pairs).tolist()
        with _one_thread():
            seen = survey(looks, len(rows), glanced, counted("pictures looked at", len(glanced), progress))
        share = seen.share
        pairs, off = _worth(
            whitened, _each_once(np.concatenate([pairs, seen.pairs()])) if whole else pairs, threshold, seen
        )
    order = _to_keep_first(rows, share)
    step = partial(counted, "pictures compared", progress=progress)

    def judge(kept: int, other: int) -> Verdict:
        another = (min(kept, other), max(kept, other)) in off
        return Verdict(SAME_SCENE, "", 0.0) if another else judge_pictures(looks, kept, other)

    with _one_thread():
        alike = partial(likeness, whitened)
        stars = make_stars(order, hashes, pairs, alike, threshold, judge, step, usable_cores())
    return Judged(stars, looks.hidden)


def _likeliest(pairs: np.ndarray, near: np.ndarray, n: int, threshold: float) -> np.ndarray:
    """Return all pairs where they are few, else the likeliest by their cosines, half as many as there are rows."""
    most = max(_FEW, n // 2)
    if len(pairs) <= most:
        return pairs
    found: np.ndarray = pairs[np.argsort(-near, kind="stable")[: max(most, int((near >= threshold).sum()))]]
    return found


def _worth(
    whitened: np.ndarray, pairs: np.ndarray, threshold: float, seen: Survey
) -> tuple[np.ndarray, frozenset[tuple[int, int]]]:
    """Return the pairs of rows to place, and those of them that a glance told to be two pictures.

    Where they are few, all are proven. Else those that agree at a glance; the others are placed where they are alike.
    """
    if len(pairs) <= _FEW:
        return pairs, frozenset()
    with _one_thread():
        agreeing = seen.agreeing(pairs)
    alike = likeness_of(whitened, pairs) >= threshold
    return pairs[agreeing | alike], frozenset(map(tuple, pairs[alike & ~agreeing].tolist()))


def _one_thread() -> threadpool_limits:
    """Let products of small matrices run on one thread: a second one takes more than it gives."""
    return threadpool_limits(1, "blas")


def _texts(index: Index, whitened: np.ndarray, threshold: float, pairs: np.ndarray, chosen: bool) -> Judged:
    """Do so in rounds: texts are read together, and which rows are compared with a kept one comes out as it is kept."""
    rows, order = index.table, _to_keep_first(index.table, np.ones(len(index.table)))
    if chosen:
        pairs = np.concatenate([pairs, same_text_pairs(rows, index.store)])
    known: dict[tuple[int, int], Verdict] = {}
    asked = {(min(a, b), max(a, b)) for a, b in pairs.tolist()}

    def judge(kept: int, other: int) -> Verdict:
        pair = min(kept, other), max(kept, other)
        if pair not in known:
            asked.add(pair)
        return known.get(pair, Verdict(ALIKE))

    while True:
        wanted = np.array(sorted(asked), np.int64).reshape(-1, 2)
        asked.clear()
        found = verify_texts(wanted, rows, index.store)
        for pair, kind, score in zip(wanted.tolist(), found.kind.tolist(), found.score.tolist(), strict=True):
            known[pair[0], pair[1]] = Verdict(kind, "", score)
        hashes = rows["content_hash"].to_pylist()
        stars = make_stars(order, hashes, pairs, partial(likeness, whitened), threshold, judge)
        if not asked:
            return Judged(stars)


def _to_keep_first(rows: pa.Table, share: np.ndarray) -> np.ndarray:
    """Return the places of rows, the one to keep first: the most pixels, then the most bytes, then the first.

    Args:
        rows: of the store.
        share: float64 [n], of the pixels of each that count.
    """
    pixels = pc.multiply(rows["width"].cast(pa.int64()), rows["height"].cast(pa.int64()))
    counted = np.asarray(pc.fill_null(pixels, 0)) * share
    return np.lexsort((np.arange(len(rows)), -np.asarray(rows["size"]), -counted))
