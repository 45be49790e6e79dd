"""Heads on real photos: accuracy of each beside plain scikit-learn, and wrong labels found again.

python -m bench.heads

`caltech_20` gets 5% of its labels changed to another class, ten times over; precision and recall are those of the
first 5% of the ranking.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score

from bench.machine import photos, save, wilson
from fxengine import FeatureStore, extract
from fxengine.heads import HEADS
from fxengine.probing.mislabeled import mislabeled
from fxengine.probing.probe import probe

SETS = ("cats_dogs", "flowers_300", "caltech_20")


def accuracies(folder: Path) -> dict[str, dict[str, str]]:
    """Return set -> head -> accuracy with its interval; cats_dogs also from train to val."""
    found: dict[str, dict[str, str]] = {}
    for name in SETS:
        store = folder / name
        found[name] = {head: str(probe(store, head=head).score) for head in HEADS}
        found[name]["auto"] = str(probe(store, head="auto").score)
        opened = FeatureStore.open(store)
        x, y = opened.vectors(dtype="float32"), np.array(opened.labels())
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        plain = cross_val_score(LogisticRegression(max_iter=1000), x, y, cv=folds)
        found[name]["scikit-learn LogisticRegression"] = str(wilson(float(plain.mean()) * len(y), len(y)))
        print(name, found[name], flush=True)
    cats = FeatureStore.open(folder / "cats_dogs")
    train, val = cats.select(split="train"), cats.select(split="val")
    plain_model = LogisticRegression(max_iter=1000).fit(train.vectors(dtype="float32"), train.labels())
    right = plain_model.predict(val.vectors(dtype="float32")) == np.array(val.labels())
    found["cats_dogs, train to val"] = {
        **{h: str(probe(cats.path, head=h, split=True).score) for h in HEADS},
        "scikit-learn LogisticRegression": str(wilson(float(right.sum()), len(right))),
    }
    print(found["cats_dogs, train to val"], flush=True)
    return found


def planted(folder: Path, rounds: int, share: float = 0.05) -> dict[str, Any]:
    """Return precision and recall of the first 5% of the ranking, and of the rows that count as wrong."""
    store = folder / "caltech_20"
    opened = FeatureStore.open(store)
    ids, labels = opened.ids(), np.array(opened.labels(), object)
    names, wanted = sorted(set(labels)), round(share * len(ids))
    firsts, counted, found_share = [], [], []
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        flipped = rng.choice(len(ids), wanted, replace=False)
        noisy = labels.copy()
        for i in flipped:
            noisy[i] = rng.choice([name for name in names if name != labels[i]])
        pq.write_table(pa.table({"id": ids, "label": list(noisy)}), folder / "noisy.parquet")
        ranked = mislabeled(store, labels=folder / "noisy.parquet", seed=seed).rows
        truth = {ids[i] for i in flipped}
        firsts.append(np.mean([row.id in truth for row in ranked[:wanted]]))
        issues = [row.id in truth for row in ranked if row.issue]
        counted.append(np.mean(issues))
        found_share.append(sum(issues) / wanted)
    # As many rows are taken as were changed: precision and recall of the first 5% are the same number.
    return {
        "first_5_percent": {"precision_and_recall": float(np.mean(firsts)), "worst_round": float(min(firsts))},
        "counted_as_wrong": {"precision": float(np.mean(counted)), "recall": float(np.mean(found_share))},
        "rounds": rounds,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in SETS:
            extract(photos(name), folder / name)
        wrong = planted(folder, options.rounds)
        print(wrong, flush=True)
        save("heads", {"accuracy": accuracies(folder), "wrong_labels": wrong})


if __name__ == "__main__":
    main()
