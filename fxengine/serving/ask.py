"""Turns what the page asks with (rows, words, a picture that was brought) into neighbours, as `search` does."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from fxengine.backbones.spec import BackboneFile
from fxengine.collect.item import escape_path
from fxengine.decode.limits import Limits
from fxengine.features.float16 import widen
from fxengine.features.unit import unit_length
from fxengine.serving.opened import Opened, Refused

if TYPE_CHECKING:  # what finds and embeds takes a second to import: the page is there before it is asked for
    from fxengine.neighbours.index import Index
    from fxengine.pipeline.embed import Backbone

BROUGHT = Limits(max_pixels=64_000_000, max_bytes=50_000_000)  # of a picture that the page brings
Kind = Literal["row", "text", "picture"]


@dataclass(frozen=True)
class Term:
    """One of the things that are asked with.

    Attributes:
        kind: "row", its value the row's number; "text"; or "picture", its value the name of one that was brought.
        value: what it is.
    """

    kind: Kind
    value: str


@dataclass(frozen=True)
class Found:
    """The rows that are near, the nearest first.

    Attributes:
        places: in `Opened.table`, int64 [k].
        scores: float32 [k], higher where nearer.
        metric: "cosine", "ip" or "l2".
        method: how, and how surely.
        warning: why the index was not used, or None.
        rows: that were searched.
        embed_ms: loading the net, if that was the first time, and embedding, in milliseconds.
        search_ms: looking for the neighbours.
    """

    places: np.ndarray
    scores: np.ndarray
    metric: str
    method: str
    warning: str | None
    rows: int
    embed_ms: float
    search_ms: float


def index_of(opened: Opened) -> Index:
    """Return what finds the neighbours of rows, its vectors read."""
    return _index(opened, other_kind=False)[0]


def _index(opened: Opened, *, other_kind: bool) -> tuple[Index, str | None]:
    """Return what finds the neighbours, and why that is not the store's index where it has one."""
    own: tuple[Index, str | None] = opened.once("index", lambda: _opened_index(opened, other_kind=False))
    if not other_kind or (own[0].facts is None and own[0].metric == "cosine"):
        return own
    return opened.once("index for the other kind", lambda: _opened_index(opened, other_kind=True))


def _opened_index(opened: Opened, *, other_kind: bool) -> tuple[Index, str | None]:
    from fxengine.retrieval.search import index_for

    metric = "cosine" if other_kind else None
    index, warning = index_for(opened.store, metric, opened.layer, other_kind=other_kind)
    _ = index.table, index.matrix  # read now, so that the time of a search is that of the search
    pa.default_memory_pool().release_unused()  # what Arrow read the vectors by, as much memory as they take
    return index, warning


def nearest(
    opened: Opened, plus: Sequence[Term], minus: Sequence[Term], count: int, allowed: np.ndarray | None = None
) -> Found:
    """Return the rows nearest to one thing, or to the sum of several less others, each at length 1.

    Rows that ask are not found.

    Args:
        opened: the store.
        plus: what is wanted; one or more.
        minus: what is not.
        count: how many rows.
        allowed: bool [m], which of the rows that have a vector may be found; all unless given.

    Raises:
        Refused: a row or a brought picture is not there, nothing is asked for, or nothing may be found.
        InputError: no backbone is to be had for words or pictures.
        DecodeError: a text is empty.
    """
    from fxengine.retrieval.search import method_of

    if not plus:
        raise Refused(400, "Nothing is asked for: choose a picture or row, or type words.")
    times = [time.perf_counter()]
    vectors = [_vector(opened, term) for term in (*plus, *minus)]
    times.append(time.perf_counter())
    other_kind = any(foreign for _, foreign in vectors)
    index, warning = _index(opened, other_kind=other_kind)
    raw = np.stack([vector for vector, _ in vectors])
    if len(raw) == 1:
        query = raw[0]
    else:
        unit = unit_length(raw)
        query = unit[: len(plus)].sum(axis=0) - unit[len(plus) :].sum(axis=0)
    own = np.array([_row_place(opened, term) for term in (*plus, *minus) if term.kind == "row"], np.int64)
    if allowed is not None and not allowed.any():
        raise Refused(400, "The filters leave no row to search.")
    found, scores = index.positions(query, min(len(index), count + len(own)), allowed)
    kept = np.flatnonzero(~np.isin(found[0], own))[:count]
    times.append(time.perf_counter())
    return Found(
        places=opened.searchable[found[0][kept]],
        scores=scores[0][kept],
        metric=index.metric,
        method=method_of(index),
        warning=warning,
        rows=len(index) if allowed is None else int(allowed.sum()),
        embed_ms=1000 * (times[1] - times[0]),
        search_ms=1000 * (times[2] - times[1]),
    )


