"""The ways of bench/words.py to classify review sentences, each on the same rows: from word vectors and without.

Every way learns from the rows of train; only nets that train look at those of val, to stop; all are scored on test.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from bench.machine import wilson
from bench.texts_sets import reviews
from bench.words_sets import LABEL, PROBED, SPLIT, TEXT, environment, glove, splits, write_split
from fxengine import FeatureStore, extract, finetune, probe
from fxengine.backbones import DEFAULT_OF_TEXTS, load_backbone
from fxengine.backbones.children import keras_env
from fxengine.backbones.options import ExportOptions, WordWeights

GUIDE = Path(__file__).with_name("words_guide.py")
GUIDES = {"BiLSTM, frozen": "plain Keras, frozen", "BiLSTM, unfrozen": "plain Keras, unfrozen"}  # ours -> the guide's


@dataclass(frozen=True)
class Trial:
    """One split of the sentences.

    Attributes:
        folder: where to put things.
        table: the .csv.
        texts: its texts.
        labels: their labels.
        split: their sides.
        vectors: the file of word vectors.
        seed: of what is random.
        epochs: that a net trains at most.
    """

    folder: Path
    table: Path
    texts: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    vectors: Path
    seed: int
    epochs: int

    @property
    def test(self) -> np.ndarray:
        """Which rows are reported on."""
        return np.asarray(self.split == "test")


Scored = dict[str, Any]  # accuracy, and what else is to be kept
Way = Callable[[Trial], Scored]


def probed(trial: Trial, backbone: str, weights: WordWeights | None = None) -> Scored:
    """Extract the sentences into a store, and probe it."""
    store = trial.folder / f"{Path(backbone).stem}-{weights}"
    summary = extract(
        trial.table,
        store,
        backbone=backbone,
        word_weights=weights,
        column=TEXT,
        label_column=LABEL,
        split_column=PROBED,
        device="cpu",
    )
    assert not summary.failed, summary.failed  # every way is scored on the same rows
    report = probe(store, split=True)
    return {"accuracy": report.score.mean, "head": report.head, "trained_on": report.trained_on}


def of_glove(trial: Trial, weights: WordWeights | None = None) -> Scored:
    """Probe the mean of the vectors of a sentence's words."""
    return probed(trial, f"vectors:{trial.vectors}", weights)


def mean_by_sklearn(trial: Trial) -> Scored:
    """Fit scikit-learn's logistic regression to the same means."""
    store = trial.folder / "means"
    extract(trial.table, store, backbone=f"vectors:{trial.vectors}", column=TEXT, dtype="float32", device="cpu")
    found = FeatureStore.open(store)
    numbers = [int(key.rpartition("#")[2]) for key in found.ids()]
    assert numbers == list(range(len(trial.texts))), "every text has a vector, in the order of the table"
    return fitted(trial, LogisticRegression(max_iter=1000), found.vectors())


def tfidf(trial: Trial) -> Scored:
    """Fit scikit-learn's logistic regression to how often which words are there."""
    return fitted(trial, make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000)), trial.texts)


def fitted(trial: Trial, model: Any, x: np.ndarray) -> Scored:
    """Fit a model of scikit-learn to the rows of train."""
    train = trial.split == "train"
    model.fit(x[train], trial.labels[train])
    return {"accuracy": float(model.score(x[trial.test], trial.labels[trial.test])), "trained_on": int(train.sum())}


def bilstm(trial: Trial, unfreeze: str) -> Scored:
    """Train an LSTM in both directions over the vectors."""
    report = finetune(
        trial.table,
        trial.folder / f"bilstm-{unfreeze}.onnx",
        backbone=f"vectors:{trial.vectors}",
        column=TEXT,
        label_column=LABEL,
        split_column=SPLIT,
        net="bilstm",
        unfreeze=unfreeze,
        epochs=trial.epochs,
        seed=trial.seed,
    )
    assert report.rows["test"] == trial.test.sum(), report.rows
    return {
        "accuracy": report.tuned.test.mean,
        "validation_accuracy": report.tuned.validation.mean,
        "trained_on": report.rows["train"],
        "kept": report.kept,
        "rate": report.rate,
        "best_epoch": report.best_epoch,
        "epochs": len(report.history),
        "difference_to_keras": report.differences["relative"],
    }


