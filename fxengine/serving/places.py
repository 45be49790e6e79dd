"""The map: where rows lie on a plane, what colours them, and which lie within a loop."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow.compute as pc

from fxengine.serving.answers import answers_of
from fxengine.serving.ask import index_of
from fxengine.serving.gallery import keep_picked
from fxengine.serving.opened import Opened, Refused
from fxengine.serving.route import Asked, Content, Route
from fxengine.serving.view import mask, outliers_of

MOST = 200_000  # points that are drawn
_CLUSTERS = 10
_CORNERS = 2000
COLOURS = ("label", "cluster", "outlier", "answer", "probability", "doubt")


def drawn(opened: Opened) -> np.ndarray:
    """Return which rows that have a vector are drawn, int64 [k], ascending: all, or always the same sample."""
    count = len(opened.searchable)
    if count <= MOST:
        return np.arange(count)
    return opened.once("drawn", lambda: np.sort(np.random.default_rng(0).choice(count, MOST, replace=False)))


def places(opened: Opened, asked: Asked) -> Content:
    """Return x and y, float32, of the points that are drawn, and the numbers of their rows, float64."""
    found, share = _plane(opened, asked.words.get("method", "pca"))
    chosen = drawn(opened)
    header = {"points": len(chosen), "rows": len(opened.searchable), "explained": share}
    return _packed(header, opened.rows[opened.searchable[chosen]].astype("<f8"), found[chosen].astype("<f4"))


def colours(opened: Opened, asked: Asked) -> Content:
    """Return what colours the points, float32: the number of a name, -1 for none, or a score."""
    by = asked.words.get("by", "label")
    if by not in COLOURS:
        raise Refused(400, f"Points cannot be coloured by {by}. There is: {', '.join(COLOURS)}.")
    names, values = _coloured(opened, by)
    return _packed({"by": by, "names": names}, values[drawn(opened)].astype("<f4"))


def kept(opened: Opened, asked: Asked) -> Content:
    """Return which of the points that are drawn the filters leave, a byte each."""
    chosen, left = drawn(opened), mask(opened, asked.words)
    found = np.ones(len(chosen), np.uint8) if left is None else left[chosen].astype(np.uint8)
    return _packed({"kept": int(len(opened.searchable) if left is None else left.sum())}, found)


def lasso(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Keep the rows whose points lie within the loop `corners` ([x, y, x, y, ...]), drawn or not."""
    corners = asked.data.get("corners")
    if not isinstance(corners, list) or not 6 <= len(corners) <= 2 * _CORNERS or len(corners) % 2:
        raise Refused(400, f"A loop has between 3 and {_CORNERS} corners.")
    if not all(type(each) in (int, float) and abs(each) < 1e30 for each in corners):
        raise Refused(400, "A corner of the loop is no number.")
    found, _ = _plane(opened, str(asked.data.get("method", "pca")))
    inside = within(found, np.array(corners, np.float64).reshape(-1, 2))
    left = mask(opened, {name: str(value) for name, value in asked.data.items()})
    return keep_picked(opened, opened.rows[opened.searchable[inside if left is None else inside & left]])


def within(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return which points, [n, 2], lie within a polygon, [c, 2], by the even-odd rule, bool [n]."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    near = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
    x, y = points[near].astype(np.float64).T
    odd = np.zeros(len(near), bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if ay != by:
            odd ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    found = np.zeros(len(points), bool)
    found[near[odd]] = True
    return found


def _plane(opened: Opened, method: str) -> tuple[np.ndarray, float | None]:
    from fxengine.retrieval.map import METHODS, plane  # loads scipy, which no first page waits for

    if method not in METHODS:
        raise Refused(400, f"There is no map by {method}. There is: {', '.join(METHODS)}.")
    return opened.once(("plane", method), lambda: plane(index_of(opened).matrix, method))


def _coloured(opened: Opened, by: str) -> tuple[list[str], np.ndarray]:
    """Return names, the most frequent first, and the number of each row's, or no names and a score of each row."""
    if by == "label":
        encoded = pc.dictionary_encode(index_of(opened).table["label"].combine_chunks())
        numbers = np.asarray(encoded.indices.fill_null(-1))
        return _by_frequency(encoded.dictionary.to_pylist(), numbers)
    if by == "cluster":
        from fxengine.neighbours.kmeans import kmeans

        count = min(_CLUSTERS, len(opened.searchable))
        assigned = opened.once("clusters", lambda: kmeans(index_of(opened).matrix, count, 0)[0])
        return _by_frequency([f"cluster {i}" for i in range(count)], assigned)
    if by == "answer":
        answers = answers_of(opened)
        assert opened.head is not None
        return _by_frequency(list(opened.head.facts.classes), answers.best)
    return [], outliers_of(opened) if by == "outlier" else getattr(answers_of(opened), by)


def _by_frequency(names: list[str], numbers: np.ndarray) -> tuple[list[str], np.ndarray]:
    counts = np.bincount(numbers[numbers >= 0], minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(names) + 1, np.int64)
    rank[order] = np.arange(len(names))
    rank[-1] = -1  # what has no name
    return [names[i] for i in order], rank[numbers]


def _packed(header: dict[str, Any], *arrays: np.ndarray) -> Content:
    """Return a header's length, uint32, the header, JSON of a multiple of 8 bytes, and the arrays, little-endian."""
    said = json.dumps(header, allow_nan=False).encode()
    said += b" " * (-(len(said) + 4) % 8)
    body = b"".join([len(said).to_bytes(4, "little"), said, *(array.tobytes() for array in arrays)])
    return Content(body, "application/octet-stream")


ROUTES = (
    Route("GET", "/api/map/places", places),
    Route("GET", "/api/map/colours", colours),
    Route("GET", "/api/map/kept", kept),
    Route("POST", "/api/map/lasso", lasso),
)
