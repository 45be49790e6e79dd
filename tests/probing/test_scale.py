"""What a large store brings: vectors of any scale, classes of a single row, labels for few of the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine import cluster, duplicates, index, mislabeled, probe, search
from fxengine.collect import memory
from fxengine.errors import InputError, StoreError
from fxengine.features import columns
from fxengine.heads.file import Head
from fxengine.neighbours import builder, groups, lists
from fxengine.probing import vectors
from fxengine.retrieval import judged
from fxengine.retrieval.map import map as make_map
from tests.stores import write_store

_LARGE, _TINY = 2.0**11, 2.0**-20  # of the numbers below, to half of float16's largest, and to multiples of its least


def planted(rows: int, classes: int, dim: int = 24, noise: float = 1.0) -> tuple[np.ndarray, list[str | None]]:
    """Return sixteenths between -16 and 16, which float16 holds exactly at every scale of this file, and classes."""
    rng = np.random.default_rng(7)
    y = np.arange(rows) % classes
    x = rng.normal(0, 1, (classes, dim))[y] + noise * rng.normal(0, 1, (rows, dim)) + 1
    return np.clip(np.round(16 * x) / 16, -15.9375, 15.9375), [f"c{i:03d}" for i in y]


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    folder, (x, labels) = tmp_path_factory.mktemp("scaled"), planted(240, 3, noise=2.5)
    x[200:] = x[:40]  # copies
    labels[200:] = labels[:40]
    made = {}
    for scale in (1.0, _LARGE, _TINY):
        made[scale] = folder / f"s{scale:g}"
        stored = write_store(made[scale], x * scale, labels=labels).vectors(dtype="float64")
        np.testing.assert_array_equal(stored, x * scale)
    return made


@pytest.mark.parametrize(
    ("head", "scale"), [("ridge", _LARGE), ("ridge", _TINY), ("lda", _LARGE), ("lda", _TINY), ("logistic", _TINY)]
)
def test_a_head_is_the_same_at_every_scale(
    scaled: dict[float, Path], head: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "IN_MEMORY", 0)
    plain, other = (probe(scaled[each], head=head, near=2) for each in (1.0, scale))
    assert 0.7 < plain.score.mean < 1
    assert other.score == plain.score
    assert other.scores["log_loss"] == pytest.approx(plain.scores["log_loss"], rel=1e-4)


@pytest.mark.parametrize("scale", [_LARGE, _TINY])
def test_neighbours_are_the_same_at_every_scale(scaled: dict[float, Path], scale: float) -> None:
    plain, other = (search(scaled[each], id="000007", k=5).answers[0].neighbours for each in (1.0, scale))
    assert plain[0].id == "000207"
    assert [near.id for near in other] == [near.id for near in plain]
    assert [near.score for near in other] == pytest.approx([near.score for near in plain], abs=1e-6)
    places, others = (make_map(scaled[each], k=3).table for each in (1.0, scale))
    for name in ("x", "y", "outlier"):
        np.testing.assert_allclose(others[name].to_numpy(), places[name].to_numpy(), atol=1e-5)
    parts = [cluster(scaled[each], 3).table["cluster"].to_pylist() for each in (1.0, scale)]
    assert parts[0] == parts[1]
    found = [duplicates(scaled[each]).table.select(["group", "id"]).to_pylist() for each in (1.0, scale)]
    assert found[0] == found[1]
    assert len(found[0]) >= 80


def test_a_class_of_one_row_among_many_is_left_out_and_told(tmp_path: Path) -> None:
    x, labels = planted(300, 30)
    without = write_store(tmp_path / "without", x, labels=labels).path
    there = np.insert(x, [10, 200], 3.0, axis=0)
    named = [*labels[:10], "alone", *labels[10:200], "lonely", *labels[200:]]
    ids = [f"{i:06d}" for i in range(300)]
    ids = [*ids[:10], f"{ids[9]}a", *ids[10:200], f"{ids[199]}a", *ids[200:]]
    store = write_store(tmp_path / "s", there, labels=named, ids=ids).path
    found, wanted = probe(store, tmp_path / "h.onnx", head="lda", near=2), probe(without, head="lda", near=2)
    assert found.score == wanted.score
    said = "Left out: 2 of 32 classes, which have one row each ('alone', 'lonely'); two are needed."
    assert found.notes == (said,)
    assert Head.load(tmp_path / "h.onnx").facts.classes == tuple(sorted(set(map(str, labels))))
    suspects = mislabeled(store, head="ridge", folds=3)
    assert (suspects.checked, suspects.notes) == (300, (said,))
    assert [row.id for row in suspects.rows] == [row.id for row in mislabeled(without, head="ridge", folds=3).rows]


def test_labels_of_a_tenth_of_the_rows_serve_as_a_store_of_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "IN_MEMORY", 0)
    x, labels = planted(2000, 4)
    known = np.random.default_rng(0).permutation(2000)[:200]
    some: list[str | None] = [label if i in set(known.tolist()) else None for i, label in enumerate(labels)]
    store = write_store(tmp_path / "s", x, labels=some).path
    known = np.sort(known)
    ids = [f"{i:06d}" for i in known]
    alone = write_store(tmp_path / "alone", x[known], labels=[labels[i] for i in known], ids=ids).path
    found, wanted = probe(store, head="ridge", near=2), probe(alone, head="ridge", near=2)
    assert (found.trained_on, found.score) == (200, wanted.score)
    assert found.notes == (f"{store}: 1800 of 2000 rows have no label.",)


def test_memory_that_will_not_do_is_told_before_anything_is_read(
    scaled: dict[float, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_ASKED_FROM", 1)
    monkeypatch.setattr(memory, "available", lambda: 1000)
    monkeypatch.setattr(columns, "read_column", lambda *_: pytest.fail("It was read."))
    store = scaled[1.0]
    with pytest.raises(StoreError, match=r"into 7 clusters takes about 0 MB of memory; .* a smaller `k`"):
        cluster(store, 7, output=tmp_path / "c.csv")
    with pytest.raises(
        StoreError, match=r"Reading the vectors of .* set FXENGINE_CACHE to a folder on a disk with room"
    ):
        duplicates(store, output=tmp_path / "d.csv")
    monkeypatch.setattr(builder, "available", lambda: 1000)
    with pytest.raises(InputError, match=r"No index of 240 vectors of 24 numbers fits into 1000 bytes"):
        index(store)
    assert list(tmp_path.iterdir()) == []
    assert not (store / "_index").exists()


@pytest.mark.parametrize("indexed", [False, True])
def test_duplicates_of_many_rows_are_those_of_all_pairs(
    indexed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    x, labels = planted(600, 6, dim=64)
    x[500:] = x[:100] + np.random.default_rng(3).choice([0, 0.0625], (100, 64))  # copies, but for a little
    store = write_store(tmp_path / "s", x, labels=labels).path
    wanted = duplicates(store).table.select(["group", "id", "of"]).to_pylist()
    assert len(wanted) == 200
    monkeypatch.setattr(groups, "ALL_PAIRS", 100)
    monkeypatch.setattr(lists, "_IN_MEMORY", 0)  # whitened into a file, and put into lists in another
    if indexed:
        index(store)
        monkeypatch.setattr(judged, "neighbour_pairs", lambda *_: pytest.fail("The store has an index."))
    assert duplicates(store).table.select(["group", "id", "of"]).to_pylist() == wanted
    assert not list((tmp_path / "cache" / "vectors").glob("*"))
