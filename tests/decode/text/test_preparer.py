"""Texts as rows of a graph's inputs, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fxengine.backbones.cache import read_backbone, write_backbone
from fxengine.backbones.spec import BackboneFile
from fxengine.backbones.tokenizer import wordpiece_json
from fxengine.decode import Preparer, preparer_of
from fxengine.decode.limits import Limits, usual_limits
from fxengine.errors import DecodeError, InputError
from tests.texts import MAX_TOKENS, VOCABULARY, tiny_text_model


@pytest.fixture
def preparer(tiny_texts: BackboneFile) -> Preparer:
    return preparer_of(tiny_texts)


def ids(*tokens: str) -> list[int]:
    return [VOCABULARY.index(token) for token in ("[CLS]", *tokens, "[SEP]")]


def test_a_text_fills_its_row_and_says_its_tokens(preparer: Preparer) -> None:
    room = preparer.room(3)
    assert {name: (v.shape, v.dtype.name) for name, v in room.items()} == {
        "tokens": ((3,), "object"), "lengths": ((3,), "int32"),
    }  # fmt: skip
    filled = preparer.open(b"Good ab.").fill(room, 1)
    assert filled.further == {"tokens": 6, "truncated": False, "text": "Good ab."}
    assert (filled.width, filled.height) == (None, None)
    assert room["lengths"].tolist() == [0, 6, 0]
    assert room["tokens"][1].tolist() == ids("good", "a", "##b", ".")
    assert room["tokens"][1].dtype == np.int32
    assert room["tokens"][[0, 2]].tolist() == [None, None]


def test_a_row_is_not_cut_silently(preparer: Preparer) -> None:
    room = preparer.room(1)
    filled = preparer.open(b"a" * 50).fill(room, 0)
    assert filled.further == {"tokens": 52, "truncated": True, "text": "a" * 50}
    assert room["tokens"][0].tolist() == ids("a", *["##a"] * 13)
    assert room["lengths"].tolist() == [MAX_TOKENS]
    assert preparer.open(b"a" * 14).fill(room, 0).further["truncated"] is False
    assert preparer.open(b"a" * 15).fill(room, 0).further["truncated"] is True


@pytest.mark.parametrize(
    ("payload", "code", "says"),
    [
        (b"", "empty", "The text is empty"),
        (" \t\r\n\u3000\u2028".encode(), "empty", "The text is empty"),
        (b"caf\xe9", "not_text", "It is not UTF-8: byte 3 is 0xe9"),
        ("a\ud800".encode(errors="surrogatepass"), "not_text", "byte 1 is 0xed"),
        (b"a" * 21, "too_large", "21 bytes; `max_bytes` allows 20"),
    ],
)
def test_what_is_refused(payload: bytes, code: str, says: str, tiny_texts: BackboneFile) -> None:
    preparer = preparer_of(tiny_texts, Limits(max_bytes=20))
    for opened in (preparer.open, preparer.open_apart):
        with pytest.raises(DecodeError, match=says) as raised:
            opened(payload)
        assert raised.value.code == code


def test_a_program_gives_texts_bytes_or_paths(preparer: Preparer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good é", "utf-8")
    for given in ("good é", "good é".encode(), tmp_path / "a.txt"):
        room = preparer.room(1)
        assert preparer.open(preparer.payload_of(given)).fill(room, 0).further["text"] == "good é"
        assert room["tokens"][0].tolist() == ids("good", "##e")[:1] + ids("good", "e")[1:]
    with pytest.raises(DecodeError, match=r"It holds '\\ud800', which is half a character") as raised:
        preparer.open(preparer.payload_of("a\ud800"))
    assert raised.value.code == "not_text"
    with pytest.raises(DecodeError) as raised:
        preparer.open(preparer.payload_of(tmp_path / "none.txt"))
    assert raised.value.code == "vanished"
    for other in (7, None, ["a"], np.zeros(3)):
        with pytest.raises(InputError, match="A backbone of texts takes texts, their bytes, and paths"):
            preparer.open(preparer.payload_of(other))


def test_a_text_without_a_token_has_no_vector(tmp_path: Path) -> None:
    bare = json.dumps(json.loads(wordpiece_json(VOCABULARY)) | {"post_processor": None}).encode()
    write_backbone(tiny_text_model(tokenizer=bare), tmp_path / "net.onnx")
    preparer = preparer_of(read_backbone(tmp_path / "net.onnx"))
    room = preparer.room(1)
    assert preparer.open(b"a").fill(room, 0).further["tokens"] == 1
    with pytest.raises(DecodeError, match="The text has no token") as raised:
        preparer.open(b"\x01\x02").fill(room, 0)
    assert raised.value.code == "empty"


def test_a_window_holds_many_texts_but_not_many_bytes(preparer: Preparer) -> None:
    assert (preparer.window(128).rows, preparer.window(128).size) == (4096, 1 << 18)
    assert preparer.window(1 << 20).size == 1 << 24
    example = preparer.example(128)
    assert example["lengths"].tolist() == [MAX_TOKENS] * 8
    assert len(preparer.example(1)["lengths"]) == 1


def test_the_usual_limits(tiny_texts: BackboneFile) -> None:
    assert usual_limits("text").max_bytes == 1_000_000
    assert usual_limits("picture") == Limits()
    with pytest.raises(DecodeError, match="`max_bytes` allows 1000000"):
        preparer_of(tiny_texts).open(b"a" * 1_000_001)
