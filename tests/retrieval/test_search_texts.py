from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fxengine import FeatureStore, InputError, extract, search
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import DecodeError
from fxengine.pipeline.embed import Backbone
from tests.reviews import LABELS, REVIEWS, review_store, write_reviews


@pytest.fixture
def store(tmp_path: Path, tiny_texts: BackboneFile) -> Path:
    return review_store(write_reviews(tmp_path / "reviews.csv"), tmp_path / "store", tiny_texts)


def test_the_text_of_a_row_finds_that_row(store: Path, tiny_texts: BackboneFile) -> None:
    report = search(store, text=[REVIEWS["r07"], REVIEWS["r42"]], k=3, backbone=tiny_texts.path)
    assert [answer.query for answer in report.answers] == [REVIEWS["r07"], REVIEWS["r42"]]
    for answer, key in zip(report.answers, ("r07", "r42"), strict=True):
        near = answer.neighbours[0]
        assert (near.id, near.label, near.text, answer.picture) == (key, LABELS[key], REVIEWS[key], None)
        assert near.score == pytest.approx(1, abs=1e-5)
        assert all(each.text == REVIEWS[each.id] for each in answer.neighbours)
    assert (report.modality, report.rows, report.root) == ("text", 60, str(store.parent / "reviews.csv"))


def test_every_kind_of_query(store: Path, tmp_path: Path, tiny_texts: BackboneFile) -> None:
    opened = FeatureStore.open(store)
    np.save(tmp_path / "v.npy", opened.vectors(dtype="float32")[5:6])
    folder = tmp_path / "asked"
    folder.mkdir()
    for i in range(3):  # more than are embedded before threads would have begun
        (folder / f"{i}.txt").write_text(REVIEWS[f"r0{i}"], encoding="utf-8-sig")
    report = search(store, [folder, tmp_path / "v.npy"], text="good pan", id="r20", plus=folder / "1.txt", k=2)
    first = {answer.query: answer.neighbours[0].id for answer in report.answers}
    assert list(first) == [
        f"{tmp_path / 'v.npy'}[0]",
        *(f"{folder / f'{i}.txt'}" for i in range(3)),
        "good pan",
        f"+{folder / '1.txt'}",
        "r20",
    ]
    assert [first[f"{folder / f'{i}.txt'}"] for i in range(3)] == ["r00", "r01", "r02"]
    assert (first[f"{tmp_path / 'v.npy'}[0]"], first[f"+{folder / '1.txt'}"]) == ("r05", "r01")
    assert first["r20"] != "r20"
    unit = opened.vectors(normalize=True, dtype="float32")
    asked = Backbone.load(tiny_texts.path).embed(["good pan"])[0]
    assert first["good pan"] == opened.ids()[int((unit @ asked).argmax())]


def test_the_table_of_texts_says_them(store: Path, tmp_path: Path) -> None:
    report = search(store, text=REVIEWS["r03"], k=2, output=tmp_path / "n.parquet")
    table = pq.read_table(tmp_path / "n.parquet")
    assert table.column_names == ["query", "rank", "id", "label", "score", "text"]
    assert table["text"].to_pylist() == [near.text for near in report.answers[0].neighbours]
    (tmp_path / "reviews.csv").unlink()
    (answer,) = search(store, text=REVIEWS["r03"], k=2).to_dict()["answers"]
    assert [near["text"] for near in answer["neighbours"]] == [None, None]
    assert answer["neighbours"][0]["id"] == "r03"


def test_a_store_of_texts_takes_texts_and_one_of_pictures_pictures(
    store: Path, photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(photos, tmp_path / "pictures", backbone=tiny.path)
    (tmp_path / "a.txt").write_text("good")
    photo = photos / "cats" / "01.jpg"
    monkeypatch.setattr(Backbone, "for_store", lambda *_: pytest.fail("a backbone was loaded"))
    said = r"store holds texts, and its backbone .*tiny_text\.onnx takes texts: ask with `text`, .* not with .*01\.jpg"
    pictures: list[dict[str, Any]] = [
        {"query": photo},
        {"query": [tmp_path / "a.txt", photo]},
        {"plus": photo},
        {"minus": photo},
    ]
    for asked in pictures:
        with pytest.raises(InputError, match=said):
            search(store, **asked)
    said = r"pictures holds pictures, and its backbone .*tiny\.onnx takes pictures: ask with a picture"
    texts: list[dict[str, Any]] = [
        {"text": "a cat"},
        {"query": tmp_path / "a.txt"},
        {"plus": tmp_path / "a.txt"},
    ]
    for asked in texts:
        with pytest.raises(InputError, match=said):
            search(tmp_path / "pictures", **asked)
    with pytest.raises(InputError, match=r"Nothing is asked for: name a `text`, a \.txt file, a folder"):
        search(store)
    with pytest.raises(InputError, match=r"ask with `text`, .* not with .*cats\. Pictures can only ask one"):
        search(store, photos / "cats")


def test_a_query_that_is_no_text_is_named(store: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xff\xff")
    with pytest.raises(DecodeError, match=r"a\.txt: It is not UTF-8"):
        search(store, tmp_path / "a.txt")
    with pytest.raises(DecodeError, match="text 1: The text is empty"):
        search(store, text=["good", " "])
