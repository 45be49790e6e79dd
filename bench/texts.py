"""Texts to vectors against what a user would pick instead, what the 8-bit weights cost, peak memory, and a probe.

python -m bench.texts [PART ...]   parts: speed, weights, memory, sentiment (all unless named)
    [--rounds 5] [--sentences 3000] [--rows 300000]

speed: every contender is a process of its own, warm, on all usable cores, and embeds the same texts in turn: short,
long and mixed ones. fxengine also lists, hashes and writes Parquet. Peers run in the environment that bench/setup-peers
makes (FXENGINE_TEXT_PEERS names another Python). Where the processor has bf16, sentence-transformers runs in that, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline

from bench.machine import ROOT, interleave, print_table, save, wilson
from bench.memory import child
from bench.texts_own import tokenised
from bench.texts_sets import COLUMN, LABEL, REVIEWS, reviews, workloads, write_table
from fxengine import FeatureStore, extract
from fxengine.backbones import DEFAULT_OF_TEXTS, load_backbone
from fxengine.backbones.spec import LENGTHS_INPUT
from fxengine.backbones.tokenizer import tokenizer_in
from fxengine.decode import preparer_of
from fxengine.decode.text.tokenizer import open_tokenizer
from fxengine.execute import openvino, usable_cores
from fxengine.execute.fidelity import NEIGHBOURS, compare
from fxengine.heads.evaluate.scores import assign_folds
from fxengine.probing.probe import probe
from fxengine.probing.targets import load_targets
from fxengine.probing.vectors import NEAR, load_vectors

PYTHON = Path(os.environ.get("FXENGINE_TEXT_PEERS", ROOT / ".venv-text-peers" / "bin" / "python"))
BF16 = "sentence-transformers in bf16"
PEERS = {"sentence-transformers": "sentence-transformers", "fastembed": "fastembed", "plain ONNX Runtime loop": "plain"}
SAME_FILE = ("fastembed", "plain ONNX Runtime loop")  # they compute with the very weights that fxengine does
OURS = ("fp32", "auto")
KEYS = ("best", "median")
_UNCUT = 1 << 20  # tokens
_PEAK = f"""
import json, resource, sys
from fxengine import extract
how = dict(backbone="{DEFAULT_OF_TEXTS}", column="{COLUMN}", device="cpu", precision="fp32")
summary = extract(sys.argv[1], sys.argv[2], **how)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([peak, summary.extracted, summary.images_per_second]))
"""


class Worker:
    """A contender's process, which does what it is told on a line and answers with the seconds that it took."""

    def __init__(self, name: str, command: list[str]) -> None:
        self._name = name
        threads = {name: str(usable_cores()) for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**os.environ, **threads, "HF_HUB_OFFLINE": "1"},
        )
        self.hello: dict[str, Any] = self._answer()

    def seconds(self, order: str, *paths: Path) -> float:
        """Return the seconds of one order over the texts of a table."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join([order, *map(str, paths)]) + "\n")
        self._process.stdin.flush()
        return float(self._answer())

    def vectors(self, table: Path) -> np.ndarray:
        """Return the vectors of a table's texts, [n, dim]."""
        file = table.with_suffix(".npy")
        self.seconds("vectors", table, file)
        return np.asarray(np.load(file))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("> "):
                return json.loads(line[2:])
        raise SystemExit(f"The contender {self._name} ended early.")


def peer(name: str) -> Worker:
    """Start a peer."""
    if not PYTHON.exists():
        raise SystemExit(f"there is no {PYTHON}: run bench/setup-peers first")
    script = str(ROOT / "bench" / "texts_peer.py")
    return Worker(name, [str(PYTHON), script, PEERS.get(name, name), str(usable_cores())])


