"""Trains a head on a store's features and says how well it does.

rows with a target -> groups of near-duplicates -> folds -> out-of-fold answers -> scores; then the head of all rows
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import numpy as np
import onnx

from fxengine.collect.item import SPLITS, unescape_path
from fxengine.errors import InputError, StoreError, at_least, check_seed, one_of, path_of
from fxengine.features.blocks import Say
from fxengine.features.read import FeatureStore
from fxengine.heads import HEADS, WEIGHTED, HeadPipeline, HeadSettings, Kind, head_model, heads_for, load_head
from fxengine.heads.evaluate.answers import Answers
from fxengine.heads.evaluate.interval import Interval
from fxengine.heads.evaluate.learning_curve import extrapolate, learning_curve
from fxengine.heads.evaluate.scores import Problem, assign_folds, interval_of
from fxengine.heads.file import HeadFacts, save_head
from fxengine.heads.streams.streamed import streamed_for
from fxengine.probing.beside import beside_zero_shot, open_zero_shot
from fxengine.probing.copies import copies_across, copies_within
from fxengine.probing.report import Answered, Curve, ProbeReport, describe
from fxengine.probing.targets import Labelled, check_enough, load_targets, without_single_rows
from fxengine.probing.trainer import Trainer, answers_in_blocks, can_fit, check_pca
from fxengine.probing.vectors import NEAR, Vectors, load_vectors, threshold
from fxengine.storage import shown

_CURVE_ROWS = 5000  # that a learning curve is computed of, at most


@dataclass(frozen=True)
class ProbeOptions:
    """How to probe.

    Attributes:
        head: a key of `fxengine.heads.HEADS`, "auto", or None: logistic regression (ridge for numbers) where the
            vectors fit into memory, else ridge.
        kind: what to predict; see `fxengine.probing.targets.load_targets`.
        folds: of the cross-validation.
        repeats: times that it is done, with other folds.
        seed: of everything random.
        layer: a further layer's name.
        balanced: whether every class counts as much, whatever its rows.
        calibrate: whether to scale probabilities by the temperature with the least log loss.
        pca: components to reduce vectors to before the head; 0 for none.
        hidden: units of each dense layer of the head "mlp", one to three layers; its own unless given.
        near: cosine of two centred vectors from which they are near-duplicates, which stay in one fold; over 1 for
            no such groups.
        split: train on the rows of the store's split "train" (or "training") and evaluate on those of its other splits.
        test: instead evaluate on this store.
        budget: seconds after which "auto" tries no further head.
        curve: whether to compute the learning curve.
        zeroshot: the file of a zero-shot head to score on the same rows, with from how many labels on training wins.
    """

    head: str | None = None
    kind: Kind | None = None
    folds: int = 5
    repeats: int = 1
    seed: int = 0
    layer: str | None = None
    balanced: bool = False
    calibrate: bool = False
    pca: int = 0
    hidden: tuple[int, ...] = ()
    near: float = NEAR
    split: bool = False
    test: str | Path | None = None
    budget: float = 60.0
    curve: bool = False
    zeroshot: str | Path | None = None

    def __post_init__(self) -> None:
        if self.head is not None:
            one_of("head", self.head, ("auto", *HEADS))
        if self.kind is not None:
            one_of("kind", self.kind, get_args(Kind))
        for name, least in {"folds": 2, "repeats": 1, "pca": 0}.items():
            at_least(name, getattr(self, name), least)
        for units in self.hidden:
            at_least("hidden", units, 1)
        check_seed(self.seed)
        threshold(self.near)


@dataclass(frozen=True)
class _Evaluated:
    """One head's answers on rows that it was not trained on; its pipeline where that came along."""

    score: Interval
    answers: Answers
    scale: float
    pipeline: HeadPipeline | None


