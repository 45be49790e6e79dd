"""A zero-shot head on the rows of a probe."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from fxengine import FeatureStore, extract
from fxengine.errors import InputError, StoreError
from fxengine.heads import make_head
from fxengine.heads.evaluate.few_labels import few_labels
from fxengine.heads.evaluate.interval import Interval, exact_interval
from fxengine.heads.evaluate.scores import Problem, assign_folds
from fxengine.heads.file import HeadFacts, ZeroShot, save_head
from fxengine.heads.zero_shot import KIND, zero_shot_model
from fxengine.probing.beside import wins_from
from fxengine.probing.probe import probe
from fxengine.ui.commands.probe import show
from fxengine.ui.pages.probe import probe_page
from tests.pairs import tiny_pair
from tests.stores import write_store

SPACE, NAMES, DIM = "s" * 64, ("cat", "dog", "owl"), 16


def rows_of(n: int, seed: int, noise: float = 1.2) -> tuple[np.ndarray, list[str | None]]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = np.eye(3, DIM)[y] * 2 + rng.normal(0, noise, (n, DIM))
    return x.astype(np.float32), [NAMES[i] for i in y]


def head_of(path: Path, vectors: np.ndarray, names: tuple[str, ...]) -> Path:
    made = ZeroShot("t" * 64, names, ("{}",), "softmax", 20.0, 0.0, "pair")
    facts = HeadFacts(SPACE, "made", KIND, names, {}, 0, zero_shot=made)
    save_head(path, zero_shot_model(vectors, 20.0, 0.0, "softmax"), facts)
    return path


def store_of(folder: Path, n: int = 120, seed: int = 0, splits: list[str | None] | None = None) -> FeatureStore:
    x, labels = rows_of(n, seed)
    return write_store(folder, x, labels=labels, splits=splits, dtype="float32")


# The classes in another order than the store's, and one that it has not.
KNOWN = ("owl", "fox", "cat", "dog")
GOOD = np.eye(4, DIM)[[2, 3, 0, 1]]
BAD = np.eye(4, DIM)[[0, 3, 1, 2]]


def test_a_good_one_is_not_beaten_for_sure(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    found = probe(store.path, zeroshot=head_of(tmp_path / "head.onnx", GOOD, KNOWN), head="ridge", near=2).zero_shot
    assert found is not None
    x, labels = rows_of(120, 0)
    said = [KNOWN[i] for i in (x / np.linalg.norm(x, axis=1, keepdims=True) @ GOOD.T).argmax(axis=1)]
    right = np.mean([a == b for a, b in zip(said, labels, strict=True)])
    assert asdict(found.score) == pytest.approx(asdict(exact_interval(float(right), 120)))
    assert found.compared == pytest.approx(right)
    assert found.wins_from is None
    assert [labels for labels, _ in found.few] == [1, 2, 4, 8, 16, 32]
    assert found.in_words() == "with all of them, training does not win for sure"


def test_a_bad_one_is_beaten_from_where_the_interval_lies_above_it(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    report = probe(store.path, zeroshot=head_of(tmp_path / "head.onnx", BAD, KNOWN), head="ridge", near=2)
    found = report.zero_shot
    assert found is not None
    x, labels = rows_of(120, 0)
    y = np.array([NAMES.index(str(label)) for label in labels])
    problem = Problem("classes", NAMES, y, np.arange(120))
    fold = assign_folds(problem, 5, 0)
    expected = few_labels(lambda rows: make_head("ridge", rows=rows), x, problem, fold)
    for (labels_a_class, score), (count, right) in zip(found.few, expected, strict=True):
        assert labels_a_class == count
        assert asdict(score) == pytest.approx(asdict(exact_interval(float(right.mean()), 120 * 4 / 6)))
    assert asdict(found.few[-1][1]) == pytest.approx(asdict(report.score), abs=0.05)  # of all rows
    wins = [count for count, score in found.few if score.low > found.compared]
    assert found.wins_from == wins[0]
    assert wins == [count for count, _ in found.few if count >= wins[0]]
    assert report.to_dict()["zero_shot"]["wins_from"] == found.wins_from


def test_rows_that_do_not_fit_into_memory_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, head = store_of(tmp_path / "store"), head_of(tmp_path / "head.onnx", BAD, KNOWN)
    held = probe(store.path, zeroshot=head, head="ridge", near=2).zero_shot
    monkeypatch.setattr("fxengine.probing.vectors.IN_MEMORY", 0)
    assert probe(store.path, zeroshot=head, head="ridge", near=2).zero_shot == held
    monkeypatch.setattr("fxengine.probing.beside._ROWS", 60)
    found = probe(store.path, zeroshot=head, head="ridge", near=2).zero_shot
    assert found is not None
    assert held is not None
    assert found.score == held.score
    x, labels = rows_of(120, 0)
    chosen = np.sort(np.random.default_rng(0).permutation(120)[:60])
    said = [KNOWN[i] for i in (x / np.linalg.norm(x, axis=1, keepdims=True) @ BAD.T).argmax(axis=1)]
    assert found.compared == pytest.approx(np.mean([said[i] == labels[i] for i in chosen]))
    assert found.few[-1][0] == 32


def test_on_a_split_it_is_scored_on_its_test_rows(tmp_path: Path) -> None:
    splits: list[str | None] = ["train" if i < 90 else "val" for i in range(120)]
    store = store_of(tmp_path / "store", splits=splits)
    found = probe(store.path, split=True, zeroshot=head_of(tmp_path / "head.onnx", GOOD, KNOWN)).zero_shot
    assert found is not None
    x, labels = rows_of(120, 0)
    said = [KNOWN[i] for i in (x / np.linalg.norm(x, axis=1, keepdims=True) @ GOOD.T).argmax(axis=1)]
    right = np.mean([a == b for a, b in zip(said[90:], labels[90:], strict=True)])
    assert found.score.mean == pytest.approx(right)
    assert [count for count, _ in found.few] == [1, 2, 4, 8, 16, 32]


def test_in_another_store(tmp_path: Path) -> None:
    store, other = store_of(tmp_path / "store"), store_of(tmp_path / "other", 30, seed=5)
    head = head_of(tmp_path / "head.onnx", BAD, KNOWN)
    found = probe(store.path, test=other.path, zeroshot=head, pca=4).zero_shot
    assert found is not None
    x, labels = rows_of(30, 5)
    said = [KNOWN[i] for i in (x / np.linalg.norm(x, axis=1, keepdims=True) @ BAD.T).argmax(axis=1)]
    assert found.score.mean == pytest.approx(np.mean([a == b for a, b in zip(said, labels, strict=True)]))
    assert found.wins_from is not None


def test_it_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(tmp_path / "store")
    report = probe(store.path, zeroshot=head_of(tmp_path / "head.onnx", BAD, KNOWN), head="ridge", near=2)
    assert report.zero_shot is not None
    show(report, None)
    shown = capsys.readouterr().out
    assert f"zero-shot on the same rows: {report.zero_shot.score}" in shown
    assert f"training wins from {report.zero_shot.wins_from} label" in shown
    page = probe_page(report)
    assert "With and without labels" in page
    assert f"whole interval lies above {report.zero_shot.compared:.3f}" in page
    assert "zero-shot" not in probe_page(probe(store.path, head="ridge", near=2)).lower()


def test_what_cannot_be_is_said(photos: Path, tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    with pytest.raises(StoreError, match=r"does not know the class 'cat' of .*store: give a head"):
        probe(store.path, zeroshot=head_of(tmp_path / "few.onnx", GOOD[:2], KNOWN[:2]))
    probe(store.path, tmp_path / "trained.onnx")
    with pytest.raises(InputError, match="was trained on"):
        probe(store.path, zeroshot=tmp_path / "trained.onnx")
    other = store_of(tmp_path / "other", seed=3)
    with pytest.raises(InputError, match=r"was trained: it takes a head that `fxengine zeroshot` made"):
        probe(other.path, zeroshot=tmp_path / "trained.onnx")
    with pytest.raises(InputError, match="There is no head file"):
        probe(store.path, zeroshot=tmp_path / "none.onnx")
    (tmp_path / "numbers.csv").write_text("id,n\n" + "".join(f"{i:06d},{i / 7}\n" for i in range(120)))
    good = head_of(tmp_path / "head.onnx", GOOD, KNOWN)
    with pytest.raises(InputError, match=r"`zeroshot` answers classes, and .*store has numbers: both must be classes"):
        probe(store.path, labels=tmp_path / "numbers.csv", zeroshot=good)
    picture, _, _ = tiny_pair(tmp_path)
    extract(photos, tmp_path / "photos_store", backbone=picture.path)
    with pytest.raises(StoreError, match="holds those of another space"):
        probe(tmp_path / "photos_store", zeroshot=good)


@pytest.mark.parametrize(
    ("lows", "wins"),
    [
        ([0.1, 0.6, 0.7], 2),
        ([0.6, 0.4, 0.7], 4),
        ([0.6, 0.7, 0.5], None),
        ([0.6, 0.7, 0.8], 1),
        ([0.1, 0.1, 0.1], None),
    ],
)
def test_winning_is_for_good(lows: list[float], wins: int | None) -> None:
    few = [(2**i, Interval(0.9, low, 1.0)) for i, low in enumerate(lows)]
    assert wins_from(few, 0.5) == wins
