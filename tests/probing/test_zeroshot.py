"""Zero-shot heads: by open_clip's recipe, like any other head, and beside a trained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax

import fxengine
from fxengine.backbones import cache
from fxengine.backbones.cache import write_backbone
from fxengine.backbones.pair import Activation, keep_pair
from fxengine.errors import InputError, StoreError
from fxengine.heads.file import Head
from fxengine.pipeline.embed import Backbone
from fxengine.probing.prompts import PHOTO
from fxengine.probing.zeroshot import ASSUMED, zeroshot
from tests.pairs import tiny_pair, write_pair
from tests.stores import write_store
from tests.texts import tiny_text_model

CLASSES = ["cats", "dogs\tbad dog", "grey_owls"]
WORDS = ("cats", "bad dog", "grey owls")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))


def recipe(text: Path, templates: tuple[str, ...], words: tuple[str, ...] = WORDS) -> np.ndarray:
    """Return open_clip's classifier [classes, dim], each text embedded by itself."""
    net = Backbone.load(text)
    made = []
    for word in words:
        vectors = np.concatenate([net.embed([template.replace("{}", word)]) for template in templates]).astype(float)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        mean = vectors.mean(axis=0)
        made.append(mean / np.linalg.norm(mean))
    return np.stack(made)


def logits_of(photos: list[Path], picture: Path, weights: np.ndarray, scale: float, bias: float = 0.0) -> np.ndarray:
    vectors = Backbone.load(picture).embed(photos).astype(float)
    return np.asarray(scale * vectors / np.linalg.norm(vectors, axis=1, keepdims=True) @ weights.T + bias)


@pytest.mark.parametrize(("activation", "scale", "bias"), [("softmax", 20.0, 0.0), ("sigmoid", 10.0, -3.0)])
def test_predictions_are_those_of_the_recipe(
    photos: Path, tmp_path: Path, activation: Activation, scale: float, bias: float
) -> None:
    picture, text, pair = tiny_pair(tmp_path, activation, scale, bias)
    made = zeroshot(text.path, tmp_path / "head.onnx", classes=CLASSES, templates="photo")
    assert made.head.space == pair.picture
    assert made.head.classes == ("cats", "dogs", "grey_owls")
    said = made.head.zero_shot
    assert said is not None
    assert (said.texts, said.words, said.templates) == (pair.text, WORDS, PHOTO)
    assert (said.activation, said.scale, said.bias, said.scale_from) == (activation, scale, bias, "pair")
    assert (made.texts, made.output) == (21, str(tmp_path / "head.onnx"))
    files = sorted(photos.rglob("*.jpg"))
    found = fxengine.predict(photos, model=tmp_path / "head.onnx", backbone=picture.path, top=3)
    logits = logits_of(files, picture.path, recipe(text.path, PHOTO), scale, bias)
    expected = softmax(logits, axis=1) if activation == "softmax" else expit(logits)
    for prediction, row in zip(found, expected, strict=True):
        by_name = dict(zip(prediction.labels, prediction.probabilities, strict=True))
        np.testing.assert_allclose([by_name[name] for name in made.head.classes], row, rtol=1e-4)


def test_either_tower_and_a_repository_give_the_same_head(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "repository")
    both = fxengine.export(f"hf:{folder}", tmp_path / "clip")
    assert both.text is not None
    given: list[str | Path] = [f"hf:{folder}", both.file.path, both.text.file.path]
    heads = []
    for i, pair in enumerate(given):
        made = zeroshot(pair, tmp_path / f"{i}.onnx", classes=["good", "bad"])
        assert made.head.zero_shot is not None
        assert made.head.zero_shot.scale_from == "pair"
        assert made.head.zero_shot.scale == pytest.approx(np.exp(4.0))
        assert made.head.space == both.file.fingerprint
        heads.append(Head.load(tmp_path / f"{i}.onnx"))
    vectors = np.random.default_rng(0).normal(0, 1, (5, heads[0].dim)).astype(np.float32)
    for head in heads[1:]:
        np.testing.assert_array_equal(head.answers(vectors), heads[0].answers(vectors))
    assert heads[0].facts.source == f"hf:{folder}#onnx/vision_model.onnx"
    assert heads[1].facts.source == heads[2].facts.source == str(both.file.path)


