"""Ranks backbones or layers on the user's own labels, with the same rows in the same folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones import find_space
from fxengine.backbones.spec import BackboneFile
from fxengine.collect.item import unescape_path
from fxengine.collect.paths import several
from fxengine.decode import preparer_of
from fxengine.errors import FxError, InputError, StoreError, at_least, check_seed, one_of
from fxengine.execute import open_session, usable_cores
from fxengine.features.blocks import Say
from fxengine.features.read import FeatureStore
from fxengine.features.unit import unit_length
from fxengine.heads import HEADS, HeadSettings
from fxengine.heads.classes import one_hot
from fxengine.heads.evaluate.interval import Interval
from fxengine.heads.evaluate.scores import DECIDES, Problem, assign_folds, interval_of
from fxengine.heads.evaluate.transferability import log_me
from fxengine.pipeline.rate import warm_rows_per_second
from fxengine.probing.targets import Labelled, check_enough, load_targets
from fxengine.probing.trainer import Trainer
from fxengine.probing.vectors import NEAR, Vectors, load_vectors, threshold

_SCORED_ROWS = 3000  # that the transferability score is computed of, at most
_TIMED_SECONDS = 1.0


@dataclass(frozen=True)
class Candidate:
    """One store's vectors, or those of one of its layers.

    Attributes:
        store: folder of the store.
        source: the backbone that made it.
        layer: a further layer's name, or None.
        score: on rows that the head was not trained on.
        log_me: transferability without training; higher is better.
        dim: numbers of a vector.
        images_per_second: of the backbone, measured now on this machine, of texts those of 64 tokens; None where the
            backbone, or what prepares its inputs, is not to be had.
        multiply_adds: of the backbone for one picture, or for one token of a text; None likewise.
    """

    store: str
    source: str
    layer: str | None
    score: Interval
    log_me: float
    dim: int
    images_per_second: float | None
    multiply_adds: int | None


@dataclass(frozen=True)
class Comparison:
    """Candidates, the best first.

    Attributes:
        candidates: the ranking.
        metric: what their scores are.
        head: the head that was trained on each.
        rows: that all of them have.
        folds: of the cross-validation.
        notes: how many labels of a file fit, what was left out, and which net may have learned from these very rows,
            a sentence each.
        modality: what the first store holds, "picture" or "text".
    """

    candidates: list[Candidate]
    metric: str
    head: str
    rows: int
    folds: int
    notes: tuple[str, ...] = ()
    modality: str = "picture"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def compare(
    stores: str | Path | Sequence[str | Path],
    *,
    labels: str | Path | None = None,
    head: str | None = None,
    folds: int = 5,
    seed: int = 0,
    near: float = NEAR,
    progress: Say | None = None,
) -> Comparison:
    """Cross-validate one head on every store and each of its layers, over the rows that all stores have.

    Near-duplicates are looked for in the first store's vectors, and the folds made there serve all.

    Args:
        stores: folders of feature stores of the same pictures or texts, or one.
        labels: as for a probe.
        head: as for a probe, without "auto".
        folds: of the cross-validation.
        seed: of the folds.
        near: cosine of two centred vectors from which they are near-duplicates; over 1 for no such groups.
        progress: called with a sentence every few seconds, and for every candidate.

    Raises:
        InputError: no store, no common row, or stores that disagree about labels.
        StoreError: as for a probe.
    """
    at_least("folds", folds, 2)
    check_seed(seed)
    floor = threshold(near)
    if head is not None:
        one_of("head", head, HEADS)
    opened = [FeatureStore.open(store) for store in several("stores", stores)]
    if not opened:
        raise InputError("Give one store or several.")
    labelled = _common([load_targets(store, labels) for store in opened], opened)
    folds = check_enough(labelled[0], opened[0], folds)
    first = load_vectors(opened[0], labelled[0], floor)
    problem, fold = first.problem, assign_folds(first.problem, folds, seed)
    name = head or ("ridge" if first.x is None or problem.kind == "numbers" else "logistic")
    trainer, found, tuned = Trainer(name, HeadSettings(seed=seed), progress=progress), list[Candidate](), list[str]()
    for store, rows in zip(opened, labelled, strict=True):
        backbone = _backbone(store)
        rate = None if backbone is None else _rate(backbone)
        tuned += _seen(store, backbone)
        for layer in (None, *store.provenance.layers):
            vectors = load_vectors(store, replace(rows, problem=problem), None, layer)
            found.append(_candidate(trainer, vectors, fold, backbone, rate))
            if progress is not None:
                progress(f"{store.called} {layer or ''}".strip() + f": {found[-1].score}")
    found.sort(key=lambda candidate: -candidate.score.mean)
    notes = tuple(dict.fromkeys([*(note for each in labelled for note in each.notes), *tuned]))
    modality = opened[0].provenance.modality
    return Comparison(found, DECIDES[problem.kind], name, len(fold), folds, notes, modality)


def _common(labelled: list[Labelled], stores: list[FeatureStore]) -> list[Labelled]:
    """Return the rows that all stores have, in the same order."""
    shared = set(labelled[0].ids).intersection(*(each.ids for each in labelled[1:]))
    if not shared:
        origin = _origin(stores[0])
        raise InputError(
            f"No labelled row is in all stores: were they made from the same {origin} ({stores[0].called})?"
        )
    kept = [each.take(np.flatnonzero([key in shared for key in each.ids])) for each in labelled]
    for each, store in zip(kept[1:], stores[1:], strict=True):
        if each.problem.names != kept[0].problem.names or not np.array_equal(each.problem.y, kept[0].problem.y):
            raise StoreError(
                f"{store.called} has other labels than {stores[0].called}: run `fxengine extract` again on both."
            )
    return kept


def _origin(store: FeatureStore) -> str:
    return "table" if store.provenance.read_columns else "folder"


def _candidate(
    trainer: Trainer, rows: Vectors, fold: np.ndarray, backbone: BackboneFile | None, rate: float | None
) -> Candidate:
    answers = trainer.cross_validate(rows, fold).answers
    x, problem = rows.sample(_SCORED_ROWS, trainer.settings.seed)
    return Candidate(
        store=rows.store.called,
        source=rows.store.provenance.source,
        layer=rows.layer,
        score=interval_of(rows.problem, [answers], folds=int(fold.max()) + 1),
        log_me=log_me(unit_length(x), _targets(problem)),
        dim=rows.dim,
        images_per_second=rate,
        multiply_adds=None if backbone is None else backbone.facts.multiply_adds,
    )


def _targets(problem: Problem) -> np.ndarray:
    if problem.kind == "classes":
        return np.asarray(one_hot(problem.y, len(problem.names)).toarray())
    return np.asarray(problem.y, np.float64)


def _backbone(store: FeatureStore) -> BackboneFile | None:
    try:
        return find_space(store.provenance.space, store.provenance.source)
    except FxError:
        return None


def _seen(store: FeatureStore, backbone: BackboneFile | None) -> list[str]:
    """Return a sentence where a net was fine-tuned on what the store was made from: it knows labels by heart."""
    tuned = {} if backbone is None else backbone.facts.notes.get("tuned", {})
    if not isinstance(tuned, dict) or tuned.get("on") != unescape_path(store.provenance.root):
        return []
    return [
        f"{store.called}: its net was fine-tuned on rows of {tuned['on']}, so its score here is too good; what counts "
        "is the test score that the fine-tuning told."
    ]


def _rate(backbone: BackboneFile) -> float | None:
    """Return inputs a second of the backbone alone, in fp32 on this machine; None where nothing prepares them here."""
    try:
        preparer = preparer_of(backbone)
    except InputError:
        return None
    session = open_session(backbone.path, "auto", streams=usable_cores())
    return round(warm_rows_per_second(session, preparer, _TIMED_SECONDS), 1)