def own(precision: str) -> Worker:
    """Start fxengine."""
    return Worker(f"fxengine {precision}", [sys.executable, "-m", "bench.texts_own", precision])


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Return the rates of all contenders on each kind of texts, and how far their vectors agree."""
    sentences, _ = reviews()
    found = load_backbone(DEFAULT_OF_TEXTS)
    tokenizer, preparer = open_tokenizer(tokenizer_in(found), _UNCUT), preparer_of(found)
    kinds = workloads(sentences[: options.sentences], lambda text: tokenizer.ids(text)[1] - 2)
    has_bf16 = openvino.missing("bf16") is None
    others = {name: peer(name) for name in (*PEERS, *((BF16,) if has_bf16 else ()))}
    ours = {f"fxengine {precision}": own(precision) for precision in OURS}
    result: dict[str, Any] = {"auto": ours["fxengine auto"].hello, "versions": {}, "kinds": {}}
    for worker in others.values():
        result["versions"] |= worker.hello
    with tempfile.TemporaryDirectory() as folder:
        for kind, texts in kinds.items():
            table = write_table(Path(folder) / f"{kind}.csv", texts)
            tokens = int(tokenised(preparer, texts)[LENGTHS_INPUT].sum())
            rates = interleave(contenders(ours, others, table, len(texts)), options.rounds)
            result["kinds"][kind] = {
                "texts": len(texts),
                "tokens": tokens,
                "rates": rates,
                **ratios(rates, list(PEERS)),
                "agreement": agreement(ours, others, table),
            }
            tell(kind, result["kinds"][kind])
    for worker in (*ours.values(), *others.values()):
        worker.close()
    return result


def contenders(
    ours: Mapping[str, Worker], others: Mapping[str, Worker], table: Path, count: int
) -> dict[str, Callable[[], float]]:
    """Return name -> one pass over a table, texts/s; fxengine in fp32 twice, to show what a difference is worth."""

    def rate(worker: Worker, order: str) -> float:
        return count / worker.seconds(order, table)

    fp32 = ours["fxengine fp32"]
    return {
        **{name: partial(rate, worker, "embed") for name, worker in ours.items()},
        **{name: partial(rate, worker, "embed") for name, worker in others.items()},
        "fxengine fp32 again": partial(rate, fp32, "embed"),
        "tokenizing alone (T)": partial(rate, fp32, "tokenize"),
        **{f"net alone (M), {precision}": partial(rate, ours[f"fxengine {precision}"], "net") for precision in OURS},
    }


def ratios(rates: Mapping[str, Mapping[str, float]], peers: list[str]) -> dict[str, Any]:
    """Return what the rates say of each other, by the best rounds and by the medians.

    Args:
        rates: contender -> best and median rate.
        peers: those in fp32.

    Returns:
        `itself`: fxengine in fp32 over its second run. `share_of_limit`: fxengine over 1/(1/T + 1/M), by precision.
        `of_peer`: peer -> fxengine over it, by precision. `of_best_peer`: over the fastest of them.
    """
    best = {key: max(rates[name][key] for name in peers) for key in KEYS}
    limits = {
        precision: {
            key: 1 / (1 / rates["tokenizing alone (T)"][key] + 1 / rates[f"net alone (M), {precision}"][key])
            for key in KEYS
        }
        for precision in OURS
    }

    def over(against: Callable[[str], Mapping[str, float]]) -> dict[str, dict[str, float]]:
        return {p: {key: round(rates[f"fxengine {p}"][key] / against(p)[key], 3) for key in KEYS} for p in OURS}

    bf16 = {BF16: over(lambda _: rates[BF16])} if BF16 in rates else {}
    return {
        "itself": over(lambda _: rates["fxengine fp32 again"])["fp32"],
        "share_of_limit": over(lambda precision: limits[precision]),
        "of_peer": {**{name: over(lambda _, name=name: rates[name]) for name in peers}, **bf16},  # type: ignore[misc]
        "of_best_peer": over(lambda _: best),
    }


def agreement(ours: Mapping[str, Worker], others: Mapping[str, Worker], table: Path) -> dict[str, dict[str, float]]:
    """Return contender -> mean and worst cosine to fxengine's vectors in fp32; those of the same file must agree."""
    reference = ours["fxengine fp32"].vectors(table)
    found = {}
    for name, worker in {"fxengine auto": ours["fxengine auto"], **others}.items():
        kept = compare(reference, worker.vectors(table))
        found[name] = {"mean": round(kept.mean_cosine, 6), "worst": round(kept.worst_cosine, 6)}
        assert kept.worst_cosine >= (0.9999 if name in SAME_FILE else 0.98), (name, kept)
    return found


def tell(kind: str, found: Mapping[str, Any]) -> None:
    """Print the table of one kind of texts."""
    length = found["tokens"] / found["texts"]
    print(f"\n{kind}: {found['texts']} texts of {length:.0f} tokens in the mean")
    print_table(found["rates"], "texts/s")
    print_table(
        {n: {**row, **{key: row[key] * length for key in KEYS}} for n, row in found["rates"].items()}, "tokens/s"
    )
    for name in ("itself", "share_of_limit", "of_peer", "of_best_peer", "agreement"):
        print(f"{name}: {found[name]}", flush=True)