def test_a_store_of_pictures_is_predicted_bundled_and_checked(photos: Path, tmp_path: Path) -> None:
    picture, text, _ = tiny_pair(tmp_path)
    fxengine.extract(photos, tmp_path / "store", backbone=picture.path)
    head = tmp_path / "head.onnx"
    zeroshot(text.path, head, classes=CLASSES)
    found = list(fxengine.predict(tmp_path / "store", model=head, top=1))
    wanted = logits_of(sorted(photos.rglob("*.jpg")), picture.path, recipe(text.path, ("a photo of a {}.",)), 20.0)
    names = ("cats", "dogs", "grey_owls")
    assert [each.labels[0] for each in found] == [names[i] for i in wanted.argmax(axis=1)]
    bundled = fxengine.bundle(picture.path, head, tmp_path / "bundle.onnx", store=tmp_path / "store")
    assert bundled.agreement is not None
    assert bundled.agreement.same == 1.0
    assert "accuracy" not in fxengine.info(tmp_path / "bundle.onnx").facts
    suspects = fxengine.mislabeled(tmp_path / "store", model=head)
    assert (suspects.head, suspects.model, suspects.checked) == ("zero-shot", str(head), 20)
    answers = softmax(wanted, axis=1)
    own = {
        path.relative_to(photos).as_posix(): row
        for path, row in zip(sorted(photos.rglob("*.jpg")), answers, strict=True)
    }
    for row in suspects.rows:
        assert row.own_probability == pytest.approx(own[row.id][names.index(row.label)], abs=2e-3)
        assert row.suggestion == names[int(own[row.id].argmax())]
    assert fxengine.info(head).facts["zero_shot"]["words"] == WORDS


def test_what_the_pair_does_not_state(tmp_path: Path) -> None:
    _, text, _ = tiny_pair(tmp_path, "softmax", None)
    made = zeroshot(text.path, tmp_path / "head.onnx", classes=CLASSES, templates=["{}"])
    assert made.head.zero_shot is not None
    assert (made.head.zero_shot.scale, made.head.zero_shot.scale_from) == (ASSUMED, "assumed")
    assert made.notes[0].startswith("Nothing states the pair's scale: 100 is assumed.")
    given = zeroshot(text.path, tmp_path / "head.onnx", classes=CLASSES, templates=["{}"], scale=50)
    assert given.head.zero_shot is not None
    assert (given.head.zero_shot.scale, given.head.zero_shot.scale_from, given.notes) == (50.0, "given", ())
    _, text, _ = tiny_pair(tmp_path, "sigmoid", None)
    for scale, bias in ((None, None), (10.0, None), (None, -5.0)):
        with pytest.raises(InputError, match="Nothing states the pair's scale and bias"):
            zeroshot(text.path, tmp_path / "head.onnx", classes=CLASSES, scale=scale, bias=bias)
    whole = zeroshot(text.path, tmp_path / "head.onnx", classes=CLASSES, scale=10.0, bias=-5.0)
    assert whole.head.zero_shot is not None
    assert (whole.head.zero_shot.scale, whole.head.zero_shot.bias) == (10.0, -5.0)


