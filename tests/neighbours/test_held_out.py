from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine import Index
from fxengine.neighbours import builder, choose, tune
from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.held_out import NOTHING, hold_out
from tests.stores import write_store

DIM, SIBLINGS = 96, 25


def photos(count: int, siblings: int, seed: int) -> np.ndarray:
    """Photos of ten kinds with so many siblings each, float32 [count * siblings, DIM], one photo's after another's."""
    world, rng = np.random.default_rng(0), np.random.default_rng(seed)
    kinds = world.normal(0, 1, (10, DIM))
    photo = kinds[rng.integers(0, 10, count)] + rng.normal(0, 1, (count, DIM))
    return (np.repeat(photo, siblings, axis=0) + rng.normal(0, 0.25, (count * siblings, DIM))).astype(np.float32)


def test_siblings_are_held_out_together_and_no_more_than_a_tenth() -> None:
    vectors = photos(200, SIBLINGS, 1)
    held = hold_out(lambda at: vectors[at], len(vectors), 300, "picture")
    photo = held.rows // SIBLINGS
    assert np.bincount(photo)[np.unique(photo)].tolist() == [SIBLINGS] * 20
    assert len(held.asked) == 300
    assert np.isin(held.asked, held.rows).all()
    pairs = np.unique(np.stack([held.group, held.asked // SIBLINGS]), axis=1)
    assert len(pairs.T) == len(set(pairs[0])) == len(set(pairs[1])) == 20


def test_rows_without_siblings_are_held_out_alone() -> None:
    vectors = photos(3000, 1, 2)
    held = hold_out(lambda at: vectors[at], len(vectors), 100, "picture")
    assert held.rows.tolist() == held.asked.tolist()
    assert len(set(held.group.tolist())) == len(held.asked) == 100


def test_where_all_rows_are_siblings_some_are_held_out_all_the_same() -> None:
    vectors = np.ones((400, DIM), np.float32) + np.random.default_rng(0).normal(0, 1e-6, (400, DIM)).astype(np.float32)
    vectors[:, 0] += 10
    held = hold_out(lambda at: np.repeat(vectors[:1], len(at), axis=0), len(vectors), 100, "picture")
    assert len(held.rows) == 40
    assert hold_out(lambda at: vectors[at], 9, 100, "picture") is NOTHING


def test_the_interval_is_over_groups() -> None:
    rng = np.random.default_rng(0)
    base, queries = rng.normal(0, 1, (50, 4)).astype(np.float32), rng.normal(0, 1, (60, 4)).astype(np.float32)
    alone = tune.find_truth([base], queries, "cosine")
    found = np.where(np.repeat(rng.random(20) < 0.5, 3)[:, None], alone.found[:, : alone.k], -1)
    hits = (found[:, 0] >= 0).astype(float)
    one = tune.recall(alone, found)
    assert one.high - one.low == pytest.approx(2 * 1.96 * hits.std(ddof=1) / 60**0.5)
    grouped = tune.recall(tune.find_truth([base], queries, "cosine", np.arange(60) // 3), found)
    means = hits.reshape(20, 3).mean(axis=1)
    assert grouped.high - grouped.low == pytest.approx(2 * 1.96 * means.std(ddof=1) / 20**0.5)


def test_a_promise_holds_for_photos_that_are_not_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "FLAT_ROWS", 500)
    monkeypatch.setattr(builder, "HELD_OUT", 500)
    base, foreign = photos(300, SIBLINGS, 3), photos(300, 1, 4)
    index = Index.build(write_store(tmp_path / "store", base), recall=0.8, factory="IVF64,Flat")
    assert index.facts is not None
    assert index.facts.queries == "500 held-out rows in 30 groups of siblings"
    stated = index.facts.trial.recall
    truth = tune.find_truth(in_blocks(index.matrix), foreign, "cosine")
    kept = tune.recall(truth, index.positions(foreign, 10)[0])
    assert stated.low >= 0.8
    assert kept.at_10 >= 0.8
    assert kept.at_10 == pytest.approx(stated.at_10, abs=0.08)
