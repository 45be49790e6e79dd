"""The tokenizer in a backbone's file: what is damaged or hostile is refused, and ours is the published one."""

from __future__ import annotations

import base64
import json
import tracemalloc
import zlib
from pathlib import Path

import onnx
import pytest
from onnx import helper

from fxengine.backbones.cache import read_backbone, write_backbone
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.spec import METADATA_KEY, TOKENIZER_KEY, BackboneFile, TextRecipe
from fxengine.backbones.tokenizer import packed, sha256_of_tokenizer, tokenizer_in, unpacked, wordpiece_json
from fxengine.decode import preparer_of
from fxengine.errors import InputError
from tests.texts import VOCABULARY, tiny_text_model

JSON = wordpiece_json(VOCABULARY)
RECIPE = TextRecipe(sha256_of_tokenizer(JSON), 16)
DAMAGED = r"^net\.onnx is damaged: it has not the tokenizer that its recipe names\. Export it again\.$"


def test_what_is_packed_is_unpacked() -> None:
    assert unpacked(packed(JSON), RECIPE, "net.onnx") == JSON
    assert packed(JSON).isascii()
    assert len(packed(JSON)) < len(JSON)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no base64!",
        "é",
        "\0",
        base64.b64encode(b"no zlib").decode(),
        base64.b64encode(zlib.compress(JSON)[:-20]).decode(),
        base64.b64encode(JSON).decode(),
        packed(JSON + b" "),
        packed(b""),
        packed(JSON)[:-40],
        "\n" + packed(JSON),
    ],
)
def test_what_is_not_the_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=DAMAGED):
        unpacked(text, RECIPE, "net.onnx")


def test_a_file_of_zeros_that_was_packed_small_takes_little_memory() -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    text = base64.b64encode(bomb).decode()
    assert len(text) < 1 << 19
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=DAMAGED):
            unpacked(text, RECIPE, "net.onnx")
        assert tracemalloc.get_traced_memory()[1] < 150 << 20
    finally:
        tracemalloc.stop()


def test_a_file_says_its_tokenizer(tiny_texts: BackboneFile, tiny: BackboneFile, tmp_path: Path) -> None:
    assert tokenizer_in(tiny_texts) == JSON
    assert tokenizer_in(tiny) == b""
    model = onnx.load(tiny_texts.path)
    helper.set_model_props(model, {METADATA_KEY: metadata_of(model)[METADATA_KEY]})
    assert TOKENIZER_KEY not in metadata_of(model)
    write_backbone(model, tmp_path / "net.onnx")
    with pytest.raises(InputError, match=r"net\.onnx is damaged: it has not the tokenizer"):
        preparer_of(read_backbone(tmp_path / "net.onnx"))


def test_another_tokenizer_is_another_fingerprint(tiny_texts: BackboneFile, tmp_path: Path) -> None:
    write_backbone(tiny_text_model(tokenizer=wordpiece_json([*VOCABULARY[:-2], *VOCABULARY[:-3:-1]])), tmp_path / "n")
    assert read_backbone(tmp_path / "n").fingerprint != tiny_texts.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"type": "WordPiece"}},
        {"pre_tokenizer": {"type": "Fortune"}},
        {"version": "9.9"},
    ],
)
def test_a_tokenizer_that_the_package_cannot_read_is_said(change: dict[str, object], tmp_path: Path) -> None:
    write_backbone(tiny_text_model(tokenizer=json.dumps(json.loads(JSON) | change).encode()), tmp_path / "net.onnx")
    with pytest.raises(InputError, match=r"^The backbone's tokenizer cannot be read: "):
        preparer_of(read_backbone(tmp_path / "net.onnx"))
    write_backbone(tiny_text_model(tokenizer=b"\xff no text"), tmp_path / "net.onnx")
    with pytest.raises(InputError, match=r"^The backbone's tokenizer cannot be read: "):
        preparer_of(read_backbone(tmp_path / "net.onnx"))
