"""Pictures found by words, and texts by pictures, through the towers of a pair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fxengine
from fxengine import Backbone, FeatureStore, InputError, Probe, StoreError, extract, search, write_page
from fxengine.backbones import cache as backbones_cache
from fxengine.backbones import load_backbone
from fxengine.backbones.cache import read_backbone, write_backbone
from fxengine.backbones.pair import PAIR_KEY, Pair, keep_pair, pair_of
from tests.conftest import make_photo
from tests.pairs import tiny_pair, write_pair
from tests.texts import tiny_text_model, write_table

WORDS = ["good", "bad", "a", "dog", "x7", "cat 1", "on", "beach", "good dog", "bad cat"]
TEXTS = [f"{word} {other}" for word in WORDS for other in ("good", "3")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with 100 photos and 20 texts, the files of a pair, and a store by each of its towers."""
    folder = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FXENGINE_CACHE", str(folder / "cache"))
        tiny_pair(folder)
        for i in range(100):
            make_photo(folder / "photos" / f"{i:03d}.png", i)
        write_table(folder / "texts.csv", [(f"t{i:02d}", text, "") for i, text in enumerate(TEXTS)])
        extract(folder / "photos", folder / "pictures", backbone=folder / "tiny.image.onnx", part_rows=30)
        extract(
            folder / "texts.csv", folder / "texts", backbone=folder / "tiny.text.onnx", column="text", id_column="id"
        )
        yield folder


