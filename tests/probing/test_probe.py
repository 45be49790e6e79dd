from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import normalize

from fxengine import FeatureStore, InputError, StoreError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect.item import Item
from fxengine.features import blocks
from fxengine.features.parts import Row
from fxengine.features.schema import Provenance
from fxengine.features.write import PartWriter
from fxengine.heads import HEADS, WEIGHTED, heads_for, mlp
from fxengine.heads.file import Head
from fxengine.probing import vectors
from fxengine.probing.compare import compare
from fxengine.probing.mislabeled import mislabeled
from fxengine.probing.predict import predict
from fxengine.probing.probe import Probe, probe
from tests.conftest import make_photo
from tests.stores import write_store


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> Path:
    extract(photos, tmp_path / "store", backbone=tiny.path)
    return tmp_path / "store"


def test_the_report_counts_what_cross_validation_found(store: Path, tmp_path: Path) -> None:
    report = probe(store, tmp_path / "head.onnx", near=2)
    table = FeatureStore.open(store).table()
    wanted = np.array([label == "dogs" for label in table.labels]).astype(int)
    x = normalize(table.vectors.astype(np.float32))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    p = cross_val_predict(LogisticRegression(C=100, max_iter=1000), x, wanted, cv=folds, method="predict_proba")
    predicted = p.argmax(axis=1)
    assert (report.score.mean, report.metric) == ((predicted == wanted).mean(), "accuracy")
    assert (report.rows, report.trained_on, report.chance) == (20, 20, 0.5)
    assert report.confusion == confusion_matrix(wanted, predicted).tolist()
    assert report.per_class["cats"].recall == (predicted[wanted == 0] == 0).mean()
    assert report.scores["log_loss"] == pytest.approx(log_loss(wanted, p), abs=1e-3)
    assert report.scores["auc"] == pytest.approx(roc_auc_score(wanted, p[:, 1]))
    assert report.scores["macro_f1"] == pytest.approx(f1_score(wanted, predicted, average="macro"))
    wrong = [table.keys[i] for i in np.flatnonzero(predicted != wanted)]
    assert sorted(mistake.id for mistake in report.mistakes) == wrong
    assert report.to_dict()["accuracy"]["mean"] == report.score.mean
    facts = Head.load(tmp_path / "head.onnx").facts
    assert facts.classes == ("cats", "dogs")
    assert facts.accuracy == asdict(report.score)


def test_the_head_answers_the_same_on_photos_and_on_the_store(
    store: Path, photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    extract(photos, store, backbone=tiny.path)
    probe(store, tmp_path / "head.onnx")
    from_store = {p.id: p for p in predict(store, model=tmp_path / "head.onnx", top=2)}
    from_photos = {p.id: p for p in predict(photos, model=tmp_path / "head.onnx", backbone=tiny.path, top=2)}
    assert from_store.keys() == from_photos.keys()
    assert len(from_store) == 21
    for key, prediction in from_photos.items():
        assert prediction.labels == from_store[key].labels
        assert prediction.probabilities == pytest.approx(from_store[key].probabilities, abs=0.01)
    assert from_photos["cats/bad.jpg"].error == "The file is empty."


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"": 3}, "No row of .* has a label"),
        ({"cats": 4, "dogs": 1}, "Class 'dogs' has one row"),
    ],
)
def test_labels_that_cannot_be_probed(
    folders: dict[str, int], message: str, tmp_path: Path, tiny: BackboneFile
) -> None:
    for folder, count in folders.items():
        for i in range(count):
            make_photo(tmp_path / "p" / folder / f"{i}.jpg", i)
    extract(tmp_path / "p", tmp_path / "s", backbone=tiny.path)
    with pytest.raises(StoreError, match=message):
        probe(tmp_path / "s", tmp_path / "head.onnx")
    assert not (tmp_path / "head.onnx").exists()


def test_fewer_rows_than_folds_means_fewer_folds(tmp_path: Path, tiny: BackboneFile) -> None:
    for i in range(6):
        make_photo(tmp_path / "p" / "ab"[i % 2] / f"{i}.jpg", i)
    extract(tmp_path / "p", tmp_path / "s", backbone=tiny.path)
    assert probe(tmp_path / "s", near=2).evaluation == "3-fold cross-validation"


