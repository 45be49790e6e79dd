"""Texts by word vectors: how many of their words are known is told of each and of all; none at all is refused."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fxengine import (
    Backbone,
    FeatureExtractor,
    FeatureStore,
    InputError,
    StoreError,
    Summary,
    bundle,
    compare,
    extract,
    info,
    predict,
    probe,
    search,
    verify,
)
from fxengine.backbones.cache import write_backbone
from fxengine.features import parts
from fxengine.features.schema import COLUMN_GROUPS
from fxengine.ui.cli import main
from fxengine.ui.exit_codes import FINE, MISTAKE
from fxengine.ui.supervise import PARENT
from tests.texts import tiny_text_model, write_table
from tests.word_vectors import some_vectors, write_vectors

WORDS = ["good", "bad", "film", "the", "was", "."]
VECTORS = some_vectors(len(WORDS), 5)
TEXTS = ["The film was good.", "bad zebra", "xq zz", "", "Good good BAD"]
NAMED: dict[str, Any] = {"column": "text", "id_column": "id"}


@pytest.fixture
def vectors(tmp_path: Path) -> str:
    return f"vectors:{write_vectors(tmp_path / 'v.txt', WORDS, VECTORS)}"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "t.csv", [(str(i), text, "") for i, text in enumerate(TEXTS)])


def run(table: Path, vectors: str, **options: Any) -> Summary:
    return extract(table, table.parent / "s", backbone=vectors, **{**NAMED, "dtype": "float32", **options})


def test_every_row_says_how_much_of_it_is_known(table: Path, vectors: str) -> None:
    summary = run(table, vectors)
    assert (summary.extracted, summary.failed) == (3, {"no_known_word": 1, "empty": 1})
    assert (summary.words, summary.known_words, summary.coverage) == (10, 9, 0.9)
    assert summary.to_dict()["coverage"] == 0.9
    store = FeatureStore.open(table.parent / "s")
    assert store.groups == ("text", "words")
    rows = store.rows(["id", "tokens", "truncated", "coverage", "error"]).to_pylist()
    assert [row["coverage"] for row in rows] == [1.0, 0.5, None, None, 1.0]
    assert [row["tokens"] for row in rows] == [5, 2, None, None, 3]
    assert rows[2]["error"] == "None of its 2 words is in the vocabulary."
    assert parts.read_part(parts.list_parts(store.path)[0]).schema.field("coverage").type == pa.float32()
    np.testing.assert_allclose(store.select(ids=["1"]).vectors(), VECTORS[1:2], atol=1e-6)
    again = run(table, vectors)
    assert (again.unchanged, again.coverage) == (5, None)


@pytest.mark.parametrize(("texts", "count"), [(["xq", "", "zz y"], 2), (["xq"], 1)])
def test_where_nothing_is_known_there_is_no_store(tmp_path: Path, vectors: str, texts: list[str], count: int) -> None:
    table = write_table(tmp_path / "t.csv", [(str(i), text, "") for i, text in enumerate(texts)])
    with pytest.raises(InputError, match=f"v knows no word of any of the {count} texts: are they of another language"):
        run(table, vectors)
    assert not (tmp_path / "s").exists()


def test_a_store_that_is_there_may_grow_by_unknown_texts(table: Path, vectors: str) -> None:
    run(table, vectors)
    write_table(table, [(str(i), text, "") for i, text in enumerate([*TEXTS, "qqq"])])
    assert run(table, vectors).failed == {"no_known_word": 1}


def test_empty_texts_alone_are_rows(tmp_path: Path, vectors: str) -> None:
    table = write_table(tmp_path / "t.csv", [("1", "", ""), ("2", " ", "")])
    assert run(table, vectors).failed == {"empty": 2}


def test_options_make_another_space(table: Path, vectors: str) -> None:
    run(table, vectors, word_weights="sif", words=5, tokens="keras")
    store = FeatureStore.open(table.parent / "s")
    assert store.rows(["tokens"])["tokens"].to_pylist() == [4, 2, None, None, 3]
    assert Backbone.for_store(store.provenance).file.facts.name == "v+sif"
    assert run(table, vectors, word_weights="sif", words=5, tokens="keras").unchanged == 5
    with pytest.raises(StoreError, match="holds features of another space"):
        run(table, vectors)


def test_other_nets_have_no_such_columns(table: Path, tmp_path: Path) -> None:
    write_backbone(tiny_text_model(), tmp_path / "net.onnx")
    with pytest.raises(InputError, match=r"no column group 'words' of such a net\. Available: text, kept_text\."):
        run(table, str(tmp_path / "net.onnx"), add_columns="words")
    with pytest.raises(InputError, match="leave `word_weights` away"):
        run(table, str(tmp_path / "net.onnx"), word_weights="sif")
    run(table, str(tmp_path / "net.onnx"))
    store = FeatureStore.open(tmp_path / "s")
    assert store.groups == ("text",)
    assert "kind" not in store.provenance.recipe  # as it was before there were vocabularies


def test_the_group_stands_last() -> None:
    assert [*COLUMN_GROUPS] == ["text", "kept_text", "words", "etag"]


def test_what_the_command_says(
    table: Path, vectors: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PARENT, str(os.getppid()))  # in this very process
    store = str(table.parent / "s")
    command = ["extract", str(table), "-o", store, "--backbone", vectors, "--column", "text"]
    assert main([*command, "--word-weights", "sif"]) == FINE
    assert "  90.0% of the words are known to v+sif" in capsys.readouterr().out
    assert main([*command[:2], "-o", store + "2", *command[4:], "--tokens", "keras", "--words", "1"]) == FINE
    assert "  42.9% of the words are known to v " in capsys.readouterr().out
    write_table(table, [("1", "xq", "")])
    assert main([*command[:2], "-o", store + "3", *command[4:]]) == MISTAKE
    assert "knows no word of any of the 1 texts" in capsys.readouterr().err


@pytest.mark.slow
def test_later_steps_take_it(tmp_path: Path, vectors: str) -> None:
    texts = [f"{WORDS[i % 2]} {['film', 'the', 'was'][i % 3]} {'zebra' if i % 5 == 0 else '.'}" for i in range(30)]
    rows = [(str(i), text, WORDS[i % 2]) for i, text in enumerate(texts)]
    table = write_table(tmp_path / "t.csv", rows)
    run(table, vectors, label_column="label")
    store, head = tmp_path / "s", tmp_path / "head.onnx"
    assert probe(store, head, folds=2).score.mean == 1.0
    assert [each.labels[0] for each in _answers(head)] == ["good", "bad"]
    assert bundle(vectors, head, tmp_path / "b.onnx", store=store).agreement.same == 1.0  # type: ignore[union-attr]
    assert verify(store, sample=9).wrong == {}
    assert search(store, text="good film", k=1).answers[0].neighbours[0].label == "good"
    np.testing.assert_allclose(FeatureExtractor(vectors).fit_transform(["bad"]), VECTORS[1:2], atol=1e-6)
    facts = info(vectors).facts
    assert (facts["kind"], facts["recipe"]["kind"], facts["dim"]) == ("backbone", "words", 5)
    write_backbone(tiny_text_model(), tmp_path / "net.onnx")
    extract(table, tmp_path / "other", backbone=tmp_path / "net.onnx", label_column="label", **NAMED)
    assert compare([store, tmp_path / "other"], folds=2).rows == 30
    assert asdict(FeatureStore.open(store).provenance)["of_words"] is False


def _answers(head: Path) -> Any:
    return predict(text=["a good film", "bad"], model=head).predictions