def make_ready(opened: Opened) -> None:
    """Read the vectors and load the net that queries go through, so that the first search waits for neither.

    Raises:
        InputError: no backbone is to be had.
    """
    _ = index_of(opened)
    if not opened.store.provenance.of_words:
        _ = opened.once("net", lambda: _own_net(opened))


def bring(opened: Opened, content: bytes) -> str:
    """Embed a picture and return the name by which it is asked with.

    Raises:
        DecodeError: it cannot be decoded, or is too large.
        InputError: the store's backbone takes no pictures, or is not to be had.
    """
    foreign = "a picture" if opened.store.provenance.modality == "text" else None
    name = hashlib.sha256(content).hexdigest()
    opened.picked(("picture", name), lambda: (_embedded(opened, content, foreign), foreign is not None))
    return name


def _vector(opened: Opened, term: Term) -> tuple[np.ndarray, bool]:
    """Return the raw vector of a term, float32 [dim], and whether it is of the other kind than the store."""
    if term.kind == "row":
        place = _row_place(opened, term)
        return widen(index_of(opened).matrix[place : place + 1])[0], False
    if term.kind == "picture":
        return opened.picked(("picture", term.value), lambda: _gone("That picture"))
    if opened.store.provenance.of_words:
        place = _word_place(opened, term.value)
        return widen(index_of(opened).matrix[place : place + 1])[0], False
    foreign = None if opened.store.provenance.modality == "text" else "`text`"
    return _embedded(opened, term.value, foreign), foreign is not None


def _row_place(opened: Opened, term: Term) -> int:
    return opened.vector_place_of(int(term.value))


def _word_place(opened: Opened, word: str) -> int:
    at = index_of(opened).table["id"].index(escape_path(word)).as_py()
    if at < 0:
        raise Refused(404, f"The store has no word {word!r}.")
    return int(at)


def _gone(what: str) -> tuple[np.ndarray, bool]:
    raise Refused(404, f"{what} is not kept any more: bring it again.")


def _embedded(opened: Opened, given: bytes | str, foreign: str | None) -> np.ndarray:
    """Return the raw vector of a text or of a picture's bytes, float32 [dim], by the tower that takes it."""
    if foreign is None:
        net, layer = opened.once("net", lambda: _own_net(opened)), opened.layer
    else:
        net, layer = opened.once("other net", lambda: _other_net(opened, foreign)), None
    with opened.once("lock of nets", threading.Lock):
        vector: np.ndarray = net.embed([given], layer=layer)[0]
    return vector


def _own_net(opened: Opened) -> Backbone:
    from fxengine.pipeline.embed import Backbone
    from fxengine.retrieval.other_tower import find_towers

    towers = find_towers(opened.store, None, opened.backbone)
    return _limited(Backbone.for_store(opened.store.provenance, towers.own, opened.device))


def _other_net(opened: Opened, foreign: str) -> Backbone:
    from fxengine.pipeline.embed import Backbone
    from fxengine.retrieval.other_tower import find_towers

    other = find_towers(opened.store, foreign, opened.backbone).other
    assert isinstance(other, BackboneFile)
    return _limited(Backbone.of(other, device=opened.device))


def _limited(net: Backbone) -> Backbone:
    limits = Limits(min(net.limits.max_pixels, BROUGHT.max_pixels), min(net.limits.max_bytes, BROUGHT.max_bytes))
    return replace(net, limits=limits)