def weights(_: argparse.Namespace, count: int = 600) -> dict[str, Any]:
    """Return how well the net with weights of 8 bits keeps the vectors of the one that was published, by torch."""
    sentences, _labels = reviews()
    with tempfile.TemporaryDirectory() as folder:
        table = write_table(Path(folder) / "t.csv", sentences[:: max(1, len(sentences) // count)][:count])
        made = {}
        for name, worker in {"published": peer("sentence-transformers"), "ours": own("fp32")}.items():
            made[name] = worker.vectors(table)
            worker.close()
    kept = compare(made["published"], made["ours"])
    found = {**asdict(kept), "same_neighbours": same_neighbours(made["published"], made["ours"])}
    print({name: round(value, 5) for name, value in found.items()})
    return {"texts": len(made["ours"]), **found}


def same_neighbours(a: np.ndarray, b: np.ndarray, k: int = NEIGHBOURS) -> float:
    """Return the share of the k nearest by cosine that are the very same rows, of vectors [n, dim] of the same rows."""
    nearest = []
    for vectors in (a, b):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        similar = unit @ unit.T
        np.fill_diagonal(similar, -np.inf)
        nearest.append(np.argpartition(-similar, k - 1, axis=1)[:, :k])
    return float(np.mean([len(set(one) & set(other)) / k for one, other in zip(*nearest, strict=True)]))


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Return the peak memory of an extraction of few rows and of many.

    In fp32, since `auto` loads a second runtime to compare with where there are so many that it may pay.
    """
    sentences, _labels = reviews()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for rows in (len(sentences), options.rows):
            texts = [f"{sentences[i % len(sentences)]} {i}" for i in range(rows)]
            table = write_table(folder / f"{rows}.csv", texts)
            peak, extracted, rate = child(_PEAK, table, folder / f"store{rows}")
            assert extracted == rows
            result[str(rows)] = {"peak_bytes": peak, "texts_per_second": round(rate, 1)}
            print(f"{rows} rows: peak {peak / 1e6:.0f} MB, {rate:.0f} texts/s", flush=True)
    return {"rows": result}


def sentiment(_: argparse.Namespace) -> dict[str, Any]:
    """Return the accuracy of a probe, of plain logistic regression on the same vectors, and on TF-IDF, same folds."""
    sentences, _labels = reviews()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "s"
        begin = time.perf_counter()
        extract(REVIEWS, store, backbone=DEFAULT_OF_TEXTS, column=COLUMN, label_column=LABEL, device="cpu")
        result: dict[str, Any] = {"rows": len(sentences), "extract_seconds": round(time.perf_counter() - begin, 1)}
        report = probe(store)
        opened = FeatureStore.open(store)
        rows = load_vectors(opened, load_targets(opened, None, None), NEAR)
    assert rows.x is not None
    assert len(rows.x) == len(sentences), "every text has a vector and a label"
    y, folds = rows.problem.y, PredefinedSplit(assign_folds(rows.problem, 5, 0))
    trials = len(np.unique(rows.problem.groups))  # copies are not independent of each other
    found = {"fxengine probe": {**asdict(report.score), "seconds": report.seconds}}
    for name, x, first in (
        ("scikit-learn LogisticRegression", rows.x, ()),
        ("TF-IDF + LogisticRegression", np.array(sentences), (TfidfVectorizer(),)),
        ("TF-IDF of words and pairs + LogisticRegression", np.array(sentences), (TfidfVectorizer(ngram_range=(1, 2)),)),
    ):
        model = make_pipeline(*first, LogisticRegression(max_iter=1000))
        begin = time.perf_counter()
        right = cross_val_predict(model, x, y, cv=folds) == y
        model.fit(x, y)
        seconds = round(time.perf_counter() - begin, 3)
        found[name] = {**asdict(wilson(float(right.mean()) * trials, trials)), "seconds": seconds}
    for name, row in found.items():
        print(f"{name:<50} {row['mean']:.1%} ({row['low']:.1%} to {row['high']:.1%}), {row['seconds']:.1f} s")
    wins = max(found, key=lambda name: found[name]["mean"])
    print(f"{wins} wins; the vectors took {result['extract_seconds']} s")
    return {**result, "head": report.head, "ways": found, "wins": wins}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "speed": speed,
    "weights": weights,
    "memory": memory,
    "sentiment": sentiment,
}


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sentences", type=int, default=3000, help="of which the texts of `speed` are made")
    parser.add_argument("--rows", type=int, default=300_000, help="of `memory`")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in options.parts or PARTS:
        save("texts" if name == "speed" else f"texts_{name}", PARTS[name](options))


if __name__ == "__main__":
    main()
