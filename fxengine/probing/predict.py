"""Says what pictures or texts are: by the backbone's own classes, or by a head trained on a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from fxengine.backbones import DEFAULT, DEFAULT_OF_TEXTS, find_space, load_backbone, load_for_space
from fxengine.backbones.spec import LOGITS_OUTPUT, SPANS_OUTPUT, BackboneFile, TextRecipe, layer_output
from fxengine.backbones.tokenizer import tokenizer_in
from fxengine.collect import Listing, TextColumns
from fxengine.collect.item import columns_refused
from fxengine.collect.opened import holds_pictures
from fxengine.collect.paths import names_of
from fxengine.decode import preparer_of
from fxengine.decode.limits import usual_limits
from fxengine.decode.text.tokenizer import open_tokenizer
from fxengine.errors import InputError, StoreError, at_least, path_of
from fxengine.execute import usable_cores
from fxengine.features.crash_note import CrashNote
from fxengine.features.parts import is_store
from fxengine.features.read import FeatureStore
from fxengine.features.table_file import check_suffix
from fxengine.features.texts import beginning
from fxengine.heads.file import Head
from fxengine.pipeline.given_texts import GivenTexts
from fxengine.pipeline.lookahead import readers_of
from fxengine.pipeline.precision import Wish, open_chosen
from fxengine.pipeline.suited import WANTED, collect_for, is_table
from fxengine.pipeline.summary import Progress, Watch
from fxengine.pipeline.threads import Batch, Job, Pipeline, Steps
from fxengine.pipeline.units import Task
from fxengine.probing.prediction import Counts, Prediction, Predictions
from fxengine.probing.predictions_file import write_predictions
from fxengine.probing.spans import softmax, spans_of


def predict(
    inputs: str | Path | None = None,
    *,
    text: str | Sequence[str] = (),
    column: str | None = None,
    id_column: str | None = None,
    containers: bool = False,
    boxes: str | Path | None = None,
    margin: float = 0.0,
    frames: str | None = None,
    allow_private: bool = False,
    model: str | Path | None = None,
    backbone: str | Path | None = None,
    top: int = 5,
    spans: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    limit: int | None = None,
    output: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    notes: Path | None = None,
) -> Predictions:
    """Return a prediction for every input below `inputs`, by id, or for every row of a store, failed rows last.

    Args:
        inputs: a folder of pictures, one picture, a tar, a zip, a Parquet file of pictures, a video, what lies in a
            bucket or at an address, or a feature store (then `model` is needed). Where the backbone of
            the head takes texts: a table of texts, a .txt of a text a line, or a folder of .txt files of a text each.
        text: instead, a text or several, in the order given; the id of each is the text itself in a line, shortened to
            60 characters.
        column: of a table, the column of the texts, the only one, or the one called "text", unless given; of a Parquet
            file of pictures, that of the pictures.
        id_column: of a table, the column of the rows' ids; the file's name and the row's number, from 0, unless given.
        containers: open tars, zips and Parquet files of pictures that lie in a folder, too.
        boxes: a file or folder of boxes in the pictures, as for `extract`: each is predicted by itself.
        margin: what is taken around a box, as a share of its edges.
        frames: which frames of videos, as for `extract`.
        allow_private: read an address that lies in a private network, too.
        model: a head file; without one the backbone's own classes are used.
        backbone: a name or file; with `model` only where its space is not found otherwise.
        top: how many classes to name.
        spans: find spans in texts (named entities) instead of saying what each is as a whole; wants a backbone that
            says something of every token.
        device: "auto", "cpu", "cuda" or "tensorrt".
        precision: what the backbone computes in: "fp32", "bf16", "fp16", "int8", or "auto" as in `extract`.
        limit: only the first so many inputs.
        output: a .json, .csv or .parquet file that the predictions are written to as they come, in memory of one size;
            without one all are returned.
        progress: called after every batch of inputs.
        cancel: asked after every batch of inputs; True ends the predictions there.
        notes: a folder to note in what is being decoded: after a decoder has taken the process down, a run that is
            given the same folder decodes the suspected files apart.

    Raises:
        InputError: the inputs cannot be read, or are no such as the backbone takes, the backbone has no classes of its
            own or finds no spans, or `output` cannot be written.
        StoreError: the head belongs to another feature space than the store.
    """
    if output is not None:
        check_suffix(output)
    at_least("top", top, 1)
    if limit is not None:
        at_least("limit", limit, 1)
    wish, watch = Wish(precision, device), Watch(progress, cancel)
    asked = _Asked(
        None if inputs is None else path_of("inputs", inputs),
        names_of("text", text),
        TextColumns(column, id_column),
        limit,
        containers,
        None if boxes is None else path_of("boxes", boxes),
        margin,
        frames,
        allow_private,
    )
    if spans:
        found = _spans(asked, model, backbone, wish, watch)
    else:
        found = _predictions(asked, model, backbone, top, wish, watch, notes)
    predictions: tuple[Prediction, ...] = ()
    if output is not None:
        counts = write_predictions(found, output, spans=spans)
    else:
        predictions = tuple(found)
        counts = Counts().plus(predictions)
    return Predictions(
        predictions,
        counts.count,
        counts.failed,
        None if output is None else str(output),
        counts.truncated,
        counts.spans if spans else None,
    )


@dataclass(frozen=True)
class _Asked:
    """What is to be predicted: inputs, or texts by themselves; the first so many of them."""

    inputs: Path | None
    texts: tuple[str, ...]
    columns: TextColumns
    limit: int | None
    containers: bool
    boxes: Path | None
    margin: float
    frames: str | None
    allow_private: bool

    def __post_init__(self) -> None:
        if (self.inputs is None) == (not self.texts):
            raise InputError("Give `inputs` or `text`, one of the two.")
        if self.texts and self.columns != TextColumns():
            raise columns_refused("What is given as `text` is no table.")

    @property
    def modality(self) -> str:
        """What they are, as far as can be told without a backbone."""
        named = bool(self.texts) or (self.columns != TextColumns() and not self._is_of_pictures())
        return "text" if named or (self.inputs is not None and is_table(self.inputs)) else "picture"

    def _is_of_pictures(self) -> bool:
        return self.inputs is not None and holds_pictures(self.inputs)

    def listing(self, found: BackboneFile) -> Listing:
        """Return what a backbone is to take of it."""
        if self.inputs is None:
            return GivenTexts(self.texts)
        return collect_for(
            found,
            self.inputs,
            self.columns,
            containers=self.containers,
            boxes=self.boxes,
            margin=self.margin,
            frames=self.frames,
            allow_private=self.allow_private,
        )


def _predictions(
    asked: _Asked,
    model: str | Path | None,
    backbone: str | Path | None,
    top: int,
    wish: Wish,
    watch: Watch,
    notes: Path | None,
) -> Iterator[Prediction]:
    head = None if model is None else Head.load(path_of("model", model))
    if asked.inputs is not None and _is_store(asked.inputs):
        if head is None:
            raise InputError(f"{asked.inputs} is a feature store: give a head as `model`, or give what to predict for.")
        if asked.columns != TextColumns():
            raise columns_refused(f"{asked.inputs} is a feature store.")
        return islice(_from_store(FeatureStore.open(asked.inputs), head, top), asked.limit)
    found = _backbone(head, backbone, DEFAULT if asked.modality == "picture" else DEFAULT_OF_TEXTS)
    if asked.texts and found.recipe.modality != "text":
        raise InputError(f"`text` is given, and {found.facts.name} takes pictures: give {WANTED['picture']}.")
    namer = _own_namer(found, top) if head is None else _head_namer(head, top)
    return _from_inputs(_Run(asked, found, wish, notes), namer, watch)


def _spans(
    asked: _Asked, model: str | Path | None, backbone: str | Path | None, wish: Wish, watch: Watch
) -> Iterator[Prediction]:
    if model is not None:
        raise InputError("`model` says what a text is as a whole: leave it, or `spans`, away.")
    if asked.inputs is not None and _is_store(asked.inputs):
        raise InputError(f"{asked.inputs} is a feature store, which has no tokens: `spans` are found in the texts.")
    found = load_backbone(backbone or DEFAULT_OF_TEXTS)
    if not found.facts.span_labels:
        raise InputError(
            f"{found.facts.name} says nothing of tokens: `spans` want a net of named entities as `backbone`, such as "
            "hf:Xenova/bert-base-NER."
        )
    return _from_inputs(_Run(asked, found, wish, None), _span_namer(found), watch)


def _is_store(source: str | Path) -> bool:
    with suppress(OSError, StoreError):  # a name that is too long to be one, a bucket: who lists the pictures says so
        return is_store(Path(source))
    return False


def _backbone(head: Head | None, backbone: str | Path | None, usual: str) -> BackboneFile:
    if head is None:
        found = load_backbone(backbone or usual)
        if not found.facts.classes:
            further = "; or find `spans` by it" if found.facts.span_labels else ""
            raise InputError(
                f"{found.facts.name} has no classes of its own: train a head (fxengine probe), give it as `model`"
                f"{further}."
            )
        return found
    if backbone is None:
        found, name = find_space(head.facts.space, head.facts.source), f"its backbone {head.facts.source}"
    else:
        found, name = load_for_space(backbone, head.facts.space), f"`backbone` {backbone}"
    head.check_backbone(found, name)
    return found


def _from_store(store: FeatureStore, head: Head, top: int) -> Iterator[Prediction]:
    head.check_space(store.provenance.space, store.called)
    for table in store.batches(layer=head.facts.layer):
        yield from _name(table.keys, head.answers(table.vectors), head.facts.classes, top, head.facts.predicts)
    for failed in store.errors():
        yield Prediction(failed["id"], (), (), failed["error"])


@dataclass(frozen=True)
class _Namer:
    """Names rows: which output of the graph it takes, and what it makes of the rows of these jobs."""

    output: str
    name: Callable[[Sequence[Job], np.ndarray], Iterator[Prediction]]


def _own_namer(found: BackboneFile, top: int) -> _Namer:
    classes = found.facts.classes
    return _Namer(LOGITS_OUTPUT, lambda jobs, logits: _name(_keys(jobs), softmax(logits), classes, top, "classes"))


def _head_namer(head: Head, top: int) -> _Namer:
    facts = head.facts
    return _Namer(
        layer_output(facts.layer),
        lambda jobs, vectors: _name(_keys(jobs), head.answers(vectors), facts.classes, top, facts.predicts),
    )


def _span_namer(found: BackboneFile) -> _Namer:
    recipe, labels = found.recipe, found.facts.span_labels
    assert isinstance(recipe, TextRecipe), "its facts say so"
    tokenizer, before = open_tokenizer(tokenizer_in(found), recipe.max_tokens), len(recipe.prompt)
    tokenizer.words([])  # one that cannot is refused before a long run

    def name(jobs: Sequence[Job], logits: np.ndarray) -> Iterator[Prediction]:
        texts = [recipe.prompt + str(job.filled.further["text"]) for job in jobs]
        for job, text, words, rows in zip(jobs, texts, tokenizer.words(texts), logits, strict=True):
            own = [
                word._replace(start=word.start - before, end=word.end - before)
                for word in words
                if word.start >= before
            ]
            if np.isfinite(rows).all():
                yield Prediction(job.item.key, (), (), spans=spans_of(text[before:], own, rows, labels))
            else:
                yield Prediction(job.item.key, (), (), "The net gives a number that is not finite.")

    return _Namer(SPANS_OUTPUT, name)


def _keys(jobs: Sequence[Job]) -> list[str]:
    return [job.item.key for job in jobs]


@dataclass(frozen=True)
class _Run:
    """A run over inputs."""

    asked: _Asked
    found: BackboneFile
    wish: Wish
    notes: Path | None


def _from_inputs(run: _Run, namer: _Namer, watch: Watch) -> Iterator[Prediction]:
    limits, threads, limit = usual_limits(run.found.recipe.modality), usable_cores(), run.asked.limit
    preparer = preparer_of(run.found, limits)  # before a long table is read: what it needs may not be installed
    inputs = run.asked.listing(run.found)
    count = inputs.count()
    total = count if limit is None else min(count, limit)
    session, _ = open_chosen(run.found, inputs, total, run.wish)
    steps = Steps(inputs.read, limits.max_bytes, preparer, session, (namer.output,), readers_of(inputs.root))
    done, failed, begin = 0, 0, time.perf_counter()
    notes = None if run.found.recipe.modality == "text" else run.notes  # no text takes a decoder down
    with closing(session), _noted(notes, threads) as note:
        pipeline = Pipeline(steps, threads, note=note)
        with closing(pipeline.results(map(Task, islice(inputs, limit)))) as batches:
            for batch in batches:
                yield from _name_batch(batch, namer)
                done += len(batch.jobs)
                failed += sum(job.error is not None for job in batch.jobs)
                if watch.tell(Progress(done, failed, total, time.perf_counter() - begin)):
                    break


def _name_batch(batch: Batch, namer: _Namer) -> Iterator[Prediction]:
    fine = [job for job in batch.jobs if job.error is None]
    named: Iterator[Prediction] = iter(())
    if fine:
        named = namer.name(fine, batch.outputs[namer.output][[job.slot for job in fine]])
    for job in batch.jobs:
        if job.error is not None:
            yield Prediction(job.item.key, (), (), str(job.error))
            continue
        told, found = job.filled.further, next(named)
        if "text" in told:
            found = replace(found, text=beginning(str(told["text"])), truncated=bool(told["truncated"]))
        yield found


@contextmanager
def _noted(folder: Path | None, threads: int) -> Iterator[CrashNote | None]:
    if folder is None:
        yield None
        return
    with closing(CrashNote(folder, threads)) as note:
        yield note


def _name(
    keys: Sequence[str], probabilities: np.ndarray, classes: Sequence[str], top: int, predicts: str
) -> Iterator[Prediction]:
    if predicts == "numbers":
        for key, row in zip(keys, probabilities, strict=True):
            yield Prediction(key, tuple(classes), (), values=tuple(map(float, row)))
        return
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    for key, row, order in zip(keys, probabilities, best, strict=True):
        yield Prediction(key, tuple(classes[i] for i in order), tuple(float(row[i]) for i in order))
