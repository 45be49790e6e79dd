"""The texts of bench/texts.py: the same 3,000 review sentences one by one, joined to 200 to 400 tokens, and mixed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.machine import DATA

REVIEWS = DATA / "text" / "uci_sentiment_3000.csv"
COLUMN, LABEL = "text", "label"
SHORTEST, LONGEST = 200, 400  # tokens of a long text
_MOST = 16  # sentences of a mixed text
_SEED = 0

Count = Callable[[str], int]  # text -> its tokens, those around it left out


def reviews(path: Path = REVIEWS) -> tuple[list[str], list[str]]:
    """Return the sentences and their labels; exits where the file is absent."""
    if not path.is_file():
        raise SystemExit(
            f"The benchmark needs real texts in {path}; set FXENGINE_TEST_DATA to the folder above `text`."
        )
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row[COLUMN] for row in rows], [row[LABEL] for row in rows]


def workloads(sentences: Sequence[str], count: Count) -> dict[str, list[str]]:
    """Return short, long and mixed texts, each of all sentences in an order of its own, none twice."""
    rng = np.random.default_rng(_SEED)
    orders = [[sentences[i] for i in rng.permutation(len(sentences))] for _ in range(3)]
    return {"short": orders[0], "long": _long(orders[1], count, rng), "mixed": _mixed(orders[2], rng)}


def _long(sentences: list[str], count: Count, rng: np.random.Generator) -> list[str]:
    """Join sentences until a text has as many tokens as were drawn for it, or the next one would be too much."""
    made: list[str] = []
    taken: list[str] = []
    tokens, wanted = 0, rng.integers(SHORTEST, LONGEST + 1)
    for sentence in sentences:
        more = count(sentence)
        if tokens >= wanted or SHORTEST <= tokens > LONGEST - more:
            made.append(" ".join(taken))
            taken, tokens, wanted = [], 0, rng.integers(SHORTEST, LONGEST + 1)
        if tokens + more <= LONGEST:
            taken.append(sentence)
            tokens += more
    return [*made, " ".join(taken)] if tokens >= SHORTEST else made


def _mixed(sentences: list[str], rng: np.random.Generator) -> list[str]:
    made, start = [], 0
    while start < len(sentences):
        end = start + int(rng.integers(1, _MOST + 1))
        made.append(" ".join(sentences[start:end]))
        start = end
    return made


def write_table(path: Path, texts: Sequence[str], labels: Sequence[str] | None = None) -> Path:
    """Write a .csv of texts, which every contender reads; return its path."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([COLUMN] if labels is None else [COLUMN, LABEL])
        writer.writerows(zip(texts, labels, strict=True) if labels is not None else ([text] for text in texts))
    return path