def planted_store(folder: Path, x: np.ndarray, labels: list[str | None], hashes: list[str] | None = None) -> Path:
    """Write a store of made-up vectors, rows in the order of x."""
    provenance = Provenance(
        space="f" * 64, source="made up", recipe={}, root=str(folder), dim=x.shape[1], dtype="float32",
        precision="fp32", engine="none", provider="none", decoder="none",
    )  # fmt: skip
    folder.mkdir(parents=True)
    writer = PartWriter(folder, provenance, 0, part_rows=97)
    for i, vector in enumerate(x):
        item = Item(f"{i:06d}.jpg", "", 0, 0, labels[i])
        digest = hashes[i] if hashes else f"{i:064x}"
        writer.append(Row(i, item, digest, 1, 1, None, None), {"feature": vector})
    writer.commit()
    return folder


def planted(rows: int = 300, classes: int = 3, dim: int = 24, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    y = np.arange(rows) % classes
    x = rng.normal(0, 1, (classes, dim))[y] + noise * rng.normal(0, 1, (rows, dim)) + 1
    return x.astype(np.float32), y


def names_of(y: np.ndarray) -> list[str | None]:
    return [f"c{i}" for i in y]


def test_rows_in_streams_give_the_report_of_rows_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = planted()
    store = planted_store(tmp_path / "s", x, names_of(y))
    for head in ("ridge", "lda", "logistic"):
        memory = probe(store, head=head, near=2)
        monkeypatch.setattr(vectors, "IN_MEMORY", 0)
        monkeypatch.setattr(blocks, "_SAY_EVERY", 0.0)
        said: list[str] = []
        streamed = probe(store, tmp_path / "h.onnx", head=head, near=2, progress=said.append)
        assert said[0] == f"{head}: {len(x)} of {len(x)} rows, pass 1"
        monkeypatch.undo()
        assert streamed.score.mean == pytest.approx(memory.score.mean, abs=0.02)
        assert streamed.scores["log_loss"] == pytest.approx(memory.scores["log_loss"], abs=0.05)
        found = [p.labels[0] for p in predict(store, model=tmp_path / "h.onnx", top=1)]
        assert np.mean([a == b for a, b in zip(found, names_of(y), strict=True)]) > streamed.score.mean - 0.05
    monkeypatch.setattr(vectors, "IN_MEMORY", 0)
    assert probe(store).head == "ridge"
    said = []
    tried = probe(store, head="auto", progress=said.append).tried
    results = [sentence.split(":")[0] for sentence in said if " after " in sentence]
    assert list(tried) == results == ["ridge", "lda", "logistic"]
    with pytest.raises(InputError, match="needs all vectors in memory"):
        probe(store, head="mlp")
    with pytest.raises(InputError, match=r"`pca` is fitted to rows in memory, .* --dim 4 -o pca.onnx --reduced STORE"):
        probe(store, head="lda", pca=4)


def test_the_layers_of_the_mlp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "_STEPS", 20)
    x, y = planted()
    store = planted_store(tmp_path / "s", x, names_of(y))
    probe(store, tmp_path / "h.onnx", head="mlp", hidden=(9, 5))
    weights = [t.dims for t in onnx.load(tmp_path / "h.onnx").graph.initializer if len(t.dims) == 2]
    assert sorted(map(sorted, weights)) == sorted(map(sorted, [(x.shape[1], 9), (9, 5), (5, y.max() + 1)]))
    for head, hidden in (("ridge", (9,)), ("mlp", (1, 2, 3, 4))):
        with pytest.raises(InputError, match="`hidden` gives"):
            probe(store, head=head, hidden=hidden)


def test_near_duplicates_stay_in_one_fold(tmp_path: Path) -> None:
    x, _ = planted(120, dim=400)
    rng = np.random.default_rng(0)
    y = np.repeat(rng.integers(0, 2, 60), 2)  # labels that nothing in a vector tells
    x[1::2] = x[::2] + 1e-3  # but of every row there are two
    store = planted_store(tmp_path / "s", x, names_of(y))
    report = probe(store, seed=1)
    assert report.duplicates == 120
    assert report.ungrouped is not None
    assert report.score.high < report.ungrouped.mean
    half = probe(store, near=2)
    assert half.ungrouped is None
    assert report.score.high - report.score.low > half.score.high - half.score.low  # 60 pictures, not 120


