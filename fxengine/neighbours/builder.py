"""Builds the index of a store, and brings it up to date when the store has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.errors import InputError, StoreError
from fxengine.features.fingerprint import store_fingerprint
from fxengine.features.read import FeatureStore
from fxengine.neighbours import faiss_build, file, tune
from fxengine.neighbours.choose import Wanted, candidates
from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.faiss_index import FaissIndex
from fxengine.neighbours.file import IndexFacts
from fxengine.neighbours.rows import check_searchable, searchable_rows
from fxengine.neighbours.tune import Trial, Truth

HELD_OUT = 2_000  # rows that are asked for their neighbours before they are added themselves
_SAMPLE_BYTES = 2**29  # of float32 vectors to train with and to compare indexes on
_REBUILD = 0.2  # share of the vectors that changed since the index was trained, from which on it is trained again
_TRYING = 300.0  # seconds of trying indexes, after which no further one is begun
_Say = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """What an index consists of.

    Attributes:
        index: the FAISS index.
        rows: a row for each of its vectors, in their order; see `file.ROWS_SCHEMA`.
        facts: what it was made from, and how good it is.
    """

    index: FaissIndex
    rows: pa.Table
    facts: IndexFacts


@dataclass(frozen=True)
class _Tried:
    """An index, which of the rows it was given it added, and its trial."""

    index: FaissIndex
    added: np.ndarray
    trial: Trial


def build(store: FeatureStore, wanted: Wanted, asked: np.ndarray | None, say: _Say) -> Built:
    """Return the fastest index that is as right as asked; see `Index.build`.

    Args:
        store: the store.
        wanted: what is asked of the index.
        asked: raw vectors [q, dim] to measure and tune with; rows that are held out at first where None.
        say: told a sentence at every step.

    Raises:
        InputError: no index fits into the memory, FAISS cannot make the one asked for, or `asked` is not [q, dim].
        StoreError: the store has no vector or no such layer.
    """
    check_searchable(store, wanted.metric, wanted.layer)
    table = searchable_rows(store)
    dim = store.provenance.dim_of(wanted.layer)
    if asked is not None and (asked.ndim != 2 or asked.shape[1] != dim or not len(asked)):
        raise InputError(f"Queries to tune with must be [n, {dim}]. Got an array of shape {list(asked.shape)}.")
    held, sample, rest = _parted(len(table), dim, HELD_OUT if asked is None else 0)
    base = _vectors(store, table, sample, wanted.layer)
    if asked is not None:
        queries, named = asked, f"{len(asked)} given queries"
    else:
        queries = _vectors(store, table, held, wanted.layer) if len(held) else base
        named = f"{len(queries)} held-out rows" if len(held) else "its own rows"
    if wanted.factory is not None:
        factories = [wanted.factory]
    else:
        factories = [c.factory for c in candidates(len(table), dim, wanted.metric, wanted.memory)]
    best, trials = _compare(factories, base, queries, wanted, say)
    if len(rest):
        say(f"adding the other {len(rest)} rows to {best.trial.factory}")
        best = _finish(best, store, table, (sample, rest), queries, wanted)
    last = faiss_build.add(best.index, in_blocks(queries), wanted.metric) if len(held) else np.empty(0, bool)
    order = np.concatenate([sample, rest, held])[np.concatenate([best.added, last])]
    facts = IndexFacts(
        space=store.provenance.space,
        store=store_fingerprint(store),
        wanted=wanted,
        queries=named,
        trials=(best.trial, *(trial for trial in trials if trial.factory != best.trial.factory)),
        versions={"faiss-cpu": version("faiss-cpu"), "fxengine": version("fxengine")},
    )
    return Built(best.index, _index_rows(table.take(pa.array(order))), facts)


def update(store: FeatureStore, made: Built, asked: np.ndarray | None, say: _Say) -> Built:
    """Return the index with what is new in the store added and what is gone never found; see `Index.update`.

    Args:
        store: the store as it is now.
        made: the index, whose FAISS index is changed in place.
        asked: raw vectors [q, dim], as of `build`, for the case that it is built anew.
        say: told a sentence at every step.

    Raises:
        StoreError: the store has no vector any more, or is of another feature space.
    """
    facts, old = made.facts, made.rows
    if store.provenance.space != facts.space:
        raise StoreError(f"{store.path} is of another feature space than its index.")
    check_searchable(store, facts.wanted.metric, facts.wanted.layer)
    table = searchable_rows(store)
    living, new = _difference(old, table)
    gone = int(np.asarray(old["living"]).sum() - living.sum())
    numbers, before = np.asarray(old["row"]), len(old) - facts.added
    others = np.concatenate([numbers[:before][~living[:before]], numbers[before:], np.asarray(table["row"])[new]])
    changed = len(np.unique(others))
    if changed > _REBUILD * facts.trial.rows:
        say(f"{changed} rows came, went or changed since the index was trained on {facts.trial.rows}: a full rebuild")
        return build(store, facts.wanted, asked, say)
    say(f"{len(new)} rows to add, {gone} to remove; the others stay as they are")
    new = new[faiss_build.add(made.index, _blocks(store, table, new, facts.wanted.layer), facts.wanted.metric)]
    kept = old.set_column(3, "living", pa.array(living))
    rows = pa.concat_tables([kept.cast(file.ROWS_SCHEMA), _index_rows(table.take(pa.array(new)))])
    facts = replace(facts, store=store_fingerprint(store), added=facts.added + len(new), removed=facts.removed + gone)
    return Built(made.index, rows, facts)


def _compare(
    factories: list[str], base: np.ndarray, queries: np.ndarray, wanted: Wanted, say: _Say
) -> tuple[_Tried, list[Trial]]:
    """Return the best index of the sample, and what was tried."""
    truth = tune.find_truth(in_blocks(base), queries, wanted.metric)
    best: _Tried | None = None
    trials: list[Trial] = []
    end = time.perf_counter() + _TRYING
    for number, factory in enumerate(factories):
        begin = time.perf_counter()
        if trials and begin > end:
            say(f"{_TRYING:.0f} s are up; not tried: {', '.join(factories[number:])}")
            break
        say(f"trying {factory} on {len(base)} rows")
        index = faiss_build.train(factory, wanted.metric, base)
        if wanted.factory is not None:
            faiss_build.try_out(index, factory, wanted.metric, base)
        added = faiss_build.add(index, in_blocks(base), wanted.metric)
        tried = _measured(index, factory, added, truth, wanted, time.perf_counter() - begin)
        trials.append(tried.trial)
        if best is None or _merit(tried.trial, wanted) > _merit(best.trial, wanted):
            best = tried
    assert best is not None
    return best, trials


def _merit(trial: Trial, wanted: Wanted) -> tuple[bool, bool, float]:
    """Return what makes one trial better than another: right enough, quick enough, then the most queries a second."""
    right = trial.recall.low >= wanted.recall
    quick = wanted.latency_ms is None or trial.latency_ms <= wanted.latency_ms
    return right, quick, trial.queries_per_second if right else trial.recall.at_10


def _finish(
    best: _Tried,
    store: FeatureStore,
    table: pa.Table,
    parts: tuple[np.ndarray, np.ndarray],
    queries: np.ndarray,
    wanted: Wanted,
) -> _Tried:
    """Return the index with the rows that were not in the sample added, tuned again on all of them."""
    begin = time.perf_counter()
    added = faiss_build.add(best.index, _blocks(store, table, parts[1], wanted.layer), wanted.metric)
    seconds = best.trial.build_seconds + time.perf_counter() - begin
    truth = tune.find_truth(_blocks(store, table, np.concatenate(parts), wanted.layer), queries, wanted.metric)
    return _measured(best.index, best.trial.factory, np.concatenate([best.added, added]), truth, wanted, seconds)


def _measured(
    index: FaissIndex, factory: str, added: np.ndarray, truth: Truth, wanted: Wanted, seconds: float
) -> _Tried:
    parameters = tune.tune(index, truth, wanted.recall)
    trial = Trial(
        factory=factory,
        parameters=parameters,
        recall=tune.recall(truth, tune.ask(index, truth, parameters)),
        queries_per_second=tune.rate(index, truth, parameters),
        latency_ms=tune.latency_ms(index, truth, parameters),
        megabytes=file.size(index) / 1e6,
        build_seconds=seconds,
        rows=index.ntotal,
    )
    return _Tried(index, added, trial)


def _parted(rows: int, dim: int, held_out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions to hold out, to train and compare on, and the rest: at random, each in the store's order."""
    order = np.random.default_rng(0).permutation(rows)
    held = min(held_out, rows // 10)
    most = held + max(1, _SAMPLE_BYTES // (4 * dim))
    return np.sort(order[:held]), np.sort(order[held:most]), np.sort(order[most:])


def _vectors(store: FeatureStore, table: pa.Table, part: np.ndarray, layer: str | None) -> np.ndarray:
    ids = table["id"].take(pa.array(part)).to_pylist()
    return store.select(ids=ids).vectors(layer=layer)


def _blocks(store: FeatureStore, table: pa.Table, part: np.ndarray, layer: str | None) -> Iterator[np.ndarray]:
    """Yield the vectors at these positions, in this order, in bounded memory."""
    for start in range(0, len(part), 65_536):
        yield _vectors(store, table, part[start : start + 65_536], layer)


def _index_rows(table: pa.Table) -> pa.Table:
    rows = table.select(["row", "id", "content_hash"])
    return rows.append_column("living", pa.array(np.ones(len(rows), bool))).cast(file.ROWS_SCHEMA)


def _difference(old: pa.Table, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the index's vectors are still those of the store, bool, and the store's positions to add."""
    at = pc.index_in(old["row"], table["row"].combine_chunks())
    there = np.asarray(pc.is_valid(at))
    position = np.asarray(at.fill_null(0))
    now = table["content_hash"].take(pa.array(position))
    same = np.asarray(pc.fill_null(pc.equal(old["content_hash"], now), False))
    living = np.asarray(old["living"]) & there & same
    new = np.ones(len(table), bool)
    new[position[living]] = False
    return living, np.flatnonzero(new)
