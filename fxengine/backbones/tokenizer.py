"""The tokenizer in a text backbone's file: its JSON, as the package `tokenizers` reads it, in the model's metadata."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib

import onnx

from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.spec import TOKENIZER_KEY, BackboneFile, TextRecipe
from fxengine.errors import InputError

_LONGEST = 64 << 20  # bytes of JSON; the largest vocabularies in use, of 250,000 tokens, take 17 MB


def packed(tokenizer: bytes) -> str:
    """Return a tokenizer's JSON as text for the metadata."""
    return base64.b64encode(zlib.compress(tokenizer, 9)).decode()


def sha256_of_tokenizer(tokenizer: bytes) -> str:
    """Return what a `TextRecipe` names a tokenizer's JSON by."""
    return hashlib.sha256(tokenizer).hexdigest()


def tokenizer_in(found: BackboneFile) -> bytes:
    """Return the JSON of a backbone's tokenizer; empty where it takes no texts.

    Raises:
        InputError: the file has none, or another one than its recipe says.
    """
    if not isinstance(found.recipe, TextRecipe):
        return b""
    model = onnx.load(found.path, load_external_data=False)
    return unpacked(metadata_of(model).get(TOKENIZER_KEY, ""), found.recipe, str(found.path))


def unpacked(text: str, recipe: TextRecipe, name: str) -> bytes:
    """Return the JSON that `packed` was given; raises InputError where it is not the one that the recipe names."""
    try:
        reader = zlib.decompressobj()
        tokenizer = reader.decompress(base64.b64decode(text, validate=True), _LONGEST)
    except (binascii.Error, ValueError, zlib.error):
        tokenizer = b""
    if sha256_of_tokenizer(tokenizer) != recipe.tokenizer:
        raise InputError(f"{name} is damaged: it has not the tokenizer that its recipe names. Export it again.")
    return tokenizer


def wordpiece_json(vocabulary: list[str]) -> bytes:
    """Return the tokenizer of BERT's uncased nets, which puts [CLS] before and [SEP] behind a text.

    It is written here, and not by the package `tokenizers`, so that no release of that changes its bytes.

    Args:
        vocabulary: token ids in order, [PAD], [UNK], [CLS], [SEP] and [MASK] among them.
    """
    ids = {token: number for number, token in enumerate(vocabulary)}
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    kept = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    begin, end = ({"SpecialToken": {"id": token, "type_id": 0}} for token in ("[CLS]", "[SEP]"))
    text = [begin, {"Sequence": {"id": "A", "type_id": 0}}, end]
    values = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[token], "content": token, **kept} for token in special],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": text,
            "pair": [*text, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
