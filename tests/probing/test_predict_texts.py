from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine import FeatureStore, InputError, StoreError, predict, probe
from fxengine.backbones.spec import BackboneFile
from fxengine.collect.text_table import TextTable
from fxengine.heads.file import Head
from fxengine.pipeline.embed import Backbone
from fxengine.probing.prediction import Prediction
from tests.reviews import LABELS, REVIEWS, review_store, write_reviews


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_reviews(tmp_path / "reviews.csv")


@pytest.fixture
def head(table: Path, tmp_path: Path, tiny_texts: BackboneFile) -> Path:
    probe(review_store(table, tmp_path / "store", tiny_texts), tmp_path / "head.onnx", head="ridge")
    return tmp_path / "head.onnx"


def expected(head: Path, vectors: np.ndarray) -> list[tuple[str, float]]:
    """Return the first answer of a head for vectors, and its share."""
    loaded = Head.load(head)
    answers = loaded.answers(vectors)
    return [(loaded.facts.classes[int(row.argmax())], float(row.max())) for row in answers]


def first(predictions: list[Prediction]) -> list[tuple[str, float]]:
    return [(each.labels[0], each.probabilities[0]) for each in predictions]


def same(found: list[Prediction], wanted: list[tuple[str, float]]) -> bool:
    told = first(found)
    return [label for label, _ in told] == [label for label, _ in wanted] and np.allclose(
        [share for _, share in told], [share for _, share in wanted], atol=2e-3
    )


def test_a_table_is_answered_as_its_stored_vectors(table: Path, head: Path, tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "store")
    found = list(predict(table, column="text", id_column="id", model=head))
    assert [each.id for each in found] == store.ids() == sorted(REVIEWS)
    assert same(found, expected(head, store.vectors(dtype="float32")))
    assert sum(each.labels[0] == LABELS[each.id] for each in found) > 50
    assert [each.id for each in predict(table, model=head, limit=2)] == [
        "reviews.csv#000000000",
        "reviews.csv#000000001",
    ]


def test_lines_and_files_are_answered_as_the_same_texts_in_a_table(head: Path, tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "store")
    wanted = expected(head, store.select(ids=["r00", "r01"]).vectors(dtype="float32"))
    (tmp_path / "lines.txt").write_text(f"{REVIEWS['r00']}\n{REVIEWS['r01']}\n")
    assert same(list(predict(tmp_path / "lines.txt", model=head)), wanted)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "0.txt").write_text(REVIEWS["r00"], encoding="utf-8-sig")
    (folder / "1.txt").write_text(REVIEWS["r01"], encoding="utf-16")
    (folder / "2.txt").write_text("")
    found = predict(folder, model=head)
    assert same([*found.predictions[:2]], wanted)
    assert (found.predictions[2].error, found.failed) == ("The text is empty.", 1)


def test_texts_by_themselves_keep_their_order_and_are_named_by_themselves(head: Path, tiny_texts: BackboneFile) -> None:
    texts = ["good\nfilm", "bad film " + "x" * 80, "", "good\nfilm"]
    found = predict(text=texts, model=head)
    assert [each.id for each in found] == ["good film", f"bad film {'x' * 50}…", "", "good film"]
    assert (found.failed, found.predictions[2].error) == (1, "The text is empty.")
    fine = [found.predictions[i] for i in (0, 1, 3)]
    assert same(fine, expected(head, Backbone.load(tiny_texts.path).embed([texts[i] for i in (0, 1, 3)])))
    assert first(list(predict(text="good\nfilm", model=head))) == first(fine[:1])


def test_what_does_not_suit_the_head_is_refused_before_a_table_is_read(
    table: Path, head: Path, photos: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="tiny_text takes texts: give a table of texts"):
        predict(photos, model=head)
    monkeypatch.setattr(TextTable, "__init__", lambda *_: pytest.fail("the table was read"))
    with pytest.raises(InputError, match=r"reviews\.csv holds texts, and tiny takes pictures: give a picture"):
        predict(table, backbone=tiny.path)
    with pytest.raises(InputError, match="`text` is given, and tiny takes pictures: give a picture, or a folder of"):
        predict(text="good", backbone=tiny.path)
    with pytest.raises(StoreError, match="The head was trained on features of"):
        predict(table, model=head, backbone=tiny.path)
    with pytest.raises(InputError, match=r"minilm_l6 has no classes of its own: train a head"):
        predict(table)
    with pytest.raises(InputError, match=r"There is no head file"):
        predict(table, model="none.onnx")


def test_what_belongs_to_no_table_is_refused(table: Path, head: Path, tmp_path: Path) -> None:
    for given in ({}, {"inputs": table, "text": "good"}):
        with pytest.raises(InputError, match="Give `inputs` or `text`, one of the two"):
            predict(**given, model=head)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"What is given as `text` is no table\. Columns are named for tables"):
        predict(text="good", column="text", model=head)
    with pytest.raises(InputError, match=r"store is a feature store\. Columns are named for tables"):
        predict(tmp_path / "store", column="text", model=head)
    with pytest.raises(InputError, match=r"has no column 'txt'.* Did you mean 'text'\?"):
        predict(table, column="txt", model=head)
    assert len(predict(tmp_path / "store", model=head)) == 60