def guide(trial: Trial, *, trainable: bool) -> Scored:
    """Run the plain Keras script on the same rows."""
    out = trial.folder / f"guide-{trainable}.json"
    command = [keras_env.python(), GUIDE, trial.table, trial.vectors, "--text", TEXT, "--label", LABEL]
    command += ["--split", SPLIT, "--epochs", trial.epochs, "--seed", trial.seed, "-o", out]
    command += ["--trainable"] if trainable else []
    quiet = environment(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="2")
    subprocess.run([*map(str, command)], check=True, capture_output=True, env=quiet)
    found = json.loads(out.read_text())
    assert found["test_rows"] == trial.test.sum(), found
    return {"accuracy": found.pop("test_accuracy"), **found}


WAYS: dict[str, Way] = {
    "GloVe mean + probe": of_glove,
    "GloVe mean with SIF + probe": partial(of_glove, weights="sif"),
    "GloVe mean + scikit-learn LogisticRegression": mean_by_sklearn,
    "BiLSTM, frozen": partial(bilstm, unfreeze="none"),
    "BiLSTM, unfrozen": partial(bilstm, unfreeze="all"),
    "plain Keras, frozen": partial(guide, trainable=False),
    "plain Keras, unfrozen": partial(guide, trainable=True),
    f"{DEFAULT_OF_TEXTS} + probe": partial(probed, backbone=DEFAULT_OF_TEXTS),
    "TF-IDF + scikit-learn LogisticRegression": tfidf,
}


def sentiment(seeds: int, epochs: int) -> dict[str, Any]:
    """Return the test accuracy and the seconds of every way, on as many splits as there are seeds.

    Vectors and nets are in the cache before; those that train read the vectors again, from there, as plain Keras does
    from the file.
    """
    texts, labels = reviews()
    vectors = glove()
    for options in (ExportOptions(), ExportOptions(word_weights="sif")):
        load_backbone(f"vectors:{vectors}", options)
    load_backbone(DEFAULT_OF_TEXTS)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    made = splits(texts, labels, seeds)
    for seed, split in enumerate(made):
        with tempfile.TemporaryDirectory(prefix="fxengine-bench-") as temporary:
            folder = Path(temporary)
            table = write_split(folder / "reviews.csv", texts, labels, split)
            trial = Trial(folder, table, np.array(texts), np.array(labels), np.array(split), vectors, seed, epochs)
            for name, way in WAYS.items():
                runs[name].append(scored(trial, way))
                tell_run(name, seed, runs[name][-1])
    ways = {name: over_seeds(rows) for name, rows in runs.items()}
    result = {
        "rows": len(texts),
        "sides": [{side: split.count(side) for side in ("train", "val", "test")} for split in made],
        "ways": ways,
        "of_guide": {ours: round(ways[ours]["mean"] - ways[theirs]["mean"], 4) for ours, theirs in GUIDES.items()},
        "wins": max(ways, key=lambda name: ways[name]["mean"]),
        "runs": runs,
    }
    tell_ways(result)
    return result


def scored(trial: Trial, way: Way) -> dict[str, Any]:
    """Take one way; return its accuracy on test with its interval (Wilson's, 95%), and the seconds of all of it."""
    begin = time.perf_counter()
    found = way(trial)
    seconds = time.perf_counter() - begin
    rows = int(trial.test.sum())
    right = round(found.pop("accuracy") * rows)
    return {"right": right, "test_rows": rows, **asdict(wilson(right, rows)), **found, "seconds": round(seconds, 2)}


def over_seeds(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the accuracy over all seeds' test rows, which are all different, with Wilson's interval of them together.

    That counts how sure the rows make it, not that another seed trains another net: `lowest` and `highest` show that.
    """
    right, total = sum(row["right"] for row in rows), sum(row["test_rows"] for row in rows)
    means = [row["mean"] for row in rows]
    seconds = [row["seconds"] for row in rows]
    return {
        **asdict(wilson(right, total)),
        "test_rows": total,
        "lowest": min(means),
        "highest": max(means),
        "seconds": {"best": min(seconds), "median": round(float(np.median(seconds)), 2)},
    }


def tell_run(name: str, seed: int, row: dict[str, Any]) -> None:
    """Print one run."""
    print(f"seed {seed}  {name:<46} {row['mean']:.1%}, {row['seconds']:.1f} s", flush=True)


def tell_ways(result: dict[str, Any]) -> None:
    """Print the table of the ways."""
    print(f"\n{'test accuracy over all seeds':<46} {'mean':>6} {'95% interval':>16} {'seeds':>16} {'seconds':>8}")
    for name, row in result["ways"].items():
        print(
            f"{name:<46} {row['mean']:6.1%} {row['low']:7.1%} to {row['high']:5.1%} {row['lowest']:7.1%} to "
            f"{row['highest']:5.1%} {row['seconds']['median']:8.1f}"
        )
    print(f"{result['wins']} is best; over plain Keras: {result['of_guide']}")
