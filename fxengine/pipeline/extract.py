"""Turns a folder of pictures into a feature store, and brings a store up to date.

listing -> plan (what is new, changed, gone) -> pipeline (read, decode, model) -> parts
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from fxengine.backbones import DEFAULT, former_backbone, load_backbone, source_name
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import BackboneFile, layer_output
from fxengine.collect import Listing, collect
from fxengine.collect.item import Item, escape_path
from fxengine.decode import picture
from fxengine.decode.picture import Limits
from fxengine.errors import DecodeError, InputError
from fxengine.execute import usable_cores
from fxengine.features import parts
from fxengine.features.crash_note import CrashNote
from fxengine.features.known import Known, Plan, make_plan, new_items
from fxengine.features.lock import locked
from fxengine.features.parts import Row, Vectors
from fxengine.features.schema import FEATURE, Dtype, Provenance, layer_column, widest_limits
from fxengine.features.update import Movable, StoreUpdate
from fxengine.features.write import PART_ROWS, check_fits, to_store_type
from fxengine.pipeline.precision import open_chosen
from fxengine.pipeline.summary import Progress, Summary
from fxengine.pipeline.threads import Batch, Job, Pipeline, bottleneck

_PRUNE_GUARD = 0.2


def extract(
    source: str | Path | Listing,
    store: str | Path,
    *,
    backbone: str | Path = DEFAULT,
    layers: tuple[str, ...] = (),
    device: str = "auto",
    dtype: Dtype = "float16",
    listing: Path | None = None,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    limit: int | None = None,
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
    progress: Callable[[Progress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Summary:
    """Extract features of every input below `source` into the store, or bring the store up to date.

    Args:
        source: a folder of pictures, one picture, or a listing that was made already.
        store: folder of Parquet parts, made where it is not there.
        backbone: a name, KIND:WHAT (see docs/backbones.md), or a file that fxengine exported.
        layers: layers of the backbone to store, the last one as `feature`, the others as `feature@NAME`.
        device: "auto", "cpu", "cuda" or "tensorrt".
        dtype: type of the stored vectors, "float16" or "float32".
        listing: a file that names the inputs (.txt, .csv, .tsv, .parquet), relative to `source`.
        include: patterns of which an input must fit one.
        exclude: patterns of which an input must fit none.
        limit: take only the first so many inputs, in the order of their ids.
        precision: "fp32", "bf16", "fp16", "int8", or "auto": see `pipeline.precision.open_chosen`.
        batch_size: pictures in one run of the model; 4 on a CPU and 128 on a GPU unless given.
        decoders: decoding threads; every usable core unless given.
        decode_on: "cpu", or "gpu" for JPEGs by nvImageCodec, where the CPU cannot feed the GPU.
        limits: what is refused as too large, or some of its fields by name; those that the store was made with unless
            given.
        part_rows: rows of a part at most.
        retry_failed: try inputs again that failed for a lasting reason.
        prune: remove rows whose input is gone.
        yes: also when they are more than 20% of the store.
        allow_mixed_precision: go on in another precision than the store's.
        progress: called after every batch.
        cancel: asked after every batch; True stops the run cleanly.

    Returns:
        What was done. A failed input is a row with a reason, never an exception. On Ctrl-C what was finished is
        committed and the summary says `interrupted`.

    Raises:
        InputError: the source, the backbone or an option cannot be used.
        StoreError: the store belongs to another backbone or root, is damaged, or cannot be written.
        DeviceError: the device was asked for by name and does not start.
    """
    begin = time.perf_counter()
    inputs = source
    if isinstance(inputs, str | Path):
        inputs = collect(inputs, listing=listing, include=include, exclude=exclude)
    folder = Path(store)
    with locked(folder):
        found = _backbone(backbone, layers, folder)
        summary = Summary(str(store), found.facts.name)
        parts.remove_leftovers(folder)
        known = Known.read(parts.list_parts(folder))
        if not isinstance(limits, Limits):
            limits = replace(recorded_limits(known.paths) or Limits(), **(limits or {}))
        wanted = _provenance(found, source_name(backbone), inputs.root, dtype, limits)
        _check_parts(known, wanted, allow_mixed_precision=True)
        plan = _make_plan(known, inputs, limit, retry_failed)
        _guard_prune(known, plan, inputs, prune=prune, yes=yes)
        update = StoreUpdate(folder, wanted, plan, known.next_row, part_rows)
        if plan.new or plan.again:
            session, choice = open_chosen(
                found,
                inputs,
                plan.new + sum(map(len, plan.again.values())),
                precision=precision,
                device=device,
                batch_size=batch_size,
                stored=parts.read_provenance(known.paths[0]) if known.paths else None,
                limits=limits,
            )
            threads = decoders or usable_cores()
            with closing(session), closing(CrashNote(folder, threads)) as note:
                wanted = replace(wanted, precision=session.precision, engine=session.engine, provider=session.provider)
                if decode_on == "gpu":
                    wanted = replace(wanted, decoder=f"nvImageCodec on the GPU, {wanted.decoder}")
                wanted = replace(wanted, int8=choice.int8, tried=[asdict(tried) for tried in choice.tried])
                _check_parts(known, wanted, allow_mixed_precision=allow_mixed_precision)
                summary.provider, summary.precision = session.provider, session.precision
                update = StoreUpdate(folder, wanted, plan, known.next_row, part_rows)
                movable = Movable(plan.missing if plan.new and not inputs.unreadable else {}, inputs.root)
                columns = {layer_output(None): FEATURE}
                columns |= {layer_output(name): layer_column(name) for name, _ in found.facts.layers}
                pipeline = Pipeline(session, found.recipe, tuple(columns), threads, limits, movable, note, decode_on)
                sink = _Sink(update, movable, plan, summary, columns, dtype)
                _run(pipeline, sink, chain(sink.again(), sink.new(known, _limited(inputs, limit))), progress, cancel)
        if not summary.interrupted:
            _finish(update, known, plan, summary, prune=prune)
        summary.unreadable_folders = sorted(set(inputs.unreadable))
    summary.seconds = time.perf_counter() - begin
    return summary


def _backbone(source: str | Path, layers: tuple[str, ...], store: Path) -> BackboneFile:
    """Return the backbone; where its default cut was another in earlier versions, that of the store."""
    found = load_backbone(source, ExportOptions(layers=layers))
    paths = parts.list_parts(store)
    stored = parts.read_provenance(paths[0]).space if paths else found.fingerprint
    if layers or stored == found.fingerprint:
        return found
    own = former_backbone(str(source))
    return own if own is not None and own.fingerprint == stored else found


def recorded_limits(paths: Sequence[Path]) -> Limits | None:
    """Return the widest limits that parts were made with, None where none says."""
    found = widest_limits([parts.read_provenance(path) for path in paths])
    return Limits(**found) if found else None


class _Sink:
    """Turns finished jobs into rows of the store, in order."""

    def __init__(
        self, update: StoreUpdate, movable: Movable, plan: Plan, summary: Summary, columns: dict[str, str], dtype: Dtype
    ) -> None:
        self.update, self.movable, self.plan, self.summary = update, movable, plan, summary
        self.columns, self.dtype = columns, dtype
        self.done = 0
        # Where each job's row goes, in the order of the jobs; filled by the feeding thread.
        self._targets: deque[tuple[Path, int] | None] = deque()

    def again(self) -> Iterator[Item]:
        """Yield the inputs whose rows are computed again, part by part."""
        for part, rows in self.plan.again.items():
            for row, item in rows:
                self._targets.append((part, row))
                yield item

    def new(self, known: Known, listing: Iterable[Item]) -> Iterator[Item]:
        """Yield the inputs that have no row yet."""
        for item in new_items(known, listing):
            self._targets.append(None)
            yield item

    def take(self, batch: Batch) -> None:
        """Store the rows of a finished batch."""
        stored, bad = to_store_type(batch.outputs, self.dtype)
        for job in batch.jobs:
            if job.error is None and not job.moved and bad[job.slot]:
                worst = max((batch.outputs[name][job.slot] for name in self.columns), key=lambda v: np.abs(v).max())
                job.error = DecodeError("bad_feature", _bad_feature(worst, self.dtype))
            fine = job.error is None and not job.moved
            # The graph's outputs `features` and `features@NAME` are the columns `feature` and `feature@NAME`.
            self._store(job, {self.columns[n]: values[job.slot] for n, values in stored.items()} if fine else None)
            self.done += 1

    def _store(self, job: Job, vectors: Vectors | None) -> None:
        target, claimed = self._targets.popleft(), None
        if job.moved and job.content_hash is not None:
            known = self.movable.stored(job.content_hash)
            vectors, job.width, job.height = known.vectors, known.width, known.height
            claimed = self.movable.claim(job.content_hash) if target is None else None
        number = (target or claimed or (Path(), self.update.next_row))[1]
        error = job.error
        row = Row(
            row=number,
            item=job.item,
            content_hash=job.content_hash,
            width=job.width,
            height=job.height,
            error_code=error.code if error else None,
            error=str(error) if error else None,
        )
        if target is not None:
            self.update.replace(target[0], row, vectors)
        else:
            self.update.append(row, vectors)
        self._count(row, claimed)
        if claimed is not None:
            self.update.drop(claimed[0], [claimed[1]])
            self.plan.missing[claimed[0]].remove(claimed[1])

    def _count(self, row: Row, claimed: tuple[Path, int] | None) -> None:
        if row.error_code is not None:
            self.summary.failed[row.error_code] = self.summary.failed.get(row.error_code, 0) + 1
        elif claimed is not None:
            self.summary.moved += 1
        else:
            self.summary.extracted += 1


def _run(
    pipeline: Pipeline,
    sink: _Sink,
    items: Iterator[Item],
    progress: Callable[[Progress], None] | None,
    cancel: Callable[[], bool] | None,
) -> None:
    """Drive the pipeline; however it ends, what was finished is committed."""
    summary, begin = sink.summary, time.perf_counter()
    total = sink.plan.new + sum(map(len, sink.plan.again.values()))
    try:
        with closing(pipeline.results(items)) as batches:
            for batch in batches:
                with _undisturbed():
                    sink.take(batch)
                if progress is not None:
                    elapsed = time.perf_counter() - begin
                    progress(Progress(sink.done, sum(summary.failed.values()), total, elapsed))
                if cancel is not None and cancel():
                    summary.interrupted = True
                    break
    except KeyboardInterrupt:
        summary.interrupted = True
    except BaseException:
        with suppress(Exception):  # where the disk is full this fails again; the first error says why
            sink.update.commit()
        raise
    try:
        with _undisturbed():
            sink.update.commit()
    except KeyboardInterrupt:
        summary.interrupted = True
    summary.compute_seconds = time.perf_counter() - begin
    busy = sum(stage.busy for stage in pipeline.stages.values()) or 1.0
    summary.stage_share = {name: round(stage.busy / busy, 4) for name, stage in pipeline.stages.items()}
    summary.bound_by = bottleneck(pipeline.stages, summary.compute_seconds)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold a Ctrl-C or SIGTERM back until what is being written is written; a second one breaks through."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _: object) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    kept = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def _make_plan(known: Known, inputs: Listing, limit: int | None, retry_failed: bool) -> Plan:
    if len(known):
        plan = make_plan(known, _limited(inputs, limit), retry_failed=retry_failed, labelled=inputs.labelled)
        if limit is not None:
            plan.missing = {}  # what lies behind the limit is not missing
    else:
        count = inputs.count()
        plan = Plan(new=count if limit is None else min(count, limit))
    if not len(known) and not plan.new:
        hint = f" {len(inputs.unreadable)} folders could not be read." if inputs.unreadable else ""
        raise InputError(f"There is no file to extract from in {inputs.root}.{hint} Hidden files are left out.")
    return plan


def _guard_prune(known: Known, plan: Plan, inputs: Listing, *, prune: bool, yes: bool) -> None:
    missing = sum(map(len, plan.missing.values()))
    if not prune or not missing:
        return
    if inputs.unreadable:
        raise InputError(f"--prune is refused: {inputs.unreadable[0]} cannot be read, so its files only look gone.")
    if missing > _PRUNE_GUARD * len(known) and not yes:
        raise InputError(
            f"--prune would remove {missing} of {len(known)} rows from the store. Is a share not mounted? "
            "If not, add --yes."
        )


def _finish(update: StoreUpdate, known: Known, plan: Plan, summary: Summary, *, prune: bool) -> None:
    """Relabel, remove what moved or was pruned, and count."""
    for part, row in known.superseded:
        update.drop(part, [row])
    summary.missing = sum(map(len, plan.missing.values()))
    if prune:
        for part, rows in plan.missing.items():
            update.drop(part, rows)
        summary.pruned = summary.missing
    update.finish()
    summary.unchanged, summary.changed = plan.unchanged, plan.changed
    summary.relabelled = sum(map(len, plan.relabel.values()))


def _check_parts(known: Known, wanted: Provenance, *, allow_mixed_precision: bool) -> None:
    for path in known.paths:
        check_fits(parts.read_provenance(path), wanted, path.parent, allow_mixed_precision=allow_mixed_precision)


def _limited(inputs: Listing, limit: int | None) -> Iterator[Item]:
    return islice(inputs, limit)


def _provenance(found: BackboneFile, source: str, root: Path, dtype: Dtype, limits: Limits) -> Provenance:
    libraries = picture.versions()
    return Provenance(
        space=found.fingerprint,
        source=source,
        recipe=asdict(found.recipe),
        root=escape_path(str(root)),
        dim=found.facts.dim,
        layers=dict(found.facts.layers),
        dtype=dtype,
        precision="",
        engine="",
        provider="",
        decoder=", ".join(f"{name} {version}" for name, version in libraries.items()),
        versions={"fxengine": version("fxengine"), "pyarrow": pa.__version__, "numpy": np.__version__},
        limits=asdict(limits),
    )


def _bad_feature(vector: np.ndarray, dtype: Dtype) -> str:
    if np.isfinite(vector).all():
        return f"A value of {np.abs(vector).max():.3g} is too large for {dtype}. Extract with --dtype float32."
    return "The net gave a value that is not a finite number."