def test_texts_that_were_cut_are_counted(tmp_path: Path) -> None:
    _, text, _ = tiny_pair(tmp_path)
    long = zeroshot(text.path, tmp_path / "head.onnx", classes=["good", "bad " * 20], templates=["{}"])
    assert long.truncated == 1
    assert long.notes == ("1 of 2 texts were cut: the net took only their first tokens.",)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"output": "head.txt"}, r"`output` head.txt must end in \.onnx"),
        ({"classes": ["a", "a"]}, r"`classes`, line 2 names 'a' for the second time"),
        ({"classes": 5}, r"`classes` must be a path"),
        ({"templates": ["a photo"]}, r"`templates`, line 1 has no {}"),
        ({"scale": 0}, r"`scale` must be a number above 0"),
        ({"bias": 1.0}, r"`bias` changes nothing of a pair with a softmax"),
        ({"bias": float("nan")}, r"`bias` must be a number\. Got nan"),
        ({"pair": "none.onnx"}, r"There is no backbone file none.onnx"),
        ({"pair": "efficientnet_lite0x"}, r"There is no backbone"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    _, text, _ = tiny_pair(tmp_path)
    given = {"pair": text.path, "output": tmp_path / "head.onnx", "classes": CLASSES, **wrong}
    with pytest.raises(InputError, match=said):
        zeroshot(given.pop("pair"), given.pop("output"), **given)
    assert not (tmp_path / "head.onnx").exists()


def test_a_backbone_that_is_in_no_pair(tmp_path: Path) -> None:
    write_backbone(tiny_text_model(2.0), tmp_path / "alone.onnx")
    with pytest.raises(InputError, match=r"alone.onnx is in no pair, as far as its file and the cache say"):
        zeroshot(tmp_path / "alone.onnx", tmp_path / "head.onnx", classes=CLASSES)
    write_store(tmp_path / "store", np.ones((2, 3)))
    with pytest.raises(InputError, match=r"store is a feature store: give the pair, as hf:ORG/NAME or the file"):
        zeroshot(tmp_path / "store", tmp_path / "head.onnx", classes=CLASSES)


def test_the_tower_of_texts_is_found_in_the_cache(tmp_path: Path) -> None:
    picture, text, _ = tiny_pair(tmp_path)
    with pytest.raises(InputError, match=r"is the tower of pictures, and its tower of texts .* is not in the cache"):
        zeroshot(picture.path, tmp_path / "head.onnx", classes=CLASSES)
    assert cache.keep(tiny_text_model(), "texts").fingerprint == text.fingerprint
    assert zeroshot(picture.path, tmp_path / "head.onnx", classes=CLASSES).head.source == str(picture.path)


def test_a_pair_that_only_the_cache_notes(tmp_path: Path) -> None:
    _, text, pair = tiny_pair(tmp_path)
    write_backbone(tiny_text_model(), text.path)
    with pytest.raises(InputError, match="is in no pair"):
        zeroshot(text.path, tmp_path / "head.onnx", classes=CLASSES)
    keep_pair(pair)
    assert zeroshot(text.path, tmp_path / "head.onnx", classes=CLASSES).head.space == pair.picture


def test_a_store_of_texts_is_not_for_it(tmp_path: Path) -> None:
    _, text, _ = tiny_pair(tmp_path)
    (tmp_path / "t.csv").write_text("text\ngood\nbad\n")
    fxengine.extract(tmp_path / "t.csv", tmp_path / "texts", backbone=text.path)
    zeroshot(text.path, tmp_path / "head.onnx", classes=CLASSES)
    with pytest.raises(StoreError, match="holds those of another space"):
        fxengine.predict(tmp_path / "texts", model=tmp_path / "head.onnx")


def test_wrong_labels_by_a_head_that_knows_the_rows_or_not_the_class(photos: Path, tmp_path: Path) -> None:
    picture, text, _ = tiny_pair(tmp_path)
    store = tmp_path / "store"
    fxengine.extract(photos, store, backbone=picture.path)
    fxengine.probe(store, tmp_path / "trained.onnx", folds=2)
    with pytest.raises(InputError, match=r"was trained on .*store, and answers for rows that it knows already"):
        fxengine.mislabeled(store, model=tmp_path / "trained.onnx")
    zeroshot(text.path, tmp_path / "head.onnx", classes=["cats", "owls"])
    with pytest.raises(StoreError, match=r"head.onnx does not know the class 'dogs' of"):
        fxengine.mislabeled(store, model=tmp_path / "head.onnx")
    with pytest.raises(InputError, match="`model` answers itself: leave `head` away"):
        fxengine.mislabeled(store, model=tmp_path / "head.onnx", head="ridge")
