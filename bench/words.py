"""Word vectors: reading them, texts to vectors by them, and what a classifier of sentences makes of them.

python -m bench.words [PART ...]   parts: read, speed, sentiment (all unless named)
    [--rounds 5] [--rows 100000] [--seeds 3] [--epochs 15]

read: every reading of glove.6B.50d.txt, 400,000 words, is a process of its own: fxengine's first one, with an empty
cache, gensim's, and fxengine's from its cache, in turn. speed: every contender is a process of its own, warm, and
embeds the same short texts in turn; fxengine also lists, hashes and writes Parquet. sentiment: every way of
bench/words_ways.py on the same splits of 3,000 sentences. Peers run in the environment that bench/setup-peers makes
(FXENGINE_WORD_PEERS names another Python).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import interleave, print_table, save
from bench.texts import Worker
from bench.texts_sets import reviews, write_table
from bench.words_sets import PEER, answer_of, glove, model_of_pieces, model_of_words, peers, short_texts
from bench.words_ways import sentiment
from fxengine import WordVectors

KEYS = ("best", "median")
FIRST, AGAIN, GENSIM = "fxengine, first", "fxengine, from its cache", "gensim"
MODEL2VEC, ALONE = "model2vec", "model2vec, no threads of its own"
STORE, CALL, EMBED = "fxengine into a store", "fxengine into a store, whole call", "fxengine in memory"
_AGREE = 1e-5
_LOOKED_UP = 1000  # words
_SEED = 0


def read(options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and memory of reading GloVe, and check that both give the same vectors."""
    file = glove()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cache = folder / "kept"
        runs = readings(file, folder, cache, chosen_words(file))
        found = in_turn(runs, options.rounds)
        ours, theirs = (np.load(folder / f"{name}.npy") for name in (FIRST, GENSIM))
    worst = float(np.abs(ours - theirs).max())
    assert worst <= 1e-6, worst
    result = {
        "file": file.name,
        "bytes": file.stat().st_size,
        "words": {name: rows[0]["words"] for name, rows in found.items()},
        "looked_up": len(ours),
        "worst_difference": worst,
        "versions": {name: rows[0]["versions"] for name, rows in found.items()},
        "rounds": options.rounds,
        "readings": {name: figures(rows) for name, rows in found.items()},
    }
    result["of_gensim"] = {
        key: round(result["readings"][GENSIM]["seconds"][key] / result["readings"][FIRST]["seconds"][key], 2)
        for key in KEYS
    }
    tell_readings(result)
    return result


def chosen_words(file: Path) -> list[str]:
    """Return some words of a file, at random."""
    words = WordVectors.open(file).words
    numbers = np.random.default_rng(_SEED).choice(len(words), min(_LOOKED_UP, len(words)), replace=False)
    return [words[number] for number in numbers.tolist()]


def readings(file: Path, folder: Path, kept: Path, words: list[str]) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return name -> one reading in a process of its own; all look words up, as gensim makes a dict of them anyhow."""
    wanted = {name: folder / f"{name}.json" for name in (FIRST, AGAIN, GENSIM)}
    for name, path in wanted.items():
        path.write_text(json.dumps(["king"] if name == AGAIN else words))
    own: list[object] = [sys.executable, "-m", "bench.words_read", file]

    def first() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=folder) as empty:
            return answer_of([*own, wanted[FIRST], folder / f"{FIRST}.npy"], FXENGINE_CACHE=empty)

    def again() -> dict[str, Any]:
        return answer_of([*own, wanted[AGAIN], folder / f"{AGAIN}.npy"], FXENGINE_CACHE=str(kept))

    def gensim() -> dict[str, Any]:
        return answer_of([peers(), PEER, "gensim", file, wanted[GENSIM], folder / f"{GENSIM}.npy"])

    return {FIRST: first, GENSIM: gensim, AGAIN: again}


def in_turn(runs: Mapping[str, Callable[[], dict[str, Any]]], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Run A B C, A B C, ... after one uncounted round, which fills caches; return what each round answered."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            answer = run()
            if number:
                found[name].append(answer)
    return found


def figures(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the least and the median of what was measured, by name; of memory the most in place of the least."""
    return {
        **{
            name: {
                "best": round(min(row[name] for row in rows), 4),
                "median": round(float(np.median([row[name] for row in rows])), 4),
            }
            for name in ("seconds", "cpu_seconds")
        },
        **{name: {"most": max(row[name] for row in rows)} for name in ("peak_bytes", "bytes_before")},
    }


