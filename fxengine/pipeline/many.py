"""A run over many workers: plans it, drives it, and brings what workers made into the store.

an unfinished plan is taken up -> plan (units with part and row numbers) -> drive -> merge what was computed again
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path

from fxengine import store_files
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError, StoreError, given
from fxengine.execute import usable_cores
from fxengine.features import parts
from fxengine.features.crash_note import CrashNote
from fxengine.features.merge import merge_rows
from fxengine.features.part_rows import PartRows
from fxengine.features.row_numbers import noted_next_row
from fxengine.features.run_folder import notes_folder
from fxengine.features.schema import Provenance
from fxengine.features.write import check_fits, rewrite_part
from fxengine.files import remove_temporaries
from fxengine.pipeline.driver import Outcome, State, Wanted, drive
from fxengine.pipeline.here import How, load
from fxengine.pipeline.places import load_place
from fxengine.pipeline.plan import RunPlan
from fxengine.pipeline.run_state import StateNote, forget_states
from fxengine.pipeline.source import Source
from fxengine.pipeline.stages import Stage, bottleneck
from fxengine.pipeline.summary import Progress, Summary
from fxengine.pipeline.unit_plan import Computing, PlanFacts, UnitPlan, absent_from, write_plan
from fxengine.pipeline.unit_runner import Asked, News, UnitRunner, from_list
from fxengine.pipeline.unit_sink import UnitResult
from fxengine.storage import is_remote, shown

_UNITS_EACH = 8  # that a worker gets at least: towards the end of a run the others wait for one unit at most
_FEWEST_ROWS = 128  # of a unit that is smaller for that: its part takes some 8 ms to write, whatever is in it
_SEEN_WITHIN = 15.0  # seconds in which what a worker made must be seen here: shares show new names late
_RAY = "ray"


@dataclass(frozen=True)
class Workers:
    """Where units run.

    Attributes:
        place: a name of `places.PLACES`.
        count: how many workers; 0 for as many as there is room for.
        address: of a cluster, "" for the one that is there.
    """

    place: str
    count: int
    address: str = ""


def workers_of(value: int | str | None) -> Workers | None:
    """Return the workers that are asked for, None for none; raises InputError where it is no such thing."""
    if value is None:
        return None
    text = str(value)
    if text == _RAY or text.startswith(f"{_RAY}://"):
        return Workers(_RAY, 0, "" if text == _RAY else text)
    if not isinstance(value, bool) and text.isascii() and text.isdigit() and 1 <= int(text) <= 4096:
        return Workers("processes", int(text))
    raise InputError(f"`workers` must be a number from 1 to 4096, ray, or ray://HOST:PORT. Got {given(value)}.")


@dataclass(frozen=True)
class Planning:
    """What a plan needs to know beside what there is to do.

    Attributes:
        source: where the inputs are listed.
        backbone: the name or path that the backbone was asked for by.
        options: of its export.
        how: how the run computes.
        workers: how many will work at it; 0 where nobody knows.
    """

    source: Source
    backbone: str | Path
    options: ExportOptions
    how: How
    workers: int


def plan_units(made: RunPlan, folder: Path, planning: Planning, *, new_only: bool = False) -> UnitPlan:
    """Write down what workers have to do: rows that are computed again, unless `new_only`, and new ones.

    Renamed inputs are no work, and are left out: who holds the store's lock gives them their old rows afterwards.

    Raises:
        DeviceError, InputError, StoreError: as `here.load` and `write_plan` do.
    """
    again = {} if new_only else made.plan.again
    if again:  # of a rename that was cut off the older half goes first, as in any update
        halves: dict[Path, list[int]] = {}
        for part, row in made.known.superseded:
            halves.setdefault(part, []).append(row)
        for part, rows in halves.items():
            rewrite_part(part, made.provenance, drop=rows, read=made.known.states.get(part.name))
    loaded = load(made, planning.how)
    with closing(loaded.session) as session:
        defaults = ExportOptions()
        options = {f.name: getattr(planning.options, f.name) for f in fields(ExportOptions)}
        computing = Computing(
            backbone=str(planning.backbone),
            path=os.path.abspath(made.found.path),
            options={name: value for name, value in options.items() if value != getattr(defaults, name)},
            runtime=loaded.choice.way.runtime,
            streams=loaded.choice.way.streams > 1 or usable_cores() == 1,
            device=planning.how.wish.device,
            batch_size=session.batch_size,
            decode_on=planning.how.decode_on,
        )
        facts = PlanFacts(
            run=secrets.token_hex(8),
            provenance=loaded.provenance,
            computing=computing,
            source=planning.source,
            again=tuple(parts.part_number(part) for part in again),
            first_part=made.next_part,
        )
    moved = made.moves.keys()
    planned = [[(row, item, (part, row) in made.plan.kept) for row, item in found] for part, found in again.items()]
    new = (item for item in made.new_items() if item.key not in moved)
    forget_states(folder)
    first_row = max(made.known.next_row, noted_next_row(folder))
    most = min(planning.how.part_rows, loaded.provenance.part_rows)
    part_rows = rows_of_a_unit(made.plan.new - len(moved), planning.workers, most)
    return write_plan(folder, facts, planned, new, first_row, part_rows)


def rows_of_a_unit(count: int, workers: int, most: int) -> int:
    """Return how many rows the units of new inputs have: `most`, or fewer where some workers would get too few units.

    Args:
        count: of the inputs.
        workers: how many there are; 0 where nobody knows.
        most: rows of a unit at most.
    """
    if workers < 2:
        return most
    units = min(_UNITS_EACH * workers, count // _FEWEST_ROWS)
    if units > workers:
        units -= units % workers  # each gets as many
    return max(1, min(most, -(-count // max(1, units))))


def ensure_fits(plan: UnitPlan, found: BackboneFile, wanted: Provenance) -> None:
    """Raise StoreError where an unfinished plan is of another backbone, root or type than what is asked for now."""
    check_fits(plan.facts.provenance, wanted, plan.folder, allow_mixed_precision=True)
    if plan.facts.provenance.space != found.fingerprint:  # which check_fits says in more words
        raise StoreError(f"{shown(plan.folder)} has an unfinished run of another backbone.")


def run_plan(plan: UnitPlan, workers: Workers | None, how: How, summary: Summary) -> None:
    """Run what is left of a plan, and finish it unless the run is stopped; the store's lock must be held.

    Args:
        plan: the plan; it is gone in the end.
        workers: where its units run; in this process where it is None.
        how: how it computes, and whom it tells.
        summary: what is counted.

    Raises:
        StoreError: a worker refuses to take part, or a file cannot be written.
    """
    left, note = plan.open_units(), StateNote(plan.folder, plan.facts.run, "driver")

    def compute() -> Outcome:
        if not left:
            return Outcome()
        if workers is None:
            return run_units_here(plan, left, how, note)
        return _run_units_there(plan, left, workers, how, note, summary)

    outcome = run_counted(summary, plan, compute)
    if summary.interrupted:
        return
    summary.units_open += [f"unit {unit} ({plan.rows[unit]} rows): {why}" for unit, why in outcome.given_up.items()]
    finish_plan(plan, [*outcome.given_up])


def run_counted(summary: Summary, plan: UnitPlan, compute: Callable[[], Outcome]) -> Outcome:
    """Return what computing units of a plan gave, counted and timed in a summary."""
    made, begin = plan.facts.provenance, time.perf_counter()
    summary.provider, summary.precision = made.provider, made.precision
    outcome = compute()
    _count(outcome, summary, time.perf_counter() - begin)
    return outcome


def _run_units_there(
    plan: UnitPlan, left: Sequence[int], workers: Workers, how: How, note: StateNote, summary: Summary
) -> Outcome:
    made = plan.facts.provenance
    on_gpu = made.provider.startswith(("CUDA", "Tensorrt"))
    folder = plan.folder if is_remote(plan.folder) else plan.folder.absolute()
    wanted = Wanted(folder, plan.facts.run, workers.count, workers.address, on_gpu, 0)
    place, room = load_place(workers.place).open_place(wanted)
    begin, total = time.perf_counter(), sum(plan.rows[unit] for unit in left)
    summary.workers = room

    def tell(state: State, *, ended: bool = False) -> bool:
        units = len(left) - state.left - len(state.given_up)
        told = {"rows": state.done, "failed": state.failed, "given_up": [*state.given_up]}
        note.write(workers=state.workers, units=units, **told, ended=ended)  # type: ignore[arg-type]
        spent = time.perf_counter() - begin
        return how.watch.tell(Progress(state.done, state.failed, total, spent, state.workers, state.left))

    outcome = drive(place, left, room, tell=tell, check=lambda result: ensure_seen(plan, result))
    remove_temporaries(plan.folder)  # of workers that were ended
    failed = sum(sum(result.counts["failed"].values()) for result in outcome.results)
    rows = failed + sum(result.counts["extracted"] for result in outcome.results)
    open_units = len(left) - len(outcome.results) - len(outcome.given_up)
    tell(State(rows, failed, open_units, 0, tuple(outcome.given_up)), ended=True)
    return outcome


def run_units_here(plan: UnitPlan, units: Sequence[int], how: How, state: StateNote) -> Outcome:
    """Run units in this process, with its one note of what is being decoded."""
    with closing(CrashNote(notes_folder(plan.folder), how.decoders)) as note:
        runner = UnitRunner(plan, how.decoders, note)
        outcome = Outcome()
        run_on(runner, from_list(map(Asked, units)), sum(plan.rows[unit] for unit in units), how, state, outcome)
    return outcome


def run_on(
    runner: UnitRunner,
    units: Callable[[], Asked | None],
    total: int,
    how: How,
    state: StateNote,
    outcome: Outcome,
) -> None:
    """Run units on a runner in this process until there are none, or somebody stops it; count them in `outcome`."""
    begin, at = time.perf_counter(), [0, 0]

    def tell(done: int, failed: int) -> None:
        at[:] = done, failed
        state.write(workers=1, units=len(outcome.results), rows=done, failed=failed, given_up=[])
        # One of many processes helps others in the end: with more than it was to do.
        if how.watch.tell(Progress(done, failed, max(total, done), time.perf_counter() - begin)):
            raise KeyboardInterrupt

    def add(stages: dict[str, Stage]) -> None:
        outcome.stages.update(stages)

    try:
        for result in runner.run(units, News(at=tell, stages=add)):
            outcome.results.append(result)
    except KeyboardInterrupt:
        outcome.interrupted = True
    finally:
        runner.session.close()
        state.write(workers=0, units=len(outcome.results), rows=at[0], failed=at[1], given_up=[], ended=True)


def ensure_seen(plan: UnitPlan, result: UnitResult) -> None:
    """Raise StoreError where the file that a worker says it made is not there for this process."""
    target, end = plan.target(result.unit), time.monotonic() + _SEEN_WITHIN
    while not plan.is_there(result.unit):
        if time.monotonic() > end:
            share = "they do not share the folder. Give a folder of a file system that all machines have under the same"
            asked = "they ask different servers. Give all machines the same endpoint (AWS_ENDPOINT_URL)."
            raise StoreError(
                f"A worker says that {shown(target)} is there, and for this process it is not: "
                + (asked if is_remote(target) else f"{share} path.")
            )
        time.sleep(0.1)
        parts.list_parts(plan.folder)  # makes a share look again


def _count(outcome: Outcome, summary: Summary, seconds: float) -> None:
    for result in outcome.results:
        summary.add({name: count for name, count in result.counts.items() if count})
    summary.units += len(outcome.results)
    summary.worker_deaths += outcome.deaths
    summary.interrupted = outcome.interrupted
    summary.compute_seconds += seconds
    if outcome.stages:
        busy = sum(stage.busy for stage in outcome.stages.values()) or 1.0
        summary.stage_share = {name: round(stage.busy / busy, 4) for name, stage in outcome.stages.items()}
        summary.bound_by = bottleneck(outcome.stages, seconds)


def finish_plan(plan: UnitPlan, given_up: Sequence[int] = ()) -> None:
    """Bring what was computed again into its parts, shut out late workers, and end the run; under the store's lock.

    Where this is cut off, doing it once more ends with the same store.

    Raises:
        StoreError: units are neither done nor given up, or a part is damaged or cannot be written.
    """
    with parts.unlisted(plan.folder):
        # Of before what was computed again is read: who comes late finds either that or the part to be another.
        states = store_files.states(plan.folder)
    for unit in given_up:
        if unit >= len(plan.facts.again):
            shut(plan, unit)
    left = absent_from(plan.open_units(), given_up)
    if left:
        raise StoreError(
            f"{len(left)} of {len(plan)} units of the run in {shown(plan.folder)} are not there yet, the first is unit "
            f"{left[0]}. Wait for the workers that are at it, or start them again."
        )
    for unit, number in enumerate(plan.facts.again):
        if unit not in given_up:
            plan.check_made(unit)
            part = parts.part_path(plan.folder, number)
            merge_rows(part, plan.target(unit), states.get(part.name))
    plan.remove()


def shut(plan: UnitPlan, unit: int) -> None:
    """Make the part of a unit that was given up, empty: a late worker finds it there, and the inputs stay new."""
    provenance = replace(plan.provenance(unit), next_row=plan.facts.next_row)
    if not PartRows(plan.target(unit), provenance, 1).finished().create():
        plan.check_made(unit)  # the late worker was first, which is as good
