"""Brings a store up to date in this very process: what is left once a plan is settled."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fxengine.decode import Preparer, preparer_of
from fxengine.execute.session import Session
from fxengine.features import parts
from fxengine.features.crash_note import CrashNote
from fxengine.features.run_folder import notes_folder
from fxengine.features.schema import Provenance
from fxengine.features.update import StoreUpdate
from fxengine.pipeline.lookahead import readers_of
from fxengine.pipeline.plan import RunPlan
from fxengine.pipeline.precision import Choice, Wish, open_chosen
from fxengine.pipeline.run import run
from fxengine.pipeline.sink import Sink
from fxengine.pipeline.suited import ensure_known
from fxengine.pipeline.summary import Summary, Watch
from fxengine.pipeline.threads import Pipeline, Steps
from fxengine.pipeline.units import NewRows, make_units


@dataclass(frozen=True)
class How:
    """How a run computes, and whom it tells.

    Attributes:
        wish: precision, device and batch size that are asked for.
        decoders: decoding threads.
        decode_on: "cpu" or "gpu".
        part_rows: rows of a new part at most.
        allow_mixed_precision: whether a store may be gone on with in another precision.
        watch: whom it tells.
    """

    wish: Wish
    decoders: int
    decode_on: str
    part_rows: int
    allow_mixed_precision: bool
    watch: Watch


@dataclass(frozen=True)
class Loaded:
    """What computes the rows of a plan, chosen once.

    Attributes:
        session: the loaded backbone.
        choice: how it was chosen.
        preparer: prepares inputs for it.
        provenance: what its rows are made with.
    """

    session: Session
    choice: Choice
    preparer: Preparer
    provenance: Provenance


def load(made: RunPlan, how: How) -> Loaded:
    """Load what computes the rows of a plan; the session is to be closed.

    Raises:
        DeviceError: the device or the precision is not to be had.
        InputError: word vectors know no word of any text.
        StoreError: its rows do not belong into the store.
    """
    known, inputs = made.known, made.inputs
    stored = parts.read_provenance(known.paths[0]) if known.paths else None
    session, choice = open_chosen(made.found, inputs, made.count, how.wish, stored=stored, limits=made.limits)
    texts = made.found.recipe.modality == "text"
    preparer = preparer_of(made.found, made.limits, on_gpu=how.decode_on == "gpu")
    try:
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
    except BaseException:
        session.close()
        raise
    return Loaded(session, choice, preparer, wanted)


def update_here(made: RunPlan, folder: Path, how: How, summary: Summary, *, prune: bool) -> None:
    """Compute what there is to compute, then relabel, remove and count; the store's lock must be held."""
    if made.stopped and not made.moves:
        return
    update = _compute(made, folder, how, summary) if made.count else _update_of(made, folder, how, made.provenance)
    if not summary.interrupted:
        _finish(update, made, summary, prune=prune)


def _compute(made: RunPlan, folder: Path, how: How, summary: Summary) -> StoreUpdate:
    """Run every unit of a plan; return what was committed to."""
    plan, inputs = made.plan, made.inputs
    loaded = load(made, how)
    texts = made.found.recipe.modality == "text"
    session, wanted = loaded.session, loaded.provenance
    with closing(session), closing(CrashNote(notes_folder(folder), how.decoders)) as note:
        summary.provider, summary.precision = session.provider, session.precision
        update = _update_of(made, folder, how, wanted)
        sink = Sink(update, made.movable, plan, summary, made.columns, wanted.dtype)
        steps = Steps(
            inputs.read,
            made.limits.max_bytes,
            loaded.preparer,
            session,
            tuple(made.columns),
            readers_of(inputs.root),
        )
        pipeline = Pipeline(steps, how.decoders, made.movable, None if texts else note)  # no text is a crash's cause
        new = NewRows(made.new_items(), made.moves, update.next_row, update.part_rows, made.next_part)
        run(make_units(folder, plan, new), pipeline, sink, how.watch)
    return update


def _update_of(made: RunPlan, folder: Path, how: How, wanted: Provenance) -> StoreUpdate:
    known, part_rows = made.known, how.part_rows
    return StoreUpdate(
        folder, wanted, made.plan, known.next_row, part_rows, first_part=made.next_part, states=known.states
    )


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