@dataclass(frozen=True)
class Probe:
    """A head that was trained on a store, with what it is worth.

    Attributes:
        facts: what the head's file says of it.
        model: the head, from features to answers.
    """

    facts: HeadFacts
    model: onnx.ModelProto
    _report: ProbeReport

    @classmethod
    def fit(
        cls,
        store: str | Path | FeatureStore,
        *,
        labels: str | Path | None = None,
        head: str | None = None,
        options: ProbeOptions | None = None,
        progress: Say | None = None,
    ) -> Probe:
        """Evaluate a head and train it on all rows.

        Args:
            store: a feature store, or a selection of one.
            labels: None for the store's own; else FILE, FILE:COLUMN or FILE:A,B,C, joined by id.
            head: a key of `fxengine.heads.HEADS`, or "auto".
            options: everything else.
            progress: called with a sentence every few seconds, and for every head where several are tried.

        Raises:
            StoreError: there are no targets, one class only, a class with one row, fewer rows than folds, or vectors
                that are not finite.
            InputError: an option, or the file of labels, cannot be used.
        """
        opened = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
        wanted = options or ProbeOptions()
        return _fit(opened, labels, wanted if head is None else replace(wanted, head=head), progress)

    @property
    def score(self) -> Interval:
        """The score on rows that it was not trained on, with its 95% interval."""
        return self._report.score

    def report(self) -> ProbeReport:
        """Return everything that was found out."""
        return self._report

    def save(self, path: str | Path) -> ProbeReport:
        """Write the head as one ONNX file; return the report with its path.

        Raises:
            InputError: the path does not end in .onnx, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix != ".onnx":
            raise InputError(f"`output` {path} must end in .onnx.")
        save_head(path, self.model, self.facts)
        return replace(self._report, output=shown(path))


def probe(
    store: str | Path,
    output: str | Path | None = None,
    *,
    labels: str | Path | None = None,
    kind: Kind | None = None,
    head: str | None = None,
    pca: int = 0,
    hidden: int | Sequence[int] = (),
    balanced: bool = False,
    calibrate: bool = False,
    budget: float = 60.0,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    split: bool = False,
    test: str | Path | None = None,
    near: float = NEAR,
    curve: bool = False,
    zeroshot: str | Path | None = None,
    layer: str | None = None,
    progress: Say | None = None,
) -> ProbeReport:
    """Evaluate a head on a store's features, and write the one trained on all rows to `output`.

    Args:
        store: folder of a feature store.
        output: the .onnx file to write the head to; None writes none.
        labels: None for the store's own; else FILE, FILE:COLUMN or FILE:A,B,C, joined by id.
        kind: see `ProbeOptions`, as all of the others.
        head: a kind of head.
        pca: components to reduce vectors to before it.
        hidden: units of the layers of the head "mlp", one or a list.
        balanced: let every class count as much.
        calibrate: give calibrated probabilities, scaled to the least log loss.
        budget: seconds that the head "auto" may try.
        folds: of the cross-validation.
        repeats: times, with other folds.
        seed: of the folds.
        split: train on the split "train", evaluate on the others.
        test: folder of a store to evaluate on instead.
        near: cosine from which rows stay in one fold.
        curve: compute the learning curve.
        zeroshot: a zero-shot head's file, to score on the same rows.
        layer: a further layer's name; the default one unless given.
        progress: called with a sentence every few seconds, and for every head where several are tried.

    Raises:
        StoreError, InputError: as `Probe.fit`; `output` does not end in .onnx, or cannot be written.
    """
    output = None if output is None else path_of("output", output)
    if output is not None and output.suffix != ".onnx":
        raise InputError(f"`output` {output} must end in .onnx.")
    layers = tuple(hidden) if isinstance(hidden, Sequence) else (hidden,)
    options = ProbeOptions(
        head, kind, folds, repeats, seed, layer, balanced, calibrate, pca, layers, near, split, test, budget, curve,
        zeroshot,
    )  # fmt: skip
    made = Probe.fit(store, labels=labels, options=options, progress=progress)
    return made.report() if output is None else made.save(output)


def _fit(store: FeatureStore, labels: str | Path | None, options: ProbeOptions, progress: Say | None) -> Probe:
    begin = time.perf_counter()
    known = load_targets(store, labels, options.kind)
    if options.test is None:
        known = without_single_rows(known)
    train, test = _train_and_test(store, labels, known, options)
    folds = check_enough(train.labelled, store, options.folds)
    fold = assign_folds(train.problem, folds, options.seed)
    names = _fitting(_heads(options, train), train, fold)
    untrained = None if options.zeroshot is None else open_zero_shot(options.zeroshot, train)
    if options.pca:
        check_pca(options.pca, train, fold, _CURVE_ROWS if options.curve else None)
    found: dict[str, _Evaluated] = {}
    for name in names:
        if not found or time.perf_counter() - begin < options.budget:
            found[name] = _evaluate(_trainer(name, options, progress), train, test, folds, options)
            if progress is not None and len(names) > 1:
                progress(f"{name}: {found[name].score} after {time.perf_counter() - begin:.0f} s")
    best = _simplest({name: each.score for name, each in found.items()})
    chosen, trainer, evaluated = found[best], _trainer(best, options, progress), test or train
    problem = train.problem
    pipeline = chosen.pipeline or trainer.train(train, fold)
    model = head_model(best, pipeline, train.dim, problem.kind, len(problem.names), chosen.scale)
    report = describe(
        Answered(evaluated.problem, chosen.answers, evaluated.labelled.ids),
        head=best,
        score=chosen.score,
        evaluation=_in_words(options, folds),
        trained_on=len(problem.y),
    )
    if test is None:
        copies = copies_within(trainer, train, folds, options.seed)
    else:
        copies = copies_across(chosen.answers, train, test, threshold(options.near))
    report = replace(
        report,
        duplicates=copies.rows,
        ungrouped=copies.ungrouped,
        without_copies=copies.without,
        curve=_curve(trainer, train, folds, options) if options.curve else None,
        zero_shot=None if untrained is None else beside_zero_shot(untrained, trainer, train, test, fold, options.seed),
        tried={name: each.score for name, each in found.items()},
        notes=tuple(dict.fromkeys((*known.notes, *evaluated.labelled.notes, *_uncalibrated(chosen, problem, options)))),
    )
    root = unescape_path(store.provenance.root)
    report = replace(report, store=store.called, root=root, seconds=round(time.perf_counter() - begin, 3))
    return Probe(_facts(store, report, problem, options), model, report)


def _train_and_test(
    store: FeatureStore, labels: str | Path | None, known: Labelled, options: ProbeOptions
) -> tuple[Vectors, Vectors | None]:
    """Return the rows to train on, and those to evaluate on where they are others."""
    if options.split and options.test is not None:
        raise InputError("Give either `split` or `test`.")
    near = threshold(options.near)
    if options.test is not None:
        other = FeatureStore.open(options.test)
        if other.provenance.space != store.provenance.space:
            raise StoreError(f"{other.called} holds features of another space than {store.called}: extract it anew.")
        names = known.problem.names if known.problem.kind == "classes" else None
        tested = load_targets(other, labels, known.problem.kind, names)
        return load_vectors(store, known, near, options.layer), load_vectors(other, tested, None, options.layer)
    if not options.split:
        return load_vectors(store, known, near, options.layer), None
    train = np.array([SPLITS.get((split or "").lower()) == "train" for split in known.splits], bool)
    test = np.array([split is not None for split in known.splits], bool) & ~train
    if not train.any() or not test.any():
        there = ", ".join(sorted({split for split in known.splits if split})) or "none"
        raise StoreError(f"{store.called} needs a split 'train' and another one for `split`. There is: {there}.")
    return (
        load_vectors(store, known.take(np.flatnonzero(train)), near, options.layer),
        load_vectors(store, known.take(np.flatnonzero(test)), None, options.layer),
    )


def _heads(options: ProbeOptions, rows: Vectors) -> list[str]:
    """Return the heads to try, the simplest first."""
    kind = rows.problem.kind
    if options.hidden and options.head != "mlp":
        raise InputError("`hidden` gives the layers of the `head` mlp: take that head, or leave it away.")
    there = WEIGHTED[kind] if options.balanced else heads_for(kind)
    if options.head == "auto":
        names = [name for name in there if rows.x is not None or name in streamed_for(kind)]
    elif options.head is not None:
        load_head(options.head, kind)
        names = [options.head]
    else:
        names = ["ridge"] if rows.x is None or kind == "numbers" else ["logistic"]
    if not set(names) & set(there):
        which = f"of {kind} with the `head` {' or '.join(there)}" if there else "for classes and labels only"
        raise InputError(f"`balanced` can be had {which}. Got {options.head or names[0]}.")
    return names


def _fitting(names: list[str], rows: Vectors, fold: np.ndarray) -> list[str]:
    """Return those of the heads that the rows of every fold suffice for; raises InputError where that is none."""
    fitting = [name for name in names if can_fit(name, rows.problem, fold)]
    if not fitting:
        raise InputError(
            f"The head {names[0]} needs more rows than there are classes, also without one of the folds: {len(fold)} "
            f"rows of {len(rows.problem.names)} classes are too few. Label more, or take another `head`."
        )
    return fitting


def _trainer(name: str, options: ProbeOptions, progress: Say | None) -> Trainer:
    settings = HeadSettings(options.balanced, options.seed, options.pca, options.hidden)
    return Trainer(name, settings, options.calibrate, progress)


def _evaluate(trainer: Trainer, train: Vectors, test: Vectors | None, folds: int, options: ProbeOptions) -> _Evaluated:
    """Return the answers for `test`, or without one those of a cross-validation, done as often as asked for."""
    fold = assign_folds(train.problem, folds, options.seed)
    if test is not None:
        pipeline = trainer.train(train, fold)
        scale = trainer.cross_validate(train, fold).scale if options.calibrate else 1.0
        answers = answers_in_blocks(pipeline, test, scale)
        return _Evaluated(interval_of(test.problem, [answers]), answers, scale, pipeline)
    first = trainer.cross_validate(train, fold)
    repeats: list[Answers] = [first.answers]
    for repeat in range(1, options.repeats):
        again = assign_folds(train.problem, folds, (options.seed + repeat) % (1 << 32))
        repeats.append(trainer.cross_validate(train, again).answers)
    return _Evaluated(interval_of(train.problem, repeats, folds=folds), first.answers, first.scale, first.pipeline)


def _uncalibrated(chosen: _Evaluated, problem: Problem, options: ProbeOptions) -> tuple[str, ...]:
    """Return the sentence that probabilities which were to be calibrated are left as they are, where they are."""
    if not options.calibrate or chosen.scale != 1.0:
        return ()
    if problem.kind != "classes":
        return (f"`calibrate` scales probabilities of classes; these are {problem.kind}, and stay as they are.",)
    return ("Probabilities stay as they are: scaling them does not lower the log loss by more than chance.",)


def _simplest(scores: dict[str, Interval]) -> str:
    """Return the first, that is the simplest, head whose score lies in the interval of the best one."""
    best = max(scores.values(), key=lambda interval: interval.mean)
    return next(name for name, interval in scores.items() if interval.mean >= best.low)


def _curve(trainer: Trainer, rows: Vectors, folds: int, options: ProbeOptions) -> Curve:
    x, problem = rows.sample(_CURVE_ROWS, options.seed)
    curve = learning_curve(
        partial(trainer.make_for, problem), x, problem, assign_folds(problem, folds, options.seed), options.seed
    )
    beyond = [len(rows.problem.y) * times for times in (1, 2, 4)]
    expected = tuple((n, extrapolate(curve, n, options.seed)) for n in beyond)
    return Curve(tuple(curve.rows.tolist()), tuple(curve.means.tolist()), expected)


def _in_words(options: ProbeOptions, folds: int) -> str:
    if options.test is not None:
        return f"on {options.test}"
    if options.split:
        return "on the rows of the other splits than train"
    return f"{folds}-fold cross-validation" + (f", {options.repeats} times" if options.repeats > 1 else "")


def _facts(store: FeatureStore, report: ProbeReport, problem: Problem, options: ProbeOptions) -> HeadFacts:
    return HeadFacts(
        space=store.provenance.space,
        source=store.provenance.source,
        kind=report.head,
        classes=problem.names,
        accuracy=asdict(report.score),
        rows=report.trained_on,
        versions={"scikit-learn": version("scikit-learn"), "fxengine": version("fxengine")},
        layer=options.layer,
        predicts=problem.kind,
        metric=report.metric,
        store=store.place,
    )
