"""Turns a folder of pictures into a feature store, and brings a store up to date.

plan (what is new, changed, gone) -> units (a part each, its rows numbered) -> run (read, decode, model) -> commit
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from fxengine.backbones import DEFAULT, DEFAULT_OF_TEXTS
from fxengine.backbones.options import ExportOptions, Pooling, Tower, WordWeights
from fxengine.backbones.spec import TextRecipe
from fxengine.collect import Listing, TextColumns, collect
from fxengine.collect.opened import holds_pictures
from fxengine.collect.paths import names_of
from fxengine.collect.stored import is_there
from fxengine.decode.limits import Limits
from fxengine.errors import InputError, at_least, given, one_of
from fxengine.execute import usable_cores
from fxengine.features import parts
from fxengine.features.lock import locked
from fxengine.features.schema import KEPT_GROUP, Dtype
from fxengine.features.write import PART_ROWS
from fxengine.pipeline.here import How, update_here
from fxengine.pipeline.job import Job, Opened, open_job, wanted_of
from fxengine.pipeline.many import (
    Planning,
    Workers,
    ensure_fits,
    finish_plan,
    plan_units,
    run_counted,
    run_plan,
    workers_of,
)
from fxengine.pipeline.places import load_place
from fxengine.pipeline.plan import RunPlan, guard_prune, plan_run, with_moves
from fxengine.pipeline.precision import Wish
from fxengine.pipeline.shards import Shard, find_plan, run_shard, shard_of
from fxengine.pipeline.suited import holds_texts
from fxengine.pipeline.summary import Progress, Summary, Watch
from fxengine.pipeline.unit_plan import UnitPlan, open_plan
from fxengine.storage import absolute, shown
from fxengine.store_files import place_of, states
from fxengine.trust import note_named


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
    workers: int | str | None = None,
    shard: str | None = None,
    finish: bool = False,
    progress: Callable[[Progress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Summary:
    """Extract features of every input below `inputs` into the store, or bring the store up to date.

    Args:
        inputs: a folder of pictures, one picture, a tar, a zip, a Parquet file of pictures, a video, a table of texts
            (.csv, .tsv, .jsonl, .parquet), a .txt of a text a line, a folder of .txt files of a text each, or a listing
            that was made already; what lies in a bucket (s3://, gs://, az://), or at an address (https://). The
            backbone says which.
        store: folder of Parquet parts, made where it is not there, or a place in a bucket (s3://, gs://, az://).
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
        workers: compute by so many processes of this machine, each with a GPU or a share of the cores; "ray" or
            "ray://HOST:PORT" for the workers that a Ray cluster has room for. See docs/scale.md.
        shard: compute a share of the new inputs, such as "3/16", beside processes that compute the others: there is no
            driver, and the store's folder is all that they share.
        finish: end a run of shares: takes in what changed or was renamed; refused while units are not there.
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
    many, share = workers_of(workers), shard_of(shard)
    if many is not None:
        load_place(many.place).ensure_there(many.address)
    wish, folder, limits = (
        Wish(precision, device, batch_size),
        place_of("store", store),
        _limits(limits, max_pixels, max_bytes),
    )
    columns = TextColumns(column, id_column, label_column, split_column)
    patterns = names_of("include", include), names_of("exclude", exclude)
    if backbone is None:
        chosen = listing is not None or any(patterns)
        backbone = _usual_backbone(inputs, columns, chosen=chosen)
    groups = (*names_of("add_columns", add_columns), *((KEPT_GROUP,) if keep_text else ()))
    if share is not None:
        others = {"workers": many, "finish": finish, "prune": prune, "retry_failed": retry_failed}
        _refuse_beside_shard({**others, "add_columns": add_columns})
    if (many or share) and isinstance(inputs, Listing):
        raise InputError("`workers` and `shard` open the inputs anew: give a folder or a file as `inputs`.")
    _ensure_there(inputs)
    options = ExportOptions(
        layers=names_of("layers", layers),
        pooling=pooling,
        tokens=tokens,
        word_weights=word_weights,
        words=words,
        tower=tower,
        prompt=prompt,
    )
    job = Job(
        inputs,
        folder,
        listing,
        patterns,
        columns,
        boxes,
        margin,
        containers,
        frames,
        allow_private,
        backbone,
        options,
        dtype,
        limits,
        limit,
        retry_failed,
        groups,
        of_pictures=max_pixels is not None or decode_on != "cpu",
    )
    how = How(wish, decoders or usable_cores(), decode_on, part_rows, allow_mixed_precision, Watch(progress, cancel))
    if share is not None:
        summary = _extract_share(job, how, share)
    else:
        with locked(folder) as ensure_held:
            how = replace(how, watch=replace(how.watch, ensure_held=ensure_held))
            summary = _extract_all(job, how, many, finish=finish, prune=prune, yes=yes)
    summary.store, summary.seconds = shown(str(store)), time.perf_counter() - begin
    return summary


def _extract_all(job: Job, how: How, many: Workers | None, *, finish: bool, prune: bool, yes: bool) -> Summary:
    """Take up what an earlier run over many workers left, then bring the store up to date, over many where asked."""
    folder, unfinished = job.folder, open_plan(job.folder)
    if unfinished is None:
        parts.remove_leftovers(folder)  # beside a plan they may be those of workers
    opened = open_job(job)
    summary = _summary(opened, folder)
    if unfinished is not None:
        ensure_fits(unfinished, opened.found, wanted_of(opened))
        if finish and unfinished.open_units():
            finish_plan(unfinished)
        run_plan(unfinished, many, how, summary)
        if summary.interrupted or summary.units_open:
            return summary  # what was given up would be tried at once, in this very run
    taken_up = summary.extracted + sum(summary.failed.values())
    made = plan_run(opened.found, opened.inputs, folder, opened.asked)
    note_named("root", absolute(opened.inputs.root))  # from now on pages show what is below it
    if prune:
        guard_prune(made, yes=yes)
    made = with_moves(made, how.watch)
    summary.interrupted = made.stopped
    if many is not None and opened.source is not None and not made.stopped:
        if made.count > len(made.moves):
            planning = Planning(opened.source, opened.asked.backbone, job.options, how, many.count)
            plan = plan_units(made, folder, planning)
            run_plan(plan, many, how, summary)
            made = _behind(made, plan)
        made = replace(made, plan=replace(made.plan, again={}), moves_only=True)
    if not summary.interrupted or made.stopped:
        update_here(made, folder, how, summary, prune=prune)
        summary.unchanged = max(0, summary.unchanged - taken_up)  # which this very run has made
    summary.unreadable_folders = sorted(set(opened.inputs.unreadable))
    summary.absent = getattr(opened.inputs, "absent", "")
    return summary


def _behind(made: RunPlan, plan: UnitPlan) -> RunPlan:
    """Return what there is to do behind the units that workers have made."""
    with parts.unlisted(plan.folder):
        known = replace(made.known, states=states(plan.folder))
    return replace(made, known=known, made_elsewhere=plan.new_parts)


def _extract_share(job: Job, how: How, share: Shard) -> Summary:
    """Compute a share of the new inputs, by a plan that the first process makes; the lock is held only for that."""
    opened = open_job(job)
    summary = _summary(opened, job.folder)

    def make() -> UnitPlan | None:
        made = with_moves(plan_run(opened.found, opened.inputs, job.folder, opened.asked), how.watch)
        if made.stopped:
            raise KeyboardInterrupt
        note_named("root", absolute(opened.inputs.root))
        if made.plan.new <= len(made.moves):
            return None
        assert opened.source is not None, "shares are refused for a listing"
        planning = Planning(opened.source, opened.asked.backbone, job.options, how, share.of)
        return plan_units(made, job.folder, planning, new_only=True)

    plan = find_plan(job.folder, make)
    if plan is not None:
        ensure_fits(plan, opened.found, wanted_of(opened))
        run_counted(summary, plan, lambda: run_shard(plan, share, how))
        plan.close()
    return summary


def _summary(opened: Opened, folder: Path) -> Summary:
    recipe = opened.found.recipe
    summary = Summary(str(folder), opened.found.facts.name, modality=recipe.modality)
    if isinstance(recipe, TextRecipe):
        summary.max_tokens = recipe.max_tokens
    return summary


def _refuse_beside_shard(others: Mapping[str, object]) -> None:
    for name, value in others.items():
        if value:
            raise InputError(f"`shard` computes new inputs alone: leave `{name}` for the run behind it, with `finish`.")


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


def _limits(
    limits: Limits | Mapping[str, int] | None, max_pixels: int | None, max_bytes: int | None
) -> Limits | Mapping[str, int] | None:
    named = {"max_pixels": max_pixels, "max_bytes": max_bytes}
    given = {name: value for name, value in named.items() if value is not None}
    if isinstance(limits, Limits):
        return replace(limits, **given)
    return {**limits, **given} if limits is not None else given
