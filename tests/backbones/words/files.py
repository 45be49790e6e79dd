"""Writers of word vectors in each format, for the tests."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones.words.fasttext import MAGIC

Words = Sequence[tuple[bytes, Any]]  # and the numbers of each


def text(words: Words, *, header: bool = False, end: bytes = b"\n") -> bytes:
    lines = [b" ".join([word, *(repr(float(np.float32(x))).encode() for x in row)]) for word, row in words]
    return b"".join(line + end for line in ([b"%d %d" % (len(words), len(words[0][1]))] if header else []) + lines)


def binary(words: Words, *, newlines: bool = True) -> bytes:
    head = b"%d %d\n" % (len(words), len(words[0][1]))
    return head + b"".join(word + b" " + np.asarray(row, "<f4").tobytes() + b"\n" * newlines for word, row in words)


def fasttext(
    words: Sequence[bytes],
    rows: np.ndarray,
    *,
    labels: Sequence[bytes] = (),
    ngrams: tuple[int, int] = (0, 0),
    buckets: int = 0,
    version: int = 12,
    quantised: bool = False,
    pruned: Mapping[int, int] | None = None,
) -> bytes:
    arguments = (rows.shape[1], 5, 5, 1, 5, 1, 2, 3 if labels else 1, buckets, *ngrams, 100, 1e-4)
    counts = (len(words) + len(labels), len(words), len(labels), 1000, -1 if pruned is None else len(pruned))
    entries = [(word, 0) for word in words] + [(label, 1) for label in labels]
    return b"".join(
        [
            MAGIC + struct.pack("<i", version) + struct.pack("<12id", *arguments) + struct.pack("<iiiqq", *counts),
            *(word + b"\0" + struct.pack("<qb", 7, kind) for word, kind in entries),
            *(struct.pack("<ii", *pair) for pair in (pruned or {}).items()),
            struct.pack("<?qq", quantised, *rows.shape),
            rows.astype("<f4").tobytes(),
        ]
    )


def safetensors(tensors: Mapping[str, np.ndarray], kinds: Mapping[str, str] | None = None) -> bytes:
    names = {"<f4": "F32", "<f2": "F16", "<f8": "F64", "<i8": "I64", "<i4": "I32", "|i1": "I8", "<u2": "BF16"}
    header: dict[str, Any] = {"__metadata__": {"format": "np"}}
    body = b""
    for name, each in tensors.items():
        kind = (kinds or {}).get(name, names[each.dtype.str])
        header[name] = {
            "dtype": kind,
            "shape": list(each.shape),
            "data_offsets": [len(body), len(body) + each.nbytes],
        }
        body += each.tobytes()
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + body


def static(folder: Path, tokens: Sequence[str], tensors: Mapping[str, np.ndarray], **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    vocab = {token: at for at, token in enumerate(tokens)}
    facts = {"added_tokens": [], "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}}
    (folder / "tokenizer.json").write_text(json.dumps(facts))
    (folder / "config.json").write_text(json.dumps(config))
    return folder
