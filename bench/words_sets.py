"""What bench/words.py reads: GloVe's vectors, short texts, a model of static vectors, and the splits of the reviews."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from bench.machine import ROOT
from fxengine import WordVectors
from fxengine.backbones import DEFAULT_OF_TEXTS, load_backbone
from fxengine.backbones.tokenizer import tokenizer_in
from fxengine.execute import usable_cores
from fxengine.files import replacing

PYTHON = Path(os.environ.get("FXENGINE_WORD_PEERS", ROOT / ".venv-word-peers" / "bin" / "python"))
PEER = ROOT / "bench" / "words_peer.py"
GLOVE = "glove.6B.50d.txt"
TEXT, LABEL, SPLIT, PROBED = "text", "label", "split", "probed"  # columns
FOLDS = 5  # of which one is the test, one the validation
_WORDS = 30_000  # of GloVe, about as many as the tokens of a WordPiece
_PIECE_DIM = 256  # as model2vec's own models have it
_SEED = 0


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a contender: as many threads for all, and nothing fetched."""
    threads = {name: str(usable_cores()) for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**os.environ, **threads, "HF_HUB_OFFLINE": "1", **more}


def answer_of(command: Sequence[object], **more: str) -> dict[str, Any]:
    """Run a process that answers in JSON on a line behind "> ".

    Args:
        command: the program and its arguments.
        **more: of its environment.
    """
    done = subprocess.run([*map(str, command)], cwd=ROOT, env=environment(**more), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1].removeprefix("> "))
    return found


def peers() -> Path:
    """Return the Python that has the peers; exits where there is none."""
    if not PYTHON.exists():
        raise SystemExit(f"there is no {PYTHON}: run bench/setup-peers first")
    return PYTHON


def glove() -> Path:
    """Return glove.6B.50d.txt, written beside the peers the first time."""
    path = peers().parent.parent / GLOVE
    if not path.exists():
        print(f"writing {path}", flush=True)
        with replacing(path) as temporary:
            answer_of([peers(), PEER, "glove", temporary])
    return path


def short_texts(sentences: Sequence[str], rows: int) -> list[str]:
    """Return so many texts, none twice: the sentences again and again, each with its number behind."""
    return [f"{sentences[i % len(sentences)]} {i}" for i in range(rows)]


def model_of_words(vectors: WordVectors, folder: Path) -> Path:
    """Write a folder of model2vec of the most frequent words of GloVe, whole words as tokens; return it."""
    words = list(vectors.words[:_WORDS])
    table = np.zeros((len(words) + 1, vectors.dim), np.float32)
    table[1:] = vectors.array[: len(words)]
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(["[UNK]", *words])},
            "unk_token": "[UNK]",
        },
    }
    return _model(table, json.dumps(tokenizer, ensure_ascii=False), folder)


def model_of_pieces(folder: Path) -> Path:
    """Write a folder of model2vec in the size of its own models: the tokens of BERT, random vectors; return it."""
    tokenizer = json.loads(tokenizer_in(load_backbone(DEFAULT_OF_TEXTS)))
    count = len(tokenizer["model"]["vocab"])
    table = np.random.default_rng(_SEED).normal(0, 1, (count, _PIECE_DIM)).astype(np.float32)
    return _model(table, json.dumps(tokenizer, ensure_ascii=False), folder)


def _model(table: np.ndarray, tokenizer: str, folder: Path) -> Path:
    folder.mkdir()
    vectors, text = folder / "vectors.npy", folder / "tokenizer.json"
    np.save(vectors, table)
    text.write_text(tokenizer, encoding="utf-8")
    answer_of([peers(), PEER, "folder", vectors, text, folder / "model"])
    return folder / "model"


def splits(texts: Sequence[str], labels: Sequence[str], count: int) -> list[list[str]]:
    """Return so many splits into train, val and test, 60, 20 and 20% of each label; no two test rows are the same.

    Texts that are alike but for case and blanks stay on one side.
    """
    if not 1 <= count <= FOLDS:
        raise SystemExit(f"--seeds: {count}; there are {FOLDS} splits whose test rows are all different")
    _, groups = np.unique([" ".join(text.lower().split()) for text in texts], return_inverse=True)
    fold = np.zeros(len(texts), np.int64)
    dealt = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=_SEED).split(texts, labels, groups)
    for number, (_, taken) in enumerate(dealt):
        fold[taken] = number
    sides = {0: "test", 1: "val"}
    return [[sides.get(int(at - seed) % FOLDS, "train") for at in fold] for seed in range(count)]


def write_split(path: Path, texts: Sequence[str], labels: Sequence[str], split: Sequence[str]) -> Path:
    """Write a .csv of texts, labels and two columns of sides: the second has none for rows that only nets select on."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([TEXT, LABEL, SPLIT, PROBED])
        probed = ("" if side == "val" else side for side in split)
        writer.writerows(zip(texts, labels, split, probed, strict=True))
    return path
