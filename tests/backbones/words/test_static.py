"""Folders of static token vectors, as model2vec and StaticEmbedding write them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxengine import InputError, WordVectors
from tests.backbones.words import files

TOKENS = ["[PAD]", "[UNK]", "the", "##s", "a\nb", "Zürich"]
RNG = np.random.default_rng(8)
TABLE = RNG.normal(size=(6, 4)).astype(np.float32)


def test_a_tokens_id_is_its_row(tmp_path: Path) -> None:
    folder = files.static(tmp_path / "m", TOKENS, {"embeddings": TABLE}, normalize=True, max_length=512)
    for _ in range(2):  # read, then from the cache
        found = WordVectors.open(folder)
        assert found.words == TOKENS
        np.testing.assert_array_equal(found.array, TABLE)
        assert found.tokenizer_json == (folder / "tokenizer.json").read_bytes()
        assert found.config == {"normalize": True, "max_length": 512}
        assert found.format == "static vectors of tokens"


@pytest.mark.parametrize("kind", ["<f8", "<f4", "<f2", "|i1"])
def test_numbers_of_every_kind(tmp_path: Path, kind: str) -> None:
    table = (TABLE * 20).astype(kind)
    found = WordVectors.open(files.static(tmp_path / "m", TOKENS, {"embedding.weight": table}))
    np.testing.assert_array_equal(found.array, table.astype(np.float32))


def test_bfloat16(tmp_path: Path) -> None:
    halves = (TABLE.view(np.uint32) >> 16).astype("<u2")
    found = WordVectors.open(files.static(tmp_path / "m", TOKENS, {"embeddings": halves}))
    np.testing.assert_allclose(found.array, TABLE, rtol=1e-2)


def test_mapping_and_weights_are_in_the_rows(tmp_path: Path) -> None:
    mapping, weights = np.array([0, 1, 2, 1, 0, 2], "<i8"), RNG.uniform(size=6)
    tensors = {"embeddings": TABLE[:3], "mapping": mapping, "weights": weights}
    found = WordVectors.open(files.static(tmp_path / "m", TOKENS, tensors))
    np.testing.assert_allclose(found.array, TABLE[:3][mapping] * weights[:, None], rtol=1e-6)


def test_the_folder_that_sentence_transformers_writes(tmp_path: Path) -> None:
    inner = files.static(tmp_path / "m" / "0_StaticEmbedding", TOKENS, {"embedding.weight": TABLE})
    (tmp_path / "m" / "config_sentence_transformers.json").write_text('{"similarity_fn_name": "cosine"}')
    found = WordVectors.open(tmp_path / "m")
    assert (found.words, found.config) == (TOKENS, {"similarity_fn_name": "cosine"})
    shutil.rmtree(inner)
    with pytest.raises(InputError, match=r"is a folder without model\.safetensors and tokenizer\.json"):
        WordVectors.open(tmp_path / "m")


def test_a_vocabulary_with_scores_and_added_tokens(tmp_path: Path) -> None:
    folder = files.static(tmp_path / "m", TOKENS, {"embeddings": TABLE[:3]})
    model = {"type": "Unigram", "vocab": [["<unk>", 0.0], ["▁a", -1.5]]}
    facts = {"added_tokens": [{"id": 2, "content": "<pad>"}], "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(facts))
    assert WordVectors.open(folder).words == ["<unk>", "▁a", "<pad>"]


def test_a_changed_tokenizer_is_read_anew(tmp_path: Path) -> None:
    folder = files.static(tmp_path / "m", TOKENS, {"embeddings": TABLE})
    assert WordVectors.open(folder).words == TOKENS
    files.static(folder, [*TOKENS[:-1], "Zurich!"], {"embeddings": TABLE})
    assert WordVectors.open(folder).words[-1] == "Zurich!"


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ({"other": TABLE}, "has no static vectors: a table embeddings or embedding.weight is expected in it."),
        ({"embeddings": TABLE[0]}, "has no static vectors"),
        ({"embeddings": TABLE[:5]}, "has 5 vectors; the tokenizer beside it has 6 tokens."),
        ({"embeddings": TABLE, "weights": np.ones(5)}, r": weights has the shape \(5,\); the tokenizer has 6 tokens."),
        ({"embeddings": TABLE[:3], "mapping": np.full(6, 3, "<i4")}, ": mapping names rows that are not there."),
        ({"embeddings": TABLE[:3], "mapping": np.full(6, -1, "<i4")}, ": mapping names rows that are not there."),
        ({"embeddings": np.where(TABLE > 0, TABLE, np.nan)}, r": row 1 \('\[PAD\]'\) has a number that is not finite."),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, tensors: dict[str, np.ndarray], why: str) -> None:
    folder = files.static(tmp_path / "m", TOKENS, tensors)
    with pytest.raises(InputError, match=f"model.safetensors ?{why}"):
        WordVectors.open(folder)


def _header(**facts: Any) -> bytes:
    head = json.dumps({"embeddings": {"dtype": "F32", "shape": [6, 4], "data_offsets": [0, 96]} | facts}).encode()
    return len(head).to_bytes(8, "little") + head + TABLE.tobytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (1 << 60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{x",
        _header()[:-1],
        _header(dtype="F8_E4M3"),
        _header(shape=[1 << 40, 1 << 40]),
        _header(shape=[-6, -4]),
        _header(shape=None),
        _header(data_offsets=[-96, 0]),
        _header(data_offsets=[0, 1 << 60]),
    ],
)
def test_a_damaged_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = files.static(tmp_path / "m", TOKENS, {"embeddings": TABLE})
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(
        InputError, match=r"model.safetensors is (no safetensors file|a safetensors file that is damaged)"
    ):
        WordVectors.open(folder)


@pytest.mark.parametrize(
    "text", ["{}", '{"model": {"vocab": 3}}', '{"model": {"vocab": {"a": 0, "b": 7}}}', '{"model": {"vocab": [[]]}}']
)
def test_a_tokenizer_without_a_token_for_each_id_is_refused(tmp_path: Path, text: str) -> None:
    folder = files.static(tmp_path / "m", TOKENS, {"embeddings": TABLE})
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match="is no tokenizer with a token for each id from 0 on"):
        WordVectors.open(folder)
    (folder / "tokenizer.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="is no JSON"):
        WordVectors.open(folder)


def test_a_folder_is_taken_whole(tmp_path: Path) -> None:
    folder = files.static(tmp_path / "m", TOKENS, {"embeddings": TABLE})
    with pytest.raises(InputError, match="whose tokenizer counts on every row: leave `words` out"):
        WordVectors.open(folder, words=3)