def towers(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of the stored pictures and texts, at length 1, in the order of their rows."""
    stores = (FeatureStore.open(folder / name).vectors(dtype="float32").astype(float) for name in ("pictures", "texts"))
    pictures, texts = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in stores)
    return pictures, texts


def unit(folder: Path, tower: str, *given: object) -> np.ndarray:
    """Return what a tower gives, at length 1, float64 [n, dim]."""
    vectors = Backbone.load(folder / f"tiny.{tower}.onnx").embed(given).astype(float)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def check(
    report: fxengine.retrieval.search.SearchReport, queries: np.ndarray, rows: np.ndarray, ids: list[str]
) -> None:
    """Check ranks and scores of every answer against cosines of all with all."""
    scores = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ rows.T
    assert len(report.answers) == len(queries)
    for answer, wanted in zip(report.answers, scores, strict=True):
        order = np.argsort(-wanted)[: len(answer.neighbours)]
        assert [near.id for near in answer.neighbours] == [ids[i] for i in order]
        np.testing.assert_allclose([near.score for near in answer.neighbours], wanted[order], rtol=0, atol=1e-6)


def test_texts_rank_photos_as_cosines_of_all_do(made: Path) -> None:
    report = search(made / "pictures", text=TEXTS, k=100, backbone=made / "tiny.text.onnx")
    assert (report.metric, report.method, report.modality) == ("cosine", "exact", "picture")
    assert [answer.query for answer in report.answers] == TEXTS
    assert {(answer.picture, answer.own) for answer in report.answers} == {(None, None)}
    check(report, unit(made, "text", *TEXTS), towers(made)[0], FeatureStore.open(made / "pictures").ids())


def test_photos_rank_texts_as_cosines_of_all_do(made: Path, tmp_path: Path) -> None:
    folder = search(made / "texts", made / "photos", k=20, backbone=made / "tiny.image.onnx")
    photos = sorted((made / "photos").iterdir())
    check(folder, unit(made, "image", *photos), towers(made)[1], FeatureStore.open(made / "texts").ids())
    assert (folder.modality, folder.answers[3].picture) == ("text", str(photos[3]))
    assert folder.answers[0].neighbours[0].text in TEXTS
    write_page(folder, tmp_path / "near.html")
    page = (tmp_path / "near.html").read_text()
    assert ("data:image/" in page, "good dog good" in page) == (True, True)
    (one,) = search(made / "texts", photos[7], k=20, backbone=made / "tiny.image.onnx").answers
    assert [(near.id, near.text) for near in one.neighbours] == [
        (near.id, near.text) for near in folder.answers[7].neighbours
    ]
    assert [near.score for near in one.neighbours] == pytest.approx([n.score for n in folder.answers[7].neighbours])


def test_a_file_of_a_text_asks_pictures(made: Path, tmp_path: Path) -> None:
    for name, text in (("a", "good"), ("b", "dog 3")):
        (tmp_path / f"{name}.txt").write_text(text)
    report = search(made / "pictures", tmp_path, k=9, backbone=made / "tiny.text.onnx")
    assert [answer.query for answer in report.answers] == [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    check(report, unit(made, "text", "good", "dog 3"), towers(made)[0], FeatureStore.open(made / "pictures").ids())


def test_sums_of_both_towers(made: Path) -> None:
    """Each at length 1, whatever it is and however long its tower makes it; rows of the sum are not found."""
    photo, ids = made / "photos" / "004.png", FeatureStore.open(made / "pictures").ids()
    report = search(
        made / "pictures", plus=["000.png", photo], minus=[photo.with_name("005.png")], plus_text="a dog", k=99,
        minus_text=["bad", "x7"], backbone=made / "tiny.text.onnx",
    )  # fmt: skip
    pictures = towers(made)[0]
    files, texts = unit(made, "image", photo, photo.with_name("005.png")), unit(made, "text", "a dog", "bad", "x7")
    total = pictures[0] + files[0] - files[1] + texts[0] - texts[1] - texts[2]
    left = [i for i, key in enumerate(ids) if key != "000.png"]
    check(report, total[None], pictures[left], [ids[i] for i in left])
    name = report.answers[0].query
    assert name == f'+000.png +{photo} +"a dog" -{photo.with_name("005.png")} -"bad" -"x7"'


def test_sums_of_words_alone_and_twice(made: Path) -> None:
    report = search(made / "pictures", plus_text=["good", "good"], minus_text="bad", backbone=made / "tiny.text.onnx")
    good, bad = unit(made, "text", "good", "bad")
    check(report, (2 * good - bad)[None], towers(made)[0], FeatureStore.open(made / "pictures").ids())
    own = search(made / "texts", plus_text=["good", "dog"], plus="t03", k=5)
    vectors = towers(made)[1]
    left = [i for i in range(20) if i != 3]
    check(own, unit(made, "text", "good", "dog").sum(0)[None] + vectors[3], vectors[left], [f"t{i:02d}" for i in left])


def test_photo_and_text_at_once(made: Path) -> None:
    photo = made / "photos" / "000.png"
    report = search(made / "pictures", photo, text="good", id="001.png", k=5, backbone=made / "tiny.text.onnx")
    assert [answer.query for answer in report.answers] == [str(photo), "good", "001.png"]
    assert report.answers[0].neighbours[0].id == "000.png"


def test_the_cache_finds_the_other_tower(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    folder = write_pair(tmp_path / "net")
    extract(made / "photos", tmp_path / "s", backbone=f"hf:{folder}", tower="image", limit=12)
    with pytest.raises(InputError, match=rf"`fxengine export hf:{folder} -o NAME` makes both"):
        search(tmp_path / "s", text="good")
    pair = fxengine.export(f"hf:{folder}", tmp_path / "clip").pair
    assert pair is not None
    found = search(tmp_path / "s", text="good", k=3).to_dict()["answers"]
    assert found == search(tmp_path / "s", text="good", k=3, backbone=tmp_path / "clip.text.onnx").to_dict()["answers"]
    assert found == search(tmp_path / "s", text="good", k=3, backbone=tmp_path / "clip.image.onnx").to_dict()["answers"]
    (tmp_path / "cache" / "backbones" / f"{pair.text}.onnx").unlink()
    said = rf"`text` asks it through its pair's tower of texts \(space {pair.text[:12]}\), which is not in the cache"
    with pytest.raises(InputError, match=said):
        search(tmp_path / "s", text="good")


def test_a_file_that_this_user_named_tells_the_pair(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any note in the cache; the other tower is there by itself."""
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    load_backbone(made / "tiny.image.onnx")
    with pytest.raises(InputError, match="which is not in the cache"):
        search(made / "pictures", text="good")
    found = load_backbone(made / "tiny.text.onnx")
    kept = tmp_path / "cache" / "backbones" / f"{found.fingerprint}.onnx"
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    kept.write_bytes(found.path.read_bytes())
    assert backbones_cache.find_by_fingerprint(found.fingerprint) is not None
    assert len(search(made / "pictures", text="good", k=2).answers[0].neighbours) == 2


def test_an_index_by_another_metric_is_passed_over(made: Path, tmp_path: Path) -> None:
    extract(made / "photos", tmp_path / "s", backbone=made / "tiny.image.onnx")
    fxengine.index(tmp_path / "s", metric="l2")
    report = search(tmp_path / "s", text="good", k=5, backbone=made / "tiny.text.onnx")
    assert (report.metric, report.method) == ("cosine", "exact")
    assert report.warning is not None
    check(report, unit(made, "text", "good"), towers(made)[0], FeatureStore.open(tmp_path / "s").ids())
    with pytest.raises(
        InputError, match=r"`text` asks .*s through a pair's other tower, by cosine: leave `metric` away"
    ):
        search(tmp_path / "s", text="good", metric="l2", backbone=made / "tiny.text.onnx")


def test_an_index_answers_the_other_kind_where_that_was_tried(made: Path, tmp_path: Path) -> None:
    extract(made / "photos", tmp_path / "s", backbone=made / "tiny.image.onnx")
    text, ids = {"text": "good", "k": 5, "backbone": made / "tiny.text.onnx"}, FeatureStore.open(tmp_path / "s").ids()
    fxengine.index(tmp_path / "s", factory="IVF4,Flat")
    report = search(tmp_path / "s", **text)  # type: ignore[arg-type]
    assert report.method == "exact"
    assert report.warning is not None
    assert report.warning.startswith("The index was measured with rows, which the other kind is unlike: searched exact")
    check(report, unit(made, "text", "good"), towers(made)[0], ids)
    assert search(tmp_path / "s", made / "photos" / "000.png").method.startswith("IVF4,Flat")
    np.save(tmp_path / "texts.npy", FeatureStore.open(made / "texts").vectors(dtype="float32"))
    fxengine.index(tmp_path / "s", factory="IVF4,Flat", queries=tmp_path / "texts.npy", rebuild=True)
    report = search(tmp_path / "s", **text)  # type: ignore[arg-type]
    assert report.method.startswith("IVF4,Flat")
    assert report.warning is None


def test_a_file_that_only_says_that_it_is_the_other_tower_is_refused(made: Path, tmp_path: Path) -> None:
    model = tiny_text_model(dim=6)
    path = tmp_path / "net.onnx"
    write_backbone(model, path)
    pair = Pair(load_backbone(made / "tiny.image.onnx").fingerprint, read_backbone(path).fingerprint, "softmax")
    model.metadata_props.add(key=PAIR_KEY, value=pair.to_json())
    write_backbone(model, path)
    with pytest.raises(InputError, match=r"gives 6 numbers for a text; there are 8 for a picture\. Export the pair"):
        search(made / "pictures", text="good", backbone=path)


def test_a_reduced_store_is_in_no_pair(made: Path, tmp_path: Path) -> None:
    fxengine.pca(made / "pictures", tmp_path / "p.onnx", dim=4, reduced=tmp_path / "small")
    with pytest.raises(
        InputError, match=r"not with `text`: a PCA is of one tower alone\. Search the store that was re"
    ):
        search(tmp_path / "small", text="good")
    with pytest.raises(InputError, match="a PCA is of one tower alone"):
        search(tmp_path / "small", text="good", backbone=made / "tiny.text.onnx")


@pytest.mark.parametrize(
    ("store", "asked"),
    [
        ("pictures", {"text": "good"}),
        ("pictures", {"plus": "000.png", "minus_text": "good"}),
        ("texts", {"query": "photos/000.png"}),
        ("texts", {"query": "photos"}),
        ("texts", {"plus": "photos/000.png"}),
    ],
)
def test_a_backbone_of_no_pair_is_refused(made: Path, store: str, asked: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.chdir(made)
    other = "minilm_l6" if store == "pictures" else "efficientnet_lite0"
    with pytest.raises(
        InputError, match=rf"{store} was made by .*onnx: `backbone` {other} is neither that, nor the oth"
    ):
        search(store, **asked, backbone=other)


def test_what_a_pair_does_not_allow_says_why(made: Path, tmp_path: Path) -> None:
    pair = pair_of(load_backbone(made / "tiny.image.onnx"))
    assert pair is not None
    keep_pair(pair)
    try:
        with pytest.raises(StoreError, match=r"holds features of another space: .* They are the two towers of a pair"):
            extract(made / "texts.csv", made / "pictures", backbone=made / "tiny.text.onnx", column="text")
        rows = [(f"{i:03d}.png", "cats" if i % 2 else "dogs") for i in range(100)]
        labels = write_table(tmp_path / "labels.csv", rows, ("id", "label"))
        Probe.fit(made / "pictures", labels=labels).save(tmp_path / "head.onnx")
        with pytest.raises(
            StoreError, match=r"those of another space .* They are the two towers of a pair: one may be"
        ):
            fxengine.predict(made / "texts", model=tmp_path / "head.onnx")
    finally:
        for note in (made / "cache" / "pairs").iterdir():
            note.unlink()