def test_copies_of_training_rows_among_the_test_rows_are_told(tmp_path: Path) -> None:
    x, _ = planted(120, dim=200)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2, 120)  # labels that nothing in a vector tells
    hashes = [f"{i:064x}" for i in range(120)]
    train = planted_store(tmp_path / "train", x, names_of(noise), hashes)
    near = x[:20] + 1e-3  # 20 copies as vectors, 10 as files, 30 others
    same = rng.permutation(x[20:30])[:, ::-1]
    others = rng.normal(size=(30, 200))
    test = planted_store(
        tmp_path / "test",
        np.concatenate([near, same, others]).astype(x.dtype),
        names_of(np.concatenate([noise[:30], rng.integers(0, 2, 30)])),
        [*(f"{i:064x}" for i in range(500, 520)), *hashes[20:30], *(f"{i:064x}" for i in range(600, 630))],
    )
    report = probe(train, test=test)
    assert report.duplicates == 30
    assert report.without_copies is not None
    assert report.without_copies.low < 0.5 < report.without_copies.high
    assert probe(train, test=test, near=2).without_copies is None


@pytest.mark.parametrize("head", sorted(set(HEADS) - set(WEIGHTED["classes"])))
def test_a_head_that_takes_no_weights_refuses_to_be_balanced(head: str, tmp_path: Path) -> None:
    x, y = planted(60)
    store = planted_store(tmp_path / "s", x, names_of(y))
    with pytest.raises(InputError, match=f"`balanced` can be had of classes with .* Got {head}"):
        probe(store, head=head, balanced=True)
    assert set(probe(store, head="auto", balanced=True).tried) == set(WEIGHTED["classes"])


@pytest.mark.parametrize("rows", [30, 120])  # fewer and more than twice their numbers: two ways to fit ridge
def test_labels_are_balanced_by_the_head_that_can_and_refused_by_others(tmp_path: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 20)).astype(np.float32), (rng.random((rows, 2)) < 0.3).astype(int)
    store = planted_store(tmp_path / "s", x, [None] * rows)
    table = tmp_path / "l.csv"
    ids = FeatureStore.open(store).ids()
    table.write_text("id,a,b\n" + "".join(f"{key},{a},{b}\n" for key, (a, b) in zip(ids, y.tolist(), strict=True)))
    for head in heads_for("labels"):
        if head in WEIGHTED["labels"]:
            assert probe(store, labels=f"{table}:a,b", head=head, balanced=True).head == head
        else:
            with pytest.raises(InputError, match=f"`balanced` can be had of labels with .* logistic. Got {head}"):
                probe(store, labels=f"{table}:a,b", head=head, balanced=True)
    assert probe(store, labels=f"{table}:a,b", head="auto", balanced=True).head == "logistic"
    with pytest.raises(InputError, match="`balanced` can be had for classes and labels only"):
        probe(store, labels=f"{table}:a,b", kind="numbers", balanced=True)


def test_equal_files_stay_in_one_fold_where_vectors_tell_nothing_apart(tmp_path: Path) -> None:
    x, y = planted(60)
    hashes = [f"{i // 2:064x}" for i in range(60)]
    store = planted_store(tmp_path / "s", np.ones_like(x) + 1e-4 * x[:, :1], names_of(y), hashes)
    assert probe(store).duplicates == 60


def test_the_stores_own_split_and_another_store(tmp_path: Path, photos: Path, tiny: BackboneFile) -> None:
    for i, path in enumerate(sorted(photos.rglob("*.jpg"))):
        split = "val" if i % 5 == 0 else "train"
        target = tmp_path / "split" / split / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    extract(tmp_path / "split", tmp_path / "s", backbone=tiny.path)
    report = probe(tmp_path / "s", split=True)
    assert (report.rows, report.trained_on) == (4, 16)
    store = FeatureStore.open(tmp_path / "s")
    train, test = store.select(split="train"), store.select(split="val")
    model = LogisticRegression(C=100, max_iter=1000).fit(normalize(train.vectors(dtype="float32")), train.labels())
    right = model.predict(normalize(test.vectors(dtype="float32"))) == np.array(test.labels())
    assert report.score.mean == right.mean()
    extract(tmp_path / "split" / "val", tmp_path / "test", backbone=tiny.path)
    other = probe(tmp_path / "s", test=tmp_path / "test")
    assert (other.rows, other.trained_on) == (4, 20)
    with pytest.raises(InputError, match="either `split` or `test`"):
        probe(tmp_path / "s", test=tmp_path / "test", split=True)
    extract(photos, tmp_path / "plain", backbone=tiny.path)
    with pytest.raises(StoreError, match=r"needs a split 'train' and another one for `split`. There is: none"):
        probe(tmp_path / "plain", split=True)


