"""Spans of texts: those of transformers' pipeline for tokens with the strategy "first", found here by a plain loop."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine import InputError, export, predict
from fxengine.backbones.spec import BackboneFile
from fxengine.decode.text.tokenizer import Word
from fxengine.probing.prediction import Prediction, Span
from fxengine.probing.spans import spans_of
from tests.backbones.sources import hf_nets
from tests.backbones.sources.hf_nets import POSITIONS
from tests.reviews import review_store, write_reviews

SCHEME, PLAIN = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"), ("PER", "O", "first-name")
TEXTS = (
    "good bad abc",
    "caf\u00e9 na\u00efve good.bad \U0001f600 bad",
    "\u6771\u4eac good \U0001f468\u200d\U0001f469 x9\u00e9 b",
    "  bad  . good\nabc\t\u00a0zz ",
    "q",
    "good bad " * 20,
    "a b c d e f g h i j k",
)


@pytest.fixture(scope="module", params=[SCHEME, PLAIN], ids=["scheme", "plain"])
def repository(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_nets.tagger(tmp_path_factory.mktemp("tagger"), request.param)


def by_hand(folder: Path, text: str) -> list[Span]:
    """Return the spans of a text, which goes alone through the net as its makers feed it."""
    labels = list(json.loads((folder / "config.json").read_text())["id2label"].values())
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(POSITIONS)
    encoded = tokenizer.encode(text)
    ids = np.array([encoded.ids], np.int64)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    (logits,) = ort.InferenceSession(folder / "model.onnx").run(["logits"], feeds)
    words: list[tuple[int, int, str, float]] = []  # start, end, what its first token is, and its share
    for piece, (start, end), special, row in zip(
        encoded.tokens, encoded.offsets, encoded.special_tokens_mask, np.asarray(logits)[0], strict=True
    ):
        shares = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        if special:
            continue
        if piece.startswith("##"):
            words[-1] = (words[-1][0], end, *words[-1][2:])
        else:
            words.append((start, end, labels[shares.argmax()], float(shares.max())))
    return grouped(text, words)


def grouped(text: str, words: Sequence[tuple[int, int, str, float]]) -> list[Span]:
    """Return spans of words: begun anew where the name is another one, or the label begins with B-."""
    found: list[tuple[str, list[tuple[int, int, float]]]] = []
    for start, end, label, share in words:
        kind, _, rest = label.partition("-")
        name = rest if kind in ("B", "I") else label
        if not found or found[-1][0] != name or kind == "B":
            found.append((name, []))
        found[-1][1].append((start, end, share))
    return [
        Span(of[0][0], of[-1][1], text[of[0][0] : of[-1][1]], name, float(np.mean([share for *_, share in of])))
        for name, of in found
        if name != "O"
    ]


def same(found: Sequence[Span], wanted: Sequence[Span]) -> bool:
    told, right = ([(s.start, s.end, s.text, s.label) for s in spans] for spans in (found, wanted))
    return told == right and np.allclose([s.score for s in found], [s.score for s in wanted], atol=1e-5)


def test_the_spans_of_texts(repository: Path) -> None:
    found = predict(text=TEXTS, backbone=f"hf:{repository}", spans=True)
    for text, prediction in zip(TEXTS, found, strict=True):
        assert same(prediction.spans, by_hand(repository, text)), text
        assert all(text[span.start : span.end] == span.text for span in prediction.spans)
    assert found.spans == sum(len(each.spans) for each in found) > 10
    assert [each.truncated for each in found] == [False] * 5 + [True, False]
    assert (found.count, found.failed, found.truncated) == (7, 0, 1)
    assert len({span.label for each in found for span in each.spans}) == 2


LETTERS = st.sampled_from(["good", "bad", ".", "a", "Zz", "\u00e9", "e\u0301", "\U0001f600", "\u6771", " ", "\n", "x1"])


@settings(max_examples=12, deadline=None)
@given(st.lists(st.lists(LETTERS, min_size=1, max_size=30).map("".join), min_size=1, max_size=6), st.randoms())
def test_order_and_neighbours_change_nothing(repository: Path, texts: list[str], random: object) -> None:
    source = f"hf:{repository}"
    together = predict(text=texts, backbone=source, spans=True).predictions
    order = list(range(len(texts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert predict(text=[texts[i] for i in order], backbone=source, spans=True).predictions == tuple(
        together[i] for i in order
    )
    assert predict(text=texts[order[0]], backbone=source, spans=True).predictions == (together[order[0]],)
    for text, each in zip(texts, together, strict=True):
        assert each.error == (None if text.strip() else "The text is empty.")
        if each.error is None:
            assert same(each.spans, by_hand(repository, text))


WORDS = [Word(i + 1, 2 * i, 2 * i + 1) for i in range(6)]


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ("O O O O O O", []),
        ("B-PER I-PER O I-PER B-LOC I-LOC", [(0, 3, "PER"), (6, 7, "PER"), (8, 11, "LOC")]),
        ("B-PER B-PER I-PER I-LOC I-PER O", [(0, 1, "PER"), (2, 5, "PER"), (6, 7, "LOC"), (8, 9, "PER")]),
        ("PER PER LOC O LOC LOC", [(0, 3, "PER"), (4, 5, "LOC"), (8, 11, "LOC")]),
        ("I-PER PER B-X-Y I-X-Y first-name O", [(0, 3, "PER"), (4, 7, "X-Y"), (8, 9, "first-name")]),
    ],
)
def test_words_become_spans(labels: str, wanted: list[tuple[int, int, str]]) -> None:
    names = labels.split()
    logits = np.full((8, 6), -20, np.float32)
    logits[1:7] += 40 * np.eye(6, dtype=np.float32)
    found = spans_of("a b c d e f", WORDS, logits, names)
    assert [(s.start, s.end, s.label) for s in found] == wanted
    assert all(s.text == "a b c d e f"[s.start : s.end] and s.score == pytest.approx(1) for s in found)


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B", "C", "X-C"]), max_size=6), st.integers(0, 99))
def test_any_labels_become_spans(names: list[str], seed: int) -> None:
    labels, rng = sorted({*names, "O"}), np.random.default_rng(seed)
    logits = rng.normal(size=(8, len(labels))).astype(np.float32)
    for i, name in enumerate(names):
        logits[i + 1, labels.index(name)] += 20
    words = WORDS[: len(names)]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    told = [(w.start, w.end, name, float(shares[w.token].max())) for w, name in zip(words, names, strict=True)]
    assert same(spans_of("a b c d e f", words, logits, labels), grouped("a b c d e f", told))


def test_spaces_around_a_word_are_no_part_of_it() -> None:
    logits = np.array([[0, 9], [0, 9]], np.float32)
    (found,) = spans_of("a  bc \nd", [Word(0, 1, 5), Word(1, 5, 7)], logits, ["O", "X"])
    assert (found.start, found.end, found.text) == (3, 5, "bc")
    assert spans_of("", [], logits[:0], ["O", "X"]) == ()
    assert spans_of("a \nb", [Word(0, 1, 2), Word(1, 2, 3)], logits, ["O", "X"]) == ()


def test_a_prompt_is_no_part_of_the_text(tmp_path: Path) -> None:
    folder = hf_nets.tagger(tmp_path / "net", PLAIN)
    export(f"hf:{folder}", tmp_path / "prompted.onnx", prompt="x=bad \U0001f600 ")
    (found,) = predict(text="good bad caf\u00e9", backbone=tmp_path / "prompted.onnx", spans=True)
    before = len("bad \U0001f600 ")
    whole = by_hand(folder, "bad \U0001f600 good bad caf\u00e9")
    ends = {(s.start - before, s.end - before) for s in whole if s.start >= before}
    assert ends
    assert ends <= {(s.start, s.end) for s in found.spans}
    assert all("good bad caf\u00e9"[s.start : s.end] == s.text for s in found.spans)


def test_files_have_a_row_a_span(tmp_path: Path, repository: Path) -> None:
    table = tmp_path / "texts.jsonl"
    rows = [{"key": f"r{i}", "text": text} for i, text in enumerate([*TEXTS, " "])]
    table.write_text("\n".join(map(json.dumps, rows)))
    given = {"inputs": table, "column": "text", "id_column": "key", "backbone": f"hf:{repository}", "spans": True}
    found = predict(**given)  # type: ignore[arg-type]
    wanted = found.table.to_pylist()
    assert found.table.column_names == ["id", "start", "end", "text", "label", "score", "error"]
    assert [row["id"] for row in wanted] == [each.id for each in found for _ in each.spans] + ["r7"]
    assert wanted[-1] == {**dict.fromkeys(wanted[0]), "id": "r7", "error": "The text is empty."}
    assert found.to_dict()["predictions"] == [
        {"id": each.id, **vars(span), "error": None} for each in found for span in each.spans
    ] + [wanted[-1]]
    for suffix in ("json", "csv", "parquet"):
        made = predict(**given, output=tmp_path / f"out.{suffix}")  # type: ignore[arg-type]
        assert (made.predictions, made.count, made.failed, made.truncated) == ((), 8, 1, 1)
        assert made.spans == found.spans == len(wanted) - 1
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == wanted
    assert json.loads((tmp_path / "out.json").read_text()) == found.to_dict()["predictions"]
    with (tmp_path / "out.csv").open(newline="") as file:
        told = list(csv.DictReader(file))
    assert [(row["id"], row["start"], row["text"]) for row in told] == [
        (row["id"], str(row["start"]) if row["text"] else "", row["text"] or "") for row in wanted
    ]


def test_texts_without_spans_have_no_row(tmp_path: Path) -> None:
    folder = hf_nets.tagger(tmp_path / "net", ("O", "o"))
    config = json.loads((folder / "config.json").read_text())
    hf_nets.write(folder, {"config.json": {**config, "id2label": {"0": "O", "1": "O"}}})
    found = predict(text=["good", "bad"], backbone=f"hf:{folder}", spans=True)
    assert found.predictions == (Prediction("good", (), ()), Prediction("bad", (), ()))
    assert (found.count, found.spans, found.table.num_rows) == (2, 0, 0)
    for suffix in ("json", "csv", "parquet"):
        predict(text="good", backbone=f"hf:{folder}", spans=True, output=tmp_path / f"none.{suffix}")
    assert (tmp_path / "none.json").read_text() == "[]\n"
    assert (tmp_path / "none.csv").read_text() == "id,start,end,text,label,score,error\n"
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0


def test_a_text_whose_numbers_are_not_finite_fails_alone(tmp_path: Path) -> None:
    folder = hf_nets.tagger(tmp_path, PLAIN, blind="z")
    fine, failed = predict(text=["good bad", "good z"], backbone=f"hf:{folder}", spans=True)
    assert fine.error is None
    assert (failed.error, failed.spans) == ("The net gives a number that is not finite.", ())


def test_what_finds_no_spans_is_refused(tmp_path: Path, tiny_texts: BackboneFile, tiny: BackboneFile) -> None:
    folder = hf_nets.tagger(tmp_path / "net", SCHEME)
    for name in (tiny_texts.path, tiny.path):
        with pytest.raises(InputError, match="says nothing of tokens: `spans` want a net of named entities as `backb"):
            predict(text="good", backbone=name, spans=True)
    with pytest.raises(InputError, match="`model` says what a text is as a whole: leave it, or `spans`, away"):
        predict(text="good", backbone=f"hf:{folder}", model="head.onnx", spans=True)
    store = review_store(write_reviews(tmp_path / "reviews.csv"), tmp_path / "store", tiny_texts)
    with pytest.raises(InputError, match="store is a feature store, which has no tokens: `spans` are found in the t"):
        predict(store, backbone=f"hf:{folder}", spans=True)
    with pytest.raises(InputError, match=r"train a head .*, give it as `model`; or find `spans` by it\."):
        predict(text="good", backbone=f"hf:{folder}")
    values = json.loads((folder / "tokenizer.json").read_text()) | {"pre_tokenizer": None}
    hf_nets.write(folder, {"tokenizer.json": values})
    with pytest.raises(InputError, match="does not take texts apart into words, which `spans` are made of"):
        predict(tmp_path / "reviews.csv", backbone=f"hf:{folder}", column="text", spans=True)
