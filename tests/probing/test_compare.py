from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fxengine import InputError, StoreError, extract, pca
from fxengine.backbones.cache import read_backbone, write_backbone
from fxengine.backbones.spec import METADATA_KEY, BackboneFile
from fxengine.probing.compare import compare
from fxengine.probing.mislabeled import mislabeled, rank
from fxengine.probing.probe import probe
from tests.probing.test_probe import names_of, planted, planted_store
from tests.reviews import review_store, write_reviews
from tests.texts import tiny_text_model


def test_the_better_features_come_first_with_the_score_of_their_probe(tmp_path: Path) -> None:
    x, y = planted(noise=1.0)
    noise = np.random.default_rng(0).normal(0, 2, x.shape).astype(np.float32)
    good = planted_store(tmp_path / "good", x, names_of(y))
    bad = planted_store(tmp_path / "bad", x + noise, names_of(y))
    found = compare([bad, good], near=2)
    assert [Path(each.store).name for each in found.candidates] == ["good", "bad"]
    assert found.candidates[0].log_me > found.candidates[1].log_me
    assert found.candidates[0].score == probe(good, near=2).score
    assert (found.rows, found.folds, found.candidates[0].dim) == (300, 5, 24)
    assert found.candidates[0].images_per_second is None  # of made-up vectors there is no backbone


def test_every_layer_is_a_candidate(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    extract(photos, tmp_path / "s", backbone=tiny.path, layers=("relu", "features"))
    found = compare([tmp_path / "s"])
    assert {each.layer for each in found.candidates} == {None, "relu"}
    assert all((each.images_per_second or 0) > 0 for each in found.candidates)


def test_only_rows_that_all_stores_have_count(tmp_path: Path) -> None:
    x, y = planted(60)
    a = planted_store(tmp_path / "a", x, names_of(y))
    b = planted_store(tmp_path / "b", x[:45], names_of(y[:45]))
    assert compare([a, b]).rows == 45
    c = planted_store(tmp_path / "c", x, names_of((y + 1) % 3))
    with pytest.raises(StoreError, match="has other labels than"):
        compare([a, c])
    with pytest.raises(InputError, match="Give one store or several"):
        compare([])


def test_planted_wrong_labels_are_found(tmp_path: Path) -> None:
    x, y = planted(400, classes=4, noise=0.4)
    flipped = np.random.default_rng(2).choice(400, 20, replace=False)
    wrong = y.copy()
    wrong[flipped] = (wrong[flipped] + 1) % 4
    store = planted_store(tmp_path / "s", x, names_of(wrong))
    found = mislabeled(store)
    truth = {f"{i:06d}.jpg" for i in flipped}
    assert {row.id for row in found.rows[:20]} == truth
    assert 15 <= found.issues <= 20  # a row as sure as its new class's own rows are on average
    assert all(row.suggestion == f"c{y[int(row.id[:6])]}" for row in found.rows[:20])
    assert found.table.num_rows == len(found.rows)


def test_the_rule_of_confident_learning() -> None:
    # Class 0's own rows are 0.8 sure of it on average, class 1's 0.5.
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.85, 0.15], [0.1, 0.9], [0.45, 0.55]])
    order, wrong = rank(p, np.array([0, 0, 1, 1, 1]))
    assert order.tolist()[0] == 2
    assert wrong.tolist() == [False, False, True, False, False]


def test_wrong_labels_need_classes(tmp_path: Path) -> None:
    x, y = planted(20)
    store = planted_store(tmp_path / "s", x, names_of(y))
    (tmp_path / "t.csv").write_text("id,price\n" + "\n".join(f"{i:06d}.jpg,{i}.5" for i in range(20)))
    with pytest.raises(InputError, match=r"among classes; .* has numbers"):
        mislabeled(store, labels=tmp_path / "t.csv")


@pytest.mark.slow
def test_two_nets_of_texts_are_ranked_on_the_same_rows(
    tmp_path: Path, tiny_texts: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_reviews(tmp_path / "reviews.csv")
    store = review_store(table, tmp_path / "a", tiny_texts)
    write_backbone(tiny_text_model(dim=2), tmp_path / "small.onnx")
    small = review_store(table, tmp_path / "b", read_backbone(tmp_path / "small.onnx"))
    pca(store, tmp_path / "pca.onnx", dim=3, reduced=tmp_path / "c")
    found = compare([store, small, tmp_path / "c"], head="ridge")
    assert (found.modality, found.rows, found.metric) == ("text", 60, "accuracy")
    by_store = {Path(each.store).name: each for each in found.candidates}
    assert {name: each.dim for name, each in by_store.items()} == {"a": 8, "b": 2, "c": 3}
    assert by_store["a"].score == probe(store, head="ridge").score
    assert found.candidates[0].store == str(store)
    assert all((each.images_per_second or 0) > 0 for each in found.candidates)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (without,) = compare(store, head="ridge").candidates  # which needs none but to time the net
    assert (without.images_per_second, without.score) == (None, by_store["a"].score)


def test_a_net_that_saw_the_labels_is_told(tmp_path: Path, photos: Path, tiny: BackboneFile) -> None:
    model = onnx.load(tiny.path)
    weights = next(each for each in model.graph.initializer if numpy_helper.to_array(each).ndim == 4)
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(1.5), weights.name))
    facts = replace(tiny.facts, notes={"tuned": {"on": str(photos)}})
    helper.set_model_props(model, {METADATA_KEY: facts.to_json()})
    write_backbone(model, tmp_path / "tuned.onnx")
    extract(photos, tmp_path / "s", backbone=tmp_path / "tuned.onnx")
    assert compare([tmp_path / "s"]).notes == (
        f"{tmp_path / 's'}: its net was fine-tuned on rows of {photos}, so its score here is too good; what counts is "
        "the test score that the fine-tuning told.",
    )
    extract(photos, tmp_path / "t", backbone=tiny.path)
    assert compare([tmp_path / "t"]).notes == ()