def test_the_split_to_train_on_may_be_called_training(tmp_path: Path) -> None:
    x, y = planted(60)
    splits: list[str | None] = ["training"] * 30 + ["validation"] * 15 + ["testing"] * 10 + [None] * 5
    write_store(tmp_path / "s", x, labels=names_of(y), splits=splits)
    report = probe(tmp_path / "s", split=True)
    assert (report.rows, report.trained_on) == (25, 30)


def test_auto_takes_the_simplest_head_within_the_interval_of_the_best(tmp_path: Path) -> None:
    x, y = planted(noise=0.3)
    store = planted_store(tmp_path / "s", x, names_of(y))
    report = probe(store, head="auto")
    assert report.head == "ridge"
    assert list(report.tried) == ["ridge", "lda", "logistic", "svm", "knn", "mlp"]
    hurried = probe(store, head="auto", budget=0)
    assert list(hurried.tried) == ["ridge"]


def test_probabilities_are_better_calibrated_and_the_file_says_the_same(tmp_path: Path) -> None:
    x, y = planted(noise=3.0)
    store = planted_store(tmp_path / "s", x, names_of(y))
    plain = probe(store, head="mlp", near=2)
    scaled = probe(store, tmp_path / "h.onnx", head="mlp", near=2, calibrate=True)
    assert scaled.scores["log_loss"] < plain.scores["log_loss"]  # type: ignore[operator]
    assert scaled.score == plain.score
    head = Head.load(tmp_path / "h.onnx")
    probe(store, tmp_path / "plain.onnx", head="mlp", near=2)
    raw = Head.load(tmp_path / "plain.onnx").answers(x)
    logs = np.log(np.maximum(head.answers(x), 1e-30)) - np.log(np.maximum(raw, 1e-30))
    assert np.abs(logs).max() > 0.1
    np.testing.assert_array_equal(head.answers(x).argmax(axis=1), raw.argmax(axis=1))
    np.testing.assert_allclose(head.answers(x).sum(axis=1), 1, atol=1e-5)


def test_repeats_use_other_folds(tmp_path: Path) -> None:
    x, y = planted(noise=2.0)
    store = planted_store(tmp_path / "s", x, names_of(y))
    singles = [probe(store, seed=seed, near=2).score.mean for seed in (0, 1, 2)]
    assert probe(store, repeats=3, near=2).score.mean == pytest.approx(np.mean(singles))
    assert len(set(singles)) > 1


