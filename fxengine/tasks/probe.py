"""Trains a head on a store's features and says how well it does."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.errors import StoreError
from fxengine.features.read import FeatureStore
from fxengine.heads import logistic
from fxengine.heads.file import HeadFacts, save_linear
from fxengine.heads.interval import Interval, wilson

FOLDS = 5


@dataclass(frozen=True)
class ProbeReport:
    """How well a head does on rows that it was not trained on.

    Attributes:
        accuracy: by cross-validation, with its 95% interval.
        chance: accuracy of always answering the most frequent class.
        rows: labelled rows with a vector.
        classes: class -> rows.
        recall: class -> share of its rows that were recognised.
        folds: how many.
        head: file that was written, or None.
    """

    accuracy: Interval
    chance: float
    rows: int
    classes: dict[str, int]
    recall: dict[str, float]
    folds: int
    head: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return asdict(self)


def probe(
    store: str | Path, output: Path | None = None, *, folds: int = FOLDS, seed: int = 0, layer: str | None = None
) -> ProbeReport:
    """Cross-validate logistic regression on a store's normalised features; write the head trained on all rows.

    Args:
        store: folder of a feature store whose rows have labels.
        output: file of the head, or None to write none.
        folds: stratified folds; fewer where a class has fewer rows.
        seed: of the shuffle.
        layer: a further layer's name; the default one unless given.

    Raises:
        StoreError: the store has no labels, one class only, or a class with one row.
    """
    opened = FeatureStore.open(store)
    names = opened.labels()
    labelled = np.array([name is not None for name in names], bool)
    counts = Counter(name for name in names if name is not None)
    folds = _check_classes(opened, counts, folds)
    classes = sorted(counts)
    number = {name: i for i, name in enumerate(classes)}
    wanted = np.array([number[name] for name in names if name is not None])
    vectors = logistic.normalise(opened.vectors(layer=layer)[labelled])
    predicted = logistic.cross_validate(vectors, wanted, folds, seed)
    right = predicted == wanted
    accuracy = wilson(int(right.sum()), len(right))
    if output is not None:
        weights, bias = logistic.weights(logistic.fit(vectors, wanted))
        facts = HeadFacts(
            space=opened.provenance.space,
            source=opened.provenance.source,
            kind="logistic",
            classes=tuple(classes),
            accuracy=asdict(accuracy),
            rows=len(wanted),
            layer=layer,
            versions={"scikit-learn": version("scikit-learn"), "fxengine": version("fxengine")},
        )
        save_linear(output, weights, bias, facts)
    return ProbeReport(
        accuracy=accuracy,
        chance=max(counts.values()) / len(wanted),
        rows=len(wanted),
        classes={name: counts[name] for name in classes},
        recall={name: float(right[wanted == i].mean()) for i, name in enumerate(classes)},
        folds=folds,
        head=None if output is None else str(output),
    )


def _check_classes(store: FeatureStore, counts: Counter[str], folds: int) -> int:
    if not counts:
        raise StoreError(
            f"No row of {store.path} has a label. Labels come from folders: photos/cats/, photos/dogs/, two or more."
        )
    if len(counts) == 1:
        raise StoreError(
            f"All labelled rows of {store.path} are of one class ({next(iter(counts))!r}): nothing to tell apart."
        )
    rarest, fewest = min(counts.items(), key=lambda pair: pair[1])
    if fewest < 2:
        raise StoreError(f"Class {rarest!r} has one row; cross-validation needs at least two of each class.")
    return min(folds, fewest)
