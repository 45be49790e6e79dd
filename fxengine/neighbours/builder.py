"""Builds the index of a store, and brings it up to date when the store has changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.collect.memory import available
from fxengine.errors import InputError, StoreError
from fxengine.features.blocks import Say, counted
from fxengine.features.fingerprint import store_fingerprint
from fxengine.features.read import FeatureStore
from fxengine.neighbours import faiss_build, file, tune
from fxengine.neighbours.choose import Wanted, candidates
from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.faiss_index import FaissIndex
from fxengine.neighbours.file import IndexFacts
from fxengine.neighbours.held_out import NOTHING, HeldOut, Read, hold_out
from fxengine.neighbours.rows import check_searchable, row_reader, searchable_rows
from fxengine.neighbours.tune import Trial, Truth

HELD_OUT = 2_000  # rows, at most, that are asked for their neighbours before they are added themselves
_SAMPLE_BYTES = 2**29  # of float32 vectors to train with and to compare indexes on
_REBUILD = 0.2  # share of the vectors that changed since the index was trained, from which on it is trained again
_AGAIN = 0.01  # share that changed from which on, and each time that it did, recall is measured again
_ASKED_AGAIN = 500  # rows
_TRYING = 300.0  # seconds of trying indexes, after which no further one is begun
_READ = 16_384  # rows


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
class _Queries:
    """What an index is asked to tune it: raw vectors [q, dim], which are siblings, int [q], and what they are."""

    vectors: np.ndarray
    group: np.ndarray
    named: str


@dataclass(frozen=True)
class _Tried:
    """An index, which of the rows it was given it added, and its trial."""

    index: FaissIndex
    added: np.ndarray
    trial: Trial


def build(store: FeatureStore, wanted: Wanted, asked: np.ndarray | None, say: Say) -> Built:
    """Return the fastest index that is as right as asked; see `Index.build`.

    Args:
        store: the store.
        wanted: what is asked of the index.
        asked: raw vectors [q, dim] to measure and tune with; rows that are held out at first where None.
        say: told a sentence at every step.

    Raises:
        InputError: no index fits into the memory (that is free, where none is given), FAISS cannot make the one asked
            for, or `asked` is not [q, dim].
        StoreError: the store has no vector or no such layer.
    """
    check_searchable(store, wanted.metric, wanted.layer)
    table = searchable_rows(store)
    dim = store.provenance.dim_of(wanted.layer)
    if asked is not None and (asked.ndim != 2 or asked.shape[1] != dim or not len(asked)):
        raise InputError(f"Queries to tune with must be [n, {dim}]. Got an array of shape {list(asked.shape)}.")
    if wanted.factory is not None:
        factories = [wanted.factory]
    else:
        free = available() if wanted.memory is None else None
        memory = wanted.memory if free is None else free
        factories = [c.factory for c in candidates(len(table), dim, wanted.metric, memory)]
    read = row_reader(store, table, wanted.layer)
    held = NOTHING if asked is not None else hold_out(read, len(table), HELD_OUT, store.provenance.modality)
    sample, rest = _parted(np.setdiff1d(np.arange(len(table)), held.rows), dim)
    base = read(sample)
    queries = _given(asked) if asked is not None else _held_out(held, read, base)
    best, trials = _compare(factories, base, queries, wanted, say)
    del base  # memory for what is still to come
    if len(rest):
        say(f"adding the other {len(rest)} rows to {best.trial.factory}")
        best = _finish(best, read, (sample, rest), queries, wanted, say)
    last = faiss_build.add(best.index, _blocks(read, held.rows), wanted.metric)
    order = np.concatenate([sample, rest, held.rows])[np.concatenate([best.added, last])]
    facts = IndexFacts(
        space=store.provenance.space,
        store=store_fingerprint(store),
        wanted=wanted,
        queries=queries.named,
        trials=(best.trial, *(trial for trial in trials if trial.factory != best.trial.factory)),
        versions={"faiss-cpu": version("faiss-cpu"), "fxengine": version("fxengine")},
    )
    return Built(best.index, _index_rows(table.take(pa.array(order))), facts)


def update(store: FeatureStore, made: Built, asked: np.ndarray | None, say: Say) -> Built:
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
        raise StoreError(f"{store.called} is of another feature space than its index.")
    check_searchable(store, facts.wanted.metric, facts.wanted.layer)
    table = searchable_rows(store)
    living, new = _difference(old, table)
    gone = int(np.asarray(old["living"]).sum() - living.sum())
    numbers, before = np.asarray(old["row"]), len(old) - facts.added
    others = np.concatenate([numbers[:before][~living[:before]], numbers[before:], np.asarray(table["row"])[new]])
    changed = len(np.unique(others))
    before_changed = int((~np.asarray(old["living"])[:before]).sum()) + facts.added
    if changed > _REBUILD * facts.trial.rows:
        say(f"{changed} rows came, went or changed since the index was trained on {facts.trial.rows}: a full rebuild")
        return build(store, facts.wanted, asked, say)
    say(f"{len(new)} rows to add, {gone} to remove; the others stay as they are")
    read = row_reader(store, table, facts.wanted.layer, often=False)
    new = new[faiss_build.add(made.index, _blocks(read, new), facts.wanted.metric)]
    kept = old.set_column(3, "living", pa.array(living))
    rows = pa.concat_tables([kept.cast(file.ROWS_SCHEMA), _index_rows(table.take(pa.array(new)))])
    facts = replace(facts, store=store_fingerprint(store), added=facts.added + len(new), removed=facts.removed + gone)
    made = Built(made.index, rows, facts)
    step = max(1, round(_AGAIN * facts.trial.rows))
    return _measured_again(store, table, made, say) if changed // step > before_changed // step else made


def _measured_again(store: FeatureStore, table: pa.Table, made: Built, say: Say) -> Built:
    """Return the index with its recall as it is now, on rows that it may not find, nor their siblings.

    Where it is no longer as right as asked, it looks at more from now on.
    """
    wanted, trial = made.facts.wanted, made.facts.trial
    read = row_reader(store, table, wanted.layer)
    held = hold_out(read, len(table), _ASKED_AGAIN, store.provenance.modality)
    at = np.asarray(pc.index_in(made.rows["row"], table["row"].combine_chunks()).fill_null(-1))
    may = np.asarray(made.rows["living"]) & ~np.isin(at, held.rows)
    if not len(held.asked) or not may.any():
        return made
    queries, numbers = _held_out(held, read, np.empty(0)), np.flatnonzero(may)
    blocks = _blocks(read, at[numbers])
    truth = tune.find_truth(blocks, queries.vectors, wanted.metric, queries.group).among(numbers, may)
    recall, parameters = tune.recall(truth, tune.ask(made.index, truth, trial.parameters)), trial.parameters
    if recall.low < wanted.recall:
        parameters = tune.tune(made.index, truth, wanted.recall)
        recall = tune.recall(truth, tune.ask(made.index, truth, parameters))
    say(f"measured again: recall@10 {recall.at_10:.1%} on {queries.named}")
    now = replace(trial, recall=recall, parameters=parameters)
    facts = replace(made.facts, queries=queries.named, trials=(now, *made.facts.trials[1:]))
    return replace(made, facts=facts)


def _compare(
    factories: list[str], base: np.ndarray, queries: _Queries, wanted: Wanted, say: Say
) -> tuple[_Tried, list[Trial]]:
    """Return the best index of the sample, and what was tried."""
    truth = tune.find_truth(in_blocks(base), queries.vectors, wanted.metric, queries.group)
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
    read: Read,
    parts: tuple[np.ndarray, np.ndarray],
    queries: _Queries,
    wanted: Wanted,
    say: Say,
) -> _Tried:
    """Return the index with the rows that were not in the sample added, tuned again on all of them."""
    begin = time.perf_counter()
    added = faiss_build.add(best.index, _blocks(read, parts[1], say, "rows added"), wanted.metric)
    seconds = best.trial.build_seconds + time.perf_counter() - begin
    blocks = _blocks(read, np.concatenate(parts), say, "rows compared with the queries")
    truth = tune.find_truth(blocks, queries.vectors, wanted.metric, queries.group)
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


def _given(asked: np.ndarray) -> _Queries:
    return _Queries(asked, np.arange(len(asked)), f"{len(asked)} given queries")


def _held_out(held: HeldOut, read: Read, base: np.ndarray) -> _Queries:
    """Return the rows held out as queries; those of `base` where there are too few to hold any out."""
    if not len(held.asked):
        return _Queries(base, np.arange(len(base)), "its own rows")
    groups = len(np.unique(held.group))
    siblings = f" in {groups} groups of siblings" if groups < len(held.asked) else ""
    return _Queries(read(held.asked), held.group, f"{len(held.asked)} held-out rows{siblings}")


def _parted(places: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return places to train and compare on, and the rest: at random, each in the store's order."""
    order = np.random.default_rng(0).permutation(places)
    most = max(1, _SAMPLE_BYTES // (4 * dim))
    return np.sort(order[:most]), np.sort(order[most:])


def _blocks(read: Read, places: np.ndarray, say: Say | None = None, what: str = "") -> Iterator[np.ndarray]:
    """Yield the vectors at these places, in this order, in bounded memory; say how far that is where asked to."""
    step = counted(what, len(places), say)
    for start in range(0, len(places), _READ):
        step(start)
        yield read(places[start : start + _READ])


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