def tell_readings(result: Mapping[str, Any]) -> None:
    """Print the table of the readings."""
    print(f"\n{result['file']}, {result['words'][FIRST]:,} words, {result['rounds']} rounds: seconds, best and median")
    for name, row in result["readings"].items():
        times = "  ".join(f"{part} {row[part]['best']:7.3f} {row[part]['median']:7.3f}" for part in list(row)[:2])
        print(
            f"{name:<26} {times}  peak {row['peak_bytes']['most'] / 1e6:.0f} MB, of them "
            f"{row['bytes_before']['most'] / 1e6:.0f} before it began"
        )
    print(f"of gensim: {result['of_gensim']}; {result['looked_up']} words differ by {result['worst_difference']:.1e}")


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Return the rates of short texts to vectors by GloVe, and by models of model2vec against model2vec itself."""
    sentences, _labels = reviews()
    texts = short_texts(sentences, options.rows)
    file = glove()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table = write_table(folder / "t.csv", texts)
        own = own_worker(f"vectors:{file}")
        rates = interleave(own_parts(own, table, len(texts)), options.rounds)
        own.close()
        print(f"\nGloVe, {len(texts):,} texts")
        print_table(rates, "texts/s")
        models = {
            "words": model_of_words(WordVectors.open(file), folder / "words"),
            "pieces": model_of_pieces(folder / "pieces"),
        }
        result: dict[str, Any] = {"texts": len(texts), "rates": rates, "models": {}}
        for kind, model in models.items():
            result["models"][kind] = against_model2vec(model, table, len(texts), options.rounds)
            tell_model(kind, result["models"][kind])
    return result


def own_worker(backbone: str) -> Worker:
    """Start fxengine."""
    return Worker(f"fxengine by {backbone}", [sys.executable, "-m", "bench.words_own", backbone])


def own_parts(own: Worker, table: Path, count: int) -> dict[str, Callable[[], float]]:
    """Return name -> texts/s of a call, of its pipeline, and of tokenizing and the net alone."""

    def rate(order: str) -> float:
        return count / own.seconds(order, table)

    return {
        STORE: partial(rate, "store"),
        CALL: partial(rate, "call"),  # of the run before
        "tokenizer and net alone": partial(rate, "alone"),
        "tokenizer alone": partial(rate, "tokenize"),  # of the run before, as the next
        "net alone": partial(rate, "net"),
    }


def against_model2vec(model: Path, table: Path, count: int, rounds: int) -> dict[str, Any]:
    """Return the rates of model2vec and of fxengine on the same folder, and how far their vectors are apart."""
    own = own_worker(f"vectors:{model}")
    other = Worker("model2vec", [str(peers()), str(PEER), "model2vec", str(model)])
    vectors = {name: vectors_of(worker, order, table) for name, worker, order in (
        (MODEL2VEC, other, "vectors"), (EMBED, own, "vectors"), (STORE, own, "stored"),
    )}  # fmt: skip
    apart = {name: relative(vectors[name], vectors[MODEL2VEC]) for name in (EMBED, STORE)}
    assert max(apart.values()) <= _AGREE, apart

    def rate(worker: Worker, order: str) -> float:
        return count / worker.seconds(order, table)

    contenders = {
        STORE: partial(rate, own, "store"),
        CALL: partial(rate, own, "call"),
        MODEL2VEC: partial(rate, other, "embed"),
        EMBED: partial(rate, own, "embed"),
        ALONE: partial(rate, other, "embed_alone"),
    }
    rates = interleave(contenders, rounds)
    own.close()
    other.close()
    return {
        "dim": vectors[EMBED].shape[1],
        "versions": other.hello,
        "rates": rates,
        "apart": apart,
        "of_model2vec": of_faster(rates, (STORE, CALL, EMBED), (MODEL2VEC, ALONE)),
    }


def vectors_of(worker: Worker, order: str, table: Path) -> np.ndarray:
    """Return the vectors of a table's texts, [n, dim], by one order."""
    file = table.with_suffix(".npy")
    worker.seconds(order, table, file)
    return np.asarray(np.load(file))


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return how far the rows are apart at most, ||a-b||/||b||; what is 0 in both is not."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    length = np.linalg.norm(theirs, axis=1)
    off = np.linalg.norm(ours - theirs, axis=1)
    return float((off / np.where(length > 0, length, 1)).max())


def of_faster(
    rates: Mapping[str, Mapping[str, float]], ours: tuple[str, ...], others: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """Return the rates of ours over the fastest of the others, by the best rounds and by the medians."""
    fastest = {key: max(rates[name][key] for name in others) for key in KEYS}
    return {name: {key: round(rates[name][key] / fastest[key], 3) for key in KEYS} for name in ours}


def tell_model(kind: str, found: Mapping[str, Any]) -> None:
    """Print the table of one model of model2vec."""
    print(f"\na model of model2vec, {kind} as tokens, {found['dim']} numbers each")
    print_table(found["rates"], "texts/s")
    print(f"of the faster model2vec: {found['of_model2vec']}\napart: {found['apart']}", flush=True)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "read": read,
    "speed": speed,
    "sentiment": lambda options: sentiment(options.seeds, options.epochs),
}


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000, help="texts of `speed`")
    parser.add_argument("--seeds", type=int, default=3, help="of `sentiment`: splits, and what is random in each")
    parser.add_argument("--epochs", type=int, default=15, help="of `sentiment`, at most")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in options.parts or PARTS:
        save(f"words_{name}", PARTS[name](options))


if __name__ == "__main__":
    main()
