"""Static token vectors in a folder, as model2vec and sentence-transformers' StaticEmbedding write them.

The words are the tokens of its tokenizer.json in the order of their ids. A token's row is `embeddings[mapping[id]] *
weights[id]`, where the folder has these two.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones.json_file import object_in
from fxengine.backbones.safetensors import as_float32, read_tensors
from fxengine.backbones.words.blocks import Block, Blocks, check_dim, check_finite
from fxengine.errors import InputError, explained
from fxengine.files import read_small

_VECTORS, _TOKENIZER = "model.safetensors", "tokenizer.json"
_CONFIGS = ("config.json", "config_sentence_transformers.json")
_NESTED = "0_StaticEmbedding"
_TABLES = ("embeddings", "embedding.weight")
_MOST_JSON = 1 << 26
_GATHERED = 1 << 22  # bytes of rows at once


def files_of(folder: Path) -> tuple[Path, Path]:
    """Return the files of vectors and of the tokenizer in a folder; raises InputError where they are not there."""
    for place in (folder, folder / _NESTED):
        if (place / _VECTORS).is_file() and (place / _TOKENIZER).is_file():
            return place / _VECTORS, place / _TOKENIZER
    raise InputError(
        f"{folder} is a folder without {_VECTORS} and {_TOKENIZER}: name a file of word vectors, or a folder that "
        "model2vec wrote."
    )


def config_of(folder: Path) -> dict[str, Any]:
    """Return what a folder says of its model; empty where it says nothing. Raises InputError where that is no JSON."""
    for name in _CONFIGS:
        if (folder / name).is_file():
            return object_in(folder / name)
    return {}


def tokenizer_of(folder: Path) -> bytes:
    """Return the bytes of a folder's tokenizer; raises InputError where it has none."""
    with explained(f"{folder} cannot be read", kind=InputError):
        return read_small(files_of(folder)[1].resolve(), _MOST_JSON)


def read_static(folder: Path) -> Blocks:
    """Return the vectors of the tokens of a folder.

    Raises:
        InputError: it has none; the blocks raise it for a row with a number that is not finite.
    """
    vectors, tokenizer = files_of(folder)
    tensors = read_tensors(vectors, (*_TABLES, "mapping", "weights"))
    table = next((tensors[name] for name in _TABLES if name in tensors), None)
    if table is None or table.ndim != 2:
        raise InputError(f"{vectors} has no static vectors: a table {' or '.join(_TABLES)} is expected in it.")
    words = _tokens(tokenizer)
    mapping, weights = tensors.get("mapping"), tensors.get("weights")
    for name, each in (("mapping", mapping), ("weights", weights)):
        if each is not None and each.shape != (len(words),):
            raise InputError(f"{vectors}: {name} has the shape {each.shape}; the tokenizer has {len(words):,} tokens.")
    if mapping is None and len(table) != len(words):
        raise InputError(f"{vectors} has {len(table):,} vectors; the tokenizer beside it has {len(words):,} tokens.")
    if mapping is not None and not (mapping.dtype.kind == "i" and 0 <= mapping.min() <= mapping.max() < len(table)):
        raise InputError(f"{vectors}: mapping names rows that are not there.")
    dim = check_dim(str(vectors), table.shape[1])
    return Blocks("static vectors of tokens", dim, _blocks(str(vectors), words, table, mapping, weights), whole=True)


def _blocks(
    name: str, words: list[bytes], table: np.ndarray, mapping: np.ndarray | None, weights: np.ndarray | None
) -> Iterator[Block]:
    step = max(1, _GATHERED // (4 * table.shape[1]))
    for start in range(0, len(words), step):
        part = slice(start, start + step)
        rows = as_float32(table[part] if mapping is None else table[mapping[part]])
        if weights is not None:
            rows = rows * as_float32(weights[part])[:, None]
        check_finite(name, words[part], rows, start + 1)
        yield words[part], rows


def _tokens(path: Path) -> list[bytes]:
    """Return the tokens of a tokenizer in the order of their ids; raises InputError where an id has none."""
    facts = object_in(path)
    try:
        known = facts["model"]["vocab"]
        pairs = known.items() if isinstance(known, dict) else ((token, at) for at, (token, *_) in enumerate(known))
        numbers = {int(number): str(token) for token, number in pairs}
        numbers |= {int(each["id"]): str(each["content"]) for each in facts.get("added_tokens") or ()}
        return [numbers[number].encode() for number in range(len(numbers))]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is no tokenizer with a token for each id from 0 on.") from error
