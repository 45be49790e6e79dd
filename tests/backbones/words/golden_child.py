"""Trains small models with fastText and gensim and writes what they say of them: `golden_child.py FOLDER`.

In a process of its own: both load for seconds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
from gensim.models import KeyedVectors, Word2Vec

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "naïve",
    "Straße",
    "東京",
    "do",
    "n't",
    "good",
    "film",
    "bad",
    "boring",
    "wonderful",
    "1990s",
    "été",
]
UNKNOWN = ["cats", "filmy", "naïveté", "東京都", "x", "zz", "wonderfully", "ß"]
ODD = ["one", "Zürich", "東京", "\u0085", "a\u00a0b", "new_york", "'s", "1000"]


def write_corpus(path: Path) -> None:
    rng = np.random.default_rng(5)
    lines = [" ".join(rng.choice(WORDS, 8)) for _ in range(300)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def train_fasttext(folder: Path) -> None:
    corpus, labelled = folder / "corpus.txt", folder / "labelled.txt"
    write_corpus(corpus)
    lines = corpus.read_text(encoding="utf-8").splitlines()
    labelled.write_text("".join(f"__label__{'a' if 'good' in line else 'b'} {line}\n" for line in lines), "utf-8")
    common = {"dim": 12, "epoch": 2, "minCount": 1, "thread": 1, "verbose": 0, "bucket": 500}
    models = {
        "subwords": fasttext.train_unsupervised(str(corpus), minn=3, maxn=6, **common),
        "letters": fasttext.train_unsupervised(str(corpus), model="cbow", minn=1, maxn=2, **common),
        "whole": fasttext.train_unsupervised(str(corpus), minn=0, maxn=0, **common),
        "supervised": fasttext.train_supervised(str(labelled), minn=2, maxn=3, wordNgrams=2, **common),
    }
    expected = {}
    for name, model in models.items():
        model.save_model(str(folder / f"{name}.bin"))
        words = [*model.get_words(), *UNKNOWN]
        expected[name] = {
            "known": model.get_words(),
            "vectors": {word: vector_of(model, word).tolist() for word in words},
            "directions": {word: model.get_word_vector(word).tolist() for word in words},
        }
    (folder / "fasttext.json").write_text(json.dumps(expected))
    with (folder / "subwords.vec").open("w", encoding="utf-8") as out:
        known = models["subwords"].get_words()
        out.write(f"{len(known)} 12\n")
        for word in known:  # a blank ends each line, as fastText writes it
            out.write(f"{word} {' '.join(f'{x:.5g}' for x in vector_of(models['subwords'], word))} \n")
    models["supervised"].quantize(str(labelled))
    models["supervised"].save_model(str(folder / "supervised.ftz"))


def vector_of(model: Any, word: str) -> np.ndarray:
    """Return the mean of a word's rows.

    That is what fastText's own `getWordVector` gives; the fork `fasttext-community` scales it to length 1.
    """
    rows = model.get_input_matrix()[np.asarray(model.get_subwords(word)[1], np.int64)]
    return rows.mean(axis=0) if len(rows) else np.zeros(model.get_dimension(), np.float32)


def write_gensim(folder: Path) -> None:
    rng = np.random.default_rng(6)
    vectors = KeyedVectors(7)
    vectors.add_vectors(ODD, rng.normal(size=(len(ODD), 7)).astype(np.float32))
    vectors.save_word2vec_format(str(folder / "odd.txt"), binary=False)
    vectors.save_word2vec_format(str(folder / "odd.bin"), binary=True)
    vectors.save_word2vec_format(str(folder / "odd.txt.gz"), binary=False)
    vectors.save_word2vec_format(str(folder / "glove.txt"), binary=False, write_header=False)
    vectors.save(str(folder / "pickled.kv"))
    np.save(folder / "odd.npy", vectors.vectors)
    sentences = [line.split() for line in (folder / "corpus.txt").read_text(encoding="utf-8").splitlines()]
    trained = Word2Vec(sentences, vector_size=9, min_count=1, epochs=1, workers=1, seed=3).wv
    trained.save_word2vec_format(str(folder / "trained.bin"), binary=True)
    again = KeyedVectors.load_word2vec_format(str(folder / "trained.bin"), binary=True)
    np.save(folder / "trained.npy", again.vectors)
    (folder / "trained.json").write_text(json.dumps(again.index_to_key))


if __name__ == "__main__":
    train_fasttext(Path(sys.argv[1]))
    write_gensim(Path(sys.argv[1]))
