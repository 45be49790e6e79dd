"""Turns a folder of pictures into a feature store, and brings a store up to date.

plan (what is new, changed, gone) -> units (a part each, its rows numbered) -> run (read, decode, model) -> commit
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from fxengine.backbones import DEFAULT, DEFAULT_OF_TEXTS, named_tower
from fxengine.backbones.options import ExportOptions, Pooling, Tower, WordWeights
from fxengine.backbones.spec import BackboneFile, TextRecipe
from fxengine.collect import Filters, Listing, TextColumns, collect
from fxengine.collect.opened import usual_frames
from fxengine.collect.paths import names_of
from fxengine.collect.picture_table import holds_pictures
from fxengine.collect.stored import is_there
from fxengine.decode import preparer_of
from fxengine.decode.limits import Limits
from fxengine.errors import InputError, at_least, given, one_of, path_of
from fxengine.execute import usable_cores
from fxengine.features import parts
from fxengine.features.crash_note import CrashNote
from fxengine.features.lock import locked
from fxengine.features.schema import KEPT_GROUP, Dtype
from fxengine.features.update import StoreUpdate
from fxengine.features.write import PART_ROWS
from fxengine.pipeline.lookahead import readers_of
from fxengine.pipeline.plan import (
    Asked,
    RunPlan,
    find_backbone,
    guard_prune,
    plan_run,
    recorded_boxes,
    recorded_containers,
    recorded_frames,
    with_moves,
)
from fxengine.pipeline.precision import Wish, open_chosen
from fxengine.pipeline.run import run
from fxengine.pipeline.sink import Sink
from fxengine.pipeline.suited import ensure_known, ensure_suited, holds_texts
from fxengine.pipeline.summary import Progress, Summary, Watch
from fxengine.pipeline.threads import Pipeline, Steps
from fxengine.pipeline.units import NewRows, make_units
from fxengine.storage import absolute
from fxengine.trust import note_named


@dataclass(frozen=True)
class _How:
    """How a run computes, and whom it tells."""

    wish: Wish
    decoders: int
    decode_on: str
    part_rows: int
    allow_mixed_precision: bool
    watch: Watch


def extract(
    inputs: str | Path | Listing,
    store: str | Path,
    *,
    backbone: str | Path | None = None,
    layers: str | Sequence[str] = (),
    pooling: Pooling | None = None,
    tokens: str = "words",
    word_weights: WordWeights | None = None,
    words: int | None = None,
    tower: Tower | None = None,
    prompt: str | None = None,
    device: str = "auto",
    dtype: Dtype = "float16",
    listing: str | Path | None = None,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    column: str | None = None,
    id_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    keep_text: bool = False,
    containers: bool = False,
    boxes: str | Path | None = None,
    margin: float | None = None,
    frames: str | None = None,
    allow_private: bool = False,
    limit: int | None = None,
    max_pixels: int | None = None,
    max_bytes: int | None = None,
    precision: str = "auto",
    batch_size: int | None = None,
    decoders: int | None = None,
    decode_on: str = "cpu",
    limits: Limits | Mapping[str, int] | None = None,
    part_rows: int = PART_ROWS,
    retry_failed: bool = False,
    prune: bool = False,
    yes: bool = False,
    allow_mixed_precision: bool = False,
    add_columns: str | Sequence[str] = (),
    progress: Callable[[Progress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Summary:
    """Extract features of every input below `inputs` into the store, or bring the store up to date.

    Args:
        inputs: a folder of pictures, one picture, a tar, a zip, a Parquet file of pictures, a video, a table of texts
            (.csv, .tsv, .jsonl, .parquet), a .txt of a text a line, a folder of .txt files of a text each, or a listing
            that was made already; what lies in a bucket (s3://, gs://, az://), or at an address (https://). The
            backbone says which.
        store: folder of Parquet parts, made where it is not there.
        backbone: a name, KIND:WHAT (see docs/backbones.md), or a file that fxengine exported; efficientnet_lite0 unless
            given, minilm_l6 for a table or a folder of nothing but .txt.
        layers: layers of the backbone to store, the last one as `feature`, the others as `feature@NAME`.
        pooling: how a map, or the vectors of a text's tokens, become one vector, where the backbone leaves it open.
        tokens: of a backbone of word vectors, how the words of a text are found: "words" (words and marks, as the
            vectors of GloVe were made) or "keras" (as Keras' Tokenizer does).
        word_weights: of word vectors, "sif" makes frequent words count less; by the mean, all count alike.
        words: of word vectors, take only the first so many of the file, the most frequent ones.
        tower: of a repository with a net for pictures and one for texts, "image" or "text".
        prompt: of a repository's net of texts, what is put before each text: a name that it has, or NAME=TEXT.
        device: "auto", "cpu", "cuda" or "tensorrt".
        dtype: type of the stored vectors, "float16" or "float32".
        listing: a file that names the inputs (.txt, .csv, .tsv, .parquet), relative to `inputs`.
        include: patterns of which an input must fit one.
        exclude: patterns of which an input must fit none.
        column: of a table, the column of the texts, the only one, or the one called "text", unless given; of a Parquet
            file of pictures, that of the pictures.
        id_column: of a table, the column of the rows' ids; the file's name and the row's number, from 0, unless given.
        label_column: of a table, the column of the labels; of a Parquet file of pictures "label" unless given.
        split_column: of a table, the column that says train, val or test.
        containers: open tars, zips and Parquet files of pictures that lie in a folder, too; an update of a store that
            was made so does it by itself. One that is given as `inputs` is opened always.
        boxes: a file of boxes in the pictures (COCO's .json, or a table with the columns path, x, y, width, height and
            label), or a folder of labels as YOLO has it: a row is a box then. An update takes those of the store.
        margin: what is taken around a box, as a share of its edges; that of the store, else 0.
        frames: which frames of videos are rows: "keyframes" (at least a second apart), "every", or a rate such as "1/s"
            or "0.5/s"; videos in a folder are opened then, too, as they are by `containers` in a new store. Those of
            the store, else keyframes. A video that is given as `inputs` is opened always.
        allow_private: read addresses of a list that lie in private networks, too.
        keep_text: store the texts, too, so that pages show them wherever the table is (column group `kept_text`).
        limit: take only the first so many inputs, in the order of their ids.
        max_pixels: refuse larger pictures; that of the store, else 128 million, unless given.
        max_bytes: refuse larger files or texts; that of the store, else a billion, of texts a million, unless given.
        precision: "fp32", "bf16", "fp16", "int8", or "auto": see `pipeline.precision.open_chosen`.
        batch_size: pictures in one run of the model; 4 on a CPU and 128 on a GPU unless given. For texts, tokens: 128
            and 16,384.
        decoders: decoding threads; every usable core unless given.
        decode_on: "cpu", or "gpu" for JPEGs by nvImageCodec, where the CPU cannot feed the GPU.
        limits: both of these at once, or some of them by name.
        part_rows: rows of a part at most.
        retry_failed: try inputs again that failed for a lasting reason.
        prune: remove rows whose input is gone.
        yes: also when they are more than 20% of the store.
        allow_mixed_precision: go on in another precision than the store's.
        add_columns: groups of further columns that the store is to have from now on (`features.schema.COLUMN_GROUPS`);
            rows that lack one are computed again.
        progress: called after every batch.
        cancel: asked after every batch; True stops the run cleanly.

    Returns:
        What was done. A failed input is a row with a reason, never an exception. On Ctrl-C what was finished is
        committed and the summary says `interrupted`.

    Raises:
        InputError: the inputs, the backbone or an option cannot be used, or word vectors know no word of any text.
        StoreError: the store belongs to another backbone or root, is damaged, or cannot be written.
        DeviceError: the device was asked for by name and does not start.
    """
    begin = time.perf_counter()
    for name, count in {"limit": limit, "decoders": decoders, "part_rows": part_rows}.items():
        if count is not None:
            at_least(name, count, 1)
    named = {"column": column, "id_column": id_column, "label_column": label_column, "split_column": split_column}
    for name, called in named.items():
        if not isinstance(called, str | None):
            raise InputError(f"`{name}` must be the name of a column, a text. Got {given(called)}.")
    one_of("dtype", dtype, get_args(Dtype))
    one_of("decode_on", decode_on, ("cpu", "gpu"))
    wish, folder, limits = (
        Wish(precision, device, batch_size),
        path_of("store", store),
        _limits(limits, max_pixels, max_bytes),
    )
    columns = TextColumns(column, id_column, label_column, split_column)
    patterns = names_of("include", include), names_of("exclude", exclude)
    if backbone is None:
        chosen = listing is not None or any(patterns)
        backbone = _usual_backbone(inputs, columns, chosen=chosen)
    groups = (*names_of("add_columns", add_columns), *((KEPT_GROUP,) if keep_text else ()))
    _ensure_there(inputs)
    with locked(folder):
        parts.remove_leftovers(folder)
        options = ExportOptions(
            layers=names_of("layers", layers),
            pooling=pooling,
            tokens=tokens,
            word_weights=word_weights,
            words=words,
            tower=tower,
            prompt=prompt,
        )
        found = find_backbone(backbone, options, folder)
        backbone = named_tower(backbone, tower, found)
        if found.recipe.modality == "text":
            _refuse_of_pictures(max_pixels, decode_on)
        if not isinstance(inputs, Listing):
            boxed = _boxes(boxes, margin, folder)
            plain = listing is None and boxed[0] is None and found.recipe.modality == "picture"
            frames = _frames(frames, folder, containers=containers, plain=plain)
            containers = containers or recorded_containers(folder)
            opening = {"containers": containers, "private": allow_private}
            inputs = _collect(inputs, listing, Filters(*patterns), found, columns, boxed, frames, **opening)
        else:
            boxed = None, 0.0
        asked = Asked(backbone, dtype, limits, limit, retry_failed, groups, containers, *boxed)
        made = plan_run(found, inputs, folder, asked)
        note_named("root", absolute(inputs.root))  # from now on pages show what is below it
        if prune:
            guard_prune(made, yes=yes)
        summary = Summary(str(store), found.facts.name, modality=found.recipe.modality)
        if isinstance(found.recipe, TextRecipe):
            summary.max_tokens = found.recipe.max_tokens
        how = _How(
            wish, decoders or usable_cores(), decode_on, part_rows, allow_mixed_precision, Watch(progress, cancel)
        )
        made = with_moves(made, how.watch)
        summary.interrupted = made.stopped
        _update(made, folder, how, summary, prune=prune)
        summary.unreadable_folders = sorted(set(inputs.unreadable))
        summary.absent = getattr(inputs, "absent", "")
    summary.seconds = time.perf_counter() - begin
    return summary


def _ensure_there(inputs: str | Path | Listing) -> None:
    """Raise InputError where there is no such folder or file, before anything is made or loaded for it."""
    if isinstance(inputs, str | os.PathLike) and not is_there(inputs):
        collect(inputs)


def _usual_backbone(inputs: str | Path | Listing, columns: TextColumns, *, chosen: bool) -> str:
    """Return the backbone of who names none: that of texts where columns are named, or nothing but texts is there.

    Of files that are chosen by a list or by patterns nothing is known yet.
    """
    texts = not chosen and isinstance(inputs, str | os.PathLike) and holds_texts(Path(inputs))
    pictures = isinstance(inputs, str | os.PathLike) and holds_pictures(Path(inputs))
    return DEFAULT_OF_TEXTS if not pictures and (texts or columns != TextColumns()) else DEFAULT


def _refuse_of_pictures(max_pixels: int | None, decode_on: str) -> None:
    if max_pixels is not None or decode_on != "cpu":
        raise InputError("`max_pixels` and `decode_on` are about pictures, the backbone takes texts: leave them away.")


def _collect(
    inputs: str | Path,
    listing: str | Path | None,
    filters: Filters,
    found: BackboneFile,
    columns: TextColumns,
    boxed: tuple[Path | None, float],
    frames: str | None,
    *,
    containers: bool,
    private: bool,
) -> Listing:
    if not isinstance(inputs, str | os.PathLike):
        raise InputError(
            f"`inputs` must be a folder or a file (text or pathlib.Path), or a listing. Got {given(inputs)}; "
            "several go into a file, which `listing` names."
        )
    if listing is None:
        ensure_suited(found, Path(inputs), columns, containers=containers)
    return collect(
        inputs,
        listing=None if listing is None else path_of("listing", listing),
        include=filters.include,
        exclude=filters.exclude,
        modality=found.recipe.modality,
        columns=columns,
        containers=containers,
        boxes=boxed[0],
        margin=boxed[1],
        frames=frames,
        allow_private=private,
    )


def _frames(frames: str | None, store: Path, *, containers: bool, plain: bool) -> str | None:
    """Return which frames of videos are rows: those that are asked for, else those of the store.

    Args:
        frames: what is asked for.
        store: its folder; one that was made without videos stays so.
        containers: whether containers are opened.
        plain: whether whole pictures of a folder are extracted: neither texts nor boxes, nor what a list names.
    """
    if frames is not None or not plain:
        return frames
    return recorded_frames(store) if parts.list_parts(store) else usual_frames(None, containers=containers, boxed=False)


def _boxes(boxes: str | Path | None, margin: float | None, store: Path) -> tuple[Path | None, float]:
    """Return the boxes that are asked for, else those of the store, and their margin."""
    stored = recorded_boxes(store)
    path = stored[0] if boxes is None and stored is not None else boxes
    if path is None:
        if margin is not None:
            raise InputError("`margin` is what is taken around `boxes`: give these, too.")
        return None, 0.0
    share = (stored[1] if stored is not None else 0.0) if margin is None else margin
    if not 0 <= share <= 10:
        raise InputError(f"`margin` must be a share from 0 to 10. Got {given(share)}.")
    return Path(os.path.abspath(path_of("boxes", path))), float(share)


def _limits(
    limits: Limits | Mapping[str, int] | None, max_pixels: int | None, max_bytes: int | None
) -> Limits | Mapping[str, int] | None:
    named = {"max_pixels": max_pixels, "max_bytes": max_bytes}
    given = {name: value for name, value in named.items() if value is not None}
    if isinstance(limits, Limits):
        return replace(limits, **given)
    return {**limits, **given} if limits is not None else given


def _update(made: RunPlan, folder: Path, how: _How, summary: Summary, *, prune: bool) -> None:
    """Compute what there is to compute, then relabel, remove and count."""
    if made.stopped and not made.moves:
        return
    if made.count:
        update = _compute(made, folder, how, summary)
    else:
        update = StoreUpdate(folder, made.provenance, made.plan, made.known.next_row, how.part_rows)
    if not summary.interrupted:
        _finish(update, made, summary, prune=prune)


def _compute(made: RunPlan, folder: Path, how: _How, summary: Summary) -> StoreUpdate:
    """Run every unit of a plan; return what was committed to."""
    known, plan, inputs = made.known, made.plan, made.inputs
    stored = parts.read_provenance(known.paths[0]) if known.paths else None
    session, choice = open_chosen(made.found, inputs, made.count, how.wish, stored=stored, limits=made.limits)
    texts = made.found.recipe.modality == "text"
    preparer = preparer_of(made.found, made.limits, on_gpu=how.decode_on == "gpu")
    with closing(session), closing(CrashNote(folder, how.decoders)) as note:
        if not known.paths:
            ensure_known(made.found, preparer, made.new_items(), lambda item: inputs.read(item, made.limits.max_bytes))
        wanted = replace(
            made.provenance,
            precision=session.precision,
            engine=session.engine,
            provider=session.provider,
            decoder=preparer.decoder,
            int8=choice.int8,
            run={"tokens": session.batch_size, "threads": 1} if texts else {},
            tried=[asdict(tried) for tried in choice.tried],
        )
        made.check_parts(wanted, allow_mixed_precision=how.allow_mixed_precision)
        summary.provider, summary.precision = session.provider, session.precision
        update = StoreUpdate(folder, wanted, plan, known.next_row, how.part_rows)
        sink = Sink(update, made.movable, plan, summary, made.columns, wanted.dtype)
        steps = Steps(
            inputs.read, made.limits.max_bytes, preparer, session, tuple(made.columns), readers_of(inputs.root)
        )
        pipeline = Pipeline(steps, how.decoders, made.movable, None if texts else note)  # no text is a crash's cause
        new = NewRows(made.new_items(), made.moves, update.next_row, update.part_rows)
        run(make_units(folder, plan, new), pipeline, sink, how.watch)
    return update


def _finish(update: StoreUpdate, made: RunPlan, summary: Summary, *, prune: bool) -> None:
    """Relabel, remove what moved or was pruned, and count."""
    known, plan = made.known, made.plan
    for part, row in known.superseded:
        update.drop(part, [row])
    summary.missing = sum(map(len, plan.missing.values()))
    if prune:
        for part, rows in plan.missing.items():
            update.drop(part, rows)
        summary.pruned = summary.missing
    update.finish()
    summary.changed = plan.changed
    summary.unchanged = plan.unchanged + plan.widened - summary.widened
    summary.relabelled = sum(map(len, plan.relabel.values()))