def test_labels_and_numbers_from_a_file(tmp_path: Path) -> None:
    x, y = planted(noise=0.5)
    store = planted_store(tmp_path / "s", x, [None] * len(x))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    ids = [f"{i:06d}.jpg" for i in range(len(x))]
    columns = {
        "id": ids,
        "zero": y == 0,
        "one": (y == 1).astype(int),
        "price": 4 * unit[:, 0] + 1.5,
        "name": names_of(y),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    labels = probe(store, tmp_path / "l.onnx", labels=f"{tmp_path}/t.parquet:zero,one")
    assert (labels.kind, labels.metric, labels.head) == ("labels", "mean_average_precision", "logistic")
    assert labels.score.mean > 0.9
    numbers = probe(store, tmp_path / "n.onnx", labels=f"{tmp_path}/t.parquet:price")
    assert (numbers.kind, numbers.metric, numbers.head) == ("numbers", "r2", "ridge")
    assert numbers.score.low > 0.95
    classes = probe(store, labels=f"{tmp_path}/t.parquet:name")
    assert (classes.kind, list(classes.per_class)) == ("classes", ["c0", "c1", "c2"])
    prices = [p.values[0] for p in predict(store, model=tmp_path / "n.onnx")]
    np.testing.assert_allclose(prices, columns["price"], atol=0.3)
    named = [dict(zip(p.labels, p.probabilities, strict=True)) for p in predict(store, model=tmp_path / "l.onnx")]
    assert np.mean([(p["zero"] > 0.5) == (k == 0) for p, k in zip(named, y, strict=True)]) > 0.9


@pytest.mark.parametrize(
    ("columns", "labels", "message"),
    [
        ({"id": ["x.jpg"], "label": ["a"]}, "t.csv", "No id of .* is an id of .*It has 'x.jpg', the store has '0"),
        ({"id": ["000000.jpg"], "label": ["a"]}, "t.csv:color", "has no column 'color'. There is: label"),
        ({"id": ["000000.jpg", "000000.jpg"], "label": ["a", "b"]}, "t.csv", "has the id '000000.jpg' more than once"),
        ({"id": ["000000.jpg"]}, "t.csv", "has no column but 'id'"),
        ({"id": ["000000.jpg"], "a": ["x"], "b": [1]}, "t.csv:a,b", "The column 'a' has values that are no numbers"),
        ({"id": ["000000.jpg"], "price": [0.5]}, "t.csv:price", "has 1 rows with a target, fewer than 5 folds"),
        ({"id": ["000000.jpg"], "label": ["a"]}, "none.csv", "There is no file"),
        ({"id": ["000000.jpg"], "label": ["a"]}, "t.txt", r"must be a \.csv, \.tsv or \.parquet"),
    ],
)  # fmt: skip
def test_files_of_labels_that_cannot_be_used(
    columns: dict[str, list[object]], labels: str, message: str, tmp_path: Path
) -> None:
    x, y = planted(20)
    store = planted_store(tmp_path / "s", x, names_of(y))
    pa.csv.write_csv(pa.table(columns), tmp_path / "t.csv")
    with pytest.raises((InputError, StoreError), match=message):
        probe(store, tmp_path / "head.onnx", labels=f"{tmp_path}/{labels}")
    assert not (tmp_path / "head.onnx").exists()


def test_what_cannot_be_evaluated(tmp_path: Path) -> None:
    x, y = planted(20)
    one = planted_store(tmp_path / "one", x, ["a"] * 20)
    with pytest.raises(StoreError, match=r"are of one class .'a'.: nothing to tell apart"):
        probe(one)
    few = planted_store(tmp_path / "few", x[:4], names_of(y[:4] % 2))
    with pytest.raises(StoreError, match="has 4 rows with a target, fewer than 5 folds"):
        probe(few)
    with pytest.raises(InputError, match="`folds` must be at least 2"):
        probe(few, folds=1)
    x[7, 3] = np.nan
    broken = planted_store(tmp_path / "broken", x, names_of(y % 2))
    with pytest.raises(StoreError, match=r"vector of '000007.jpg' has values that are not finite"):
        probe(broken, tmp_path / "head.onnx")
    assert not (tmp_path / "head.onnx").exists()


def test_the_public_probe(tmp_path: Path) -> None:
    x, y = planted()
    store = planted_store(tmp_path / "s", x, names_of(y))
    made = Probe.fit(store, head="lda")
    assert made.score == made.report().score
    assert made.save(tmp_path / "h.onnx").output == str(tmp_path / "h.onnx")
    assert Head.load(tmp_path / "h.onnx").facts == made.facts
    chosen = FeatureStore.open(store).select(ids=[f"{i:06d}.jpg" for i in range(60)])
    assert Probe.fit(chosen).report().rows == 60
    with pytest.raises(InputError, match=r"must end in \.onnx"):
        made.save(tmp_path / "h.pkl")


@pytest.mark.slow
def test_cats_and_dogs_with_the_embedded_backbone(shared_data: object, tmp_path: Path) -> None:
    photos = shared_data("cats_dogs")  # type: ignore[operator]
    extract(photos, tmp_path / "s", limit=400)
    report = probe(tmp_path / "s", tmp_path / "head.onnx")
    assert report.score.low > 0.95
    predictions = [p for p in predict(photos, model=tmp_path / "head.onnx", top=1) if p.id.startswith("val/")]
    assert np.mean([p.labels[0] == p.id.split("/")[1] for p in predictions]) > 0.95


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"kind": "class"},
            r"There is no `kind` 'class'\. Did you mean classes\? There is: classes, labels, numbers\.",
        ),
        ({"head": "rigde"}, r"There is no `head` 'rigde'\. Did you mean ridge\? There is: auto, ridge, lda, logistic"),
        ({"folds": "5"}, r"`folds` must be a whole number\. Got '5'\."),
        ({"repeats": 0}, r"`repeats` must be at least 1\. Got 0\."),
        ({"seed": -1}, r"`seed` must be between 0 and 4294967295\. Got -1\."),
        ({"pca": -1}, r"`pca` must be at least 0\. Got -1\."),
        ({"near": -0.5}, r"`near` must be a number above 0\. Got -0\.5\."),
        ({"hidden": 0, "head": "mlp"}, r"`hidden` must be at least 1\. Got 0\."),
        ({"output": 5}, r"`output` must be a path"),
    ],
)
def test_what_cannot_be_is_said_before_the_store_is_opened(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        probe(tmp_path / "none", **wrong)


@pytest.mark.parametrize("verb", [probe, mislabeled, compare])
def test_what_is_no_store_is_said(verb: Callable[[Any], object]) -> None:
    with pytest.raises(InputError, match=r"`stores?` must be a path \(text or pathlib\.Path\)\. Got None\."):
        verb(None)


@pytest.mark.parametrize("verb", [mislabeled, compare])
def test_the_others_that_cross_validate_say_it_too(verb: Callable[..., object], tmp_path: Path) -> None:
    for wrong, said in {
        "head": r"There is no `head` 'auto'\. .*There is: ridge, lda",
        "seed": r"`seed` must be between 0 and 4294967295\. Got -1\.",
        "folds": r"`folds` must be at least 2\. Got 1\.",
    }.items():
        with pytest.raises(InputError, match=said):
            verb(tmp_path / "none", **{wrong: {"head": "auto", "seed": -1, "folds": 1}[wrong]})


def test_more_components_than_a_fold_leaves_rows(tmp_path: Path) -> None:
    x, y = planted(60, dim=100)
    store = planted_store(tmp_path / "s", x, names_of(y))
    assert probe(store, pca=48, folds=5, near=2).rows == 60
    with pytest.raises(
        InputError, match=r"`pca` must be at most 48: 48 rows of 100 numbers are left without one of the folds.*49"
    ):
        probe(store, pca=49, folds=5, near=2)
    assert probe(store, pca=4, folds=5, near=2, curve=True).curve is not None
    with pytest.raises(
        InputError, match=r"`pca` must be at most 4: 4 rows of 100 numbers are left at the first point of the `curve`"
    ):
        probe(store, pca=5, folds=5, near=2, curve=True)


def test_hidden_is_one_or_a_list_and_any_seed_works(tmp_path: Path) -> None:
    x, y = planted(60)
    store = planted_store(tmp_path / "s", x, names_of(y))
    assert probe(store, head="mlp", hidden=8).to_dict() | {"seconds": 0} == probe(
        store, head="mlp", hidden=[8]
    ).to_dict() | {"seconds": 0}
    assert probe(store, seed=2**32 - 1, repeats=2).rows == 60
    assert mislabeled(store, seed=2**32 - 1).to_dict()["store"] == str(store)


def test_a_class_with_an_endless_name_is_refused(tmp_path: Path) -> None:
    x, y = planted(20, classes=2)
    store = planted_store(tmp_path / "s", x, ["a" if each else "b" * 1001 for each in y])
    with pytest.raises(InputError, match=r"^'b{40}'\.\.\. has 1001 characters; names of classes .* end at 1000\.$"):
        probe(store)


# Here, too, "auto" is each of the heads, many times: all of its cases take minutes.
_OPTIONS: list[dict[str, Any]] = [{}, {"curve": True}, {"calibrate": True}, {"pca": 3}]
_SMALL = [(2, 2), (2, 3), (3, 2), (10, 2)]
_HEADS = ["ridge", "logistic", "lda", "svm", "knn"]


@pytest.mark.parametrize(
    ("each", "classes", "head", "options"),
    [
        *((*size, head, options) for size in _SMALL for head in _HEADS for options in _OPTIONS),
        (2, 2, "auto", {"curve": True}),
        (2, 3, "auto", {"calibrate": True}),
        (3, 2, "auto", {"pca": 3}),
        *(pytest.param(*size, "auto", options, marks=pytest.mark.long) for size in _SMALL for options in _OPTIONS),
    ],
    ids=str,
)
def test_a_small_set_is_probed_or_refused_in_a_sentence(
    tmp_path: Path, each: int, classes: int, head: str, options: dict[str, Any]
) -> None:
    y = np.arange(each * classes) % classes
    x = np.random.default_rng(0).normal(0, 1, (len(y), 8)) + y[:, None]
    store = planted_store(tmp_path / "s", x, names_of(y))
    try:
        report = probe(store, head=head, folds=2, **options)
    except InputError as error:
        assert len(str(error)) < 300  # noqa: PT017 - either is right
    else:
        assert 0 <= report.score.mean <= 1
