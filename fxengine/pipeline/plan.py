"""What a run has to do, settled before anything is computed: backbone, limits, rows, units."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from fxengine.backbones import load_backbone, load_for_space, source_name
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import BackboneFile, TextRecipe, layer_output
from fxengine.collect import Listing
from fxengine.collect.archive import ArchiveListing
from fxengine.collect.boxes import BoxListing
from fxengine.collect.item import Item, escape_path, unescape_path
from fxengine.collect.text_table import TextTable
from fxengine.decode.limits import Limits, usual_limits
from fxengine.errors import InputError
from fxengine.features import parts
from fxengine.features.known import Known, Plan, make_plan, new_items
from fxengine.features.schema import (
    ETAG_GROUP,
    FEATURE,
    KEPT_BYTES,
    KEPT_GROUP,
    WORDS_GROUP,
    Dtype,
    Provenance,
    layer_column,
    united_groups,
    widest_limits,
)
from fxengine.features.update import Movable
from fxengine.features.write import check_fits
from fxengine.pipeline.lookahead import hash_each, readers_of
from fxengine.pipeline.summary import Progress, Watch
from fxengine.pipeline.units import Move
from fxengine.storage import is_remote, shown
from fxengine.store_files import each

_PRUNE_GUARD = 0.2


@dataclass(frozen=True)
class Asked:
    """What a run is asked for.

    Attributes:
        backbone: a name, KIND:WHAT, or a file that fxengine exported.
        dtype: type of the stored vectors.
        limits: what is refused as too large, or some of its fields by name; the others are those of the store.
        limit: take only the first so many inputs.
        retry_failed: try inputs again that failed for a lasting reason.
        add_columns: groups of further columns that the store is to have.
        containers: whether tars, zips and Parquet files of pictures in a folder are opened.
        boxes: a file or folder of boxes, each of which is a row, or None.
        margin: what is taken around a box, as a share of its edges.
    """

    backbone: str | Path
    dtype: Dtype
    limits: Limits | Mapping[str, int] | None
    limit: int | None
    retry_failed: bool
    add_columns: tuple[str, ...] = ()
    containers: bool = False
    boxes: Path | None = None
    margin: float = 0.0


@dataclass(frozen=True)
class RunPlan:
    """What a run has to do.

    Attributes:
        inputs: where the inputs are listed.
        limit: only the first so many of them.
        found: the backbone.
        limits: what is refused as too large.
        known: the store's rows.
        plan: what has to be done with them.
        provenance: what new rows are made with, but for how they are computed.
        movable: rows whose input is gone, by their content.
        moves: id of a new input -> the row that it takes over, since it has the content of one that is gone.
        stopped: whether it was stopped while these were looked for: then they are all that the run still does.
        moves_only: whether all the rest was done elsewhere.
        made_by: what each part of the store was made with.
        made_elsewhere: new parts that workers have made by this plan.
    """

    inputs: Listing
    limit: int | None
    found: BackboneFile
    limits: Limits
    known: Known
    plan: Plan
    provenance: Provenance
    movable: Movable
    moves: dict[str, Move] = field(default_factory=dict)
    stopped: bool = False
    moves_only: bool = False
    made_by: tuple[Provenance, ...] = ()
    made_elsewhere: int = 0

    @property
    def next_part(self) -> int:
        """Number of the next new part: behind those that were listed, so that of two writers one finds it there."""
        return parts.next_part_number(self.known.paths) + self.made_elsewhere

    @property
    def count(self) -> int:
        """How many inputs go through the run."""
        if self.stopped or self.moves_only:
            return len(self.moves)
        return self.plan.new + sum(map(len, self.plan.again.values()))

    @property
    def columns(self) -> dict[str, str]:
        """The graph's outputs `features` and `features@NAME` -> the store's columns `feature` and `feature@NAME`."""
        layers = {layer_output(name): layer_column(name) for name, _ in self.found.facts.layers}
        return {layer_output(None): FEATURE, **layers}

    def new_items(self) -> Iterator[Item]:
        """Yield the inputs that the store has no row for, in their order."""
        new = new_items(self.known, islice(self.inputs, self.limit))
        return (item for item in new if item.key in self.moves) if self.stopped or self.moves_only else new

    def check_parts(self, wanted: Provenance, *, allow_mixed_precision: bool) -> None:
        """Raise StoreError where rows made with `wanted` do not belong into the store."""
        for path, made in zip(self.known.paths, self.made_by, strict=True):
            check_fits(made, wanted, path.parent, allow_mixed_precision=allow_mixed_precision)


def plan_run(found: BackboneFile, inputs: Listing, folder: Path, asked: Asked) -> RunPlan:
    """Compare what is there with what the store has; the store's lock must be held.

    Raises:
        InputError: an option cannot be used, or there is no input at all.
        StoreError: the store belongs to another backbone or root, or is damaged.
    """
    known, modality = Known.read(parts.list_parts(folder), hashes=_is_hashed(inputs)), found.recipe.modality
    made_by = tuple(each(parts.read_provenance, known.paths))  # once: a store may have a thousand parts
    limits = asked.limits
    if not isinstance(limits, Limits):
        found_limits = widest_limits(made_by)
        limits = _with(Limits(**found_limits) if found_limits else usual_limits(modality), limits or {})
    wanted = provenance_of(found, source_name(asked.backbone), inputs.root, asked.dtype, limits)
    remote = is_remote(inputs.root) and not _is_hashed(inputs)
    own = ("text",) * (modality == "text") + (WORDS_GROUP,) * wanted.knows_words + (ETAG_GROUP,) * remote
    groups = united_groups(made_by, (*own, *asked.add_columns), modality, knows_words=wanted.knows_words, remote=remote)
    pictures = inputs.pictures if isinstance(inputs, BoxListing) else inputs
    opened = isinstance(pictures, ArchiveListing) and pictures.opens_archives
    frames = pictures.frames if isinstance(pictures, ArchiveListing) else ""
    wanted = replace(wanted, groups=groups, containers=asked.containers or opened, frames=frames)
    if frames:
        wanted = replace(wanted, versions={**wanted.versions, "av": version("av")})
    if asked.boxes is not None:
        wanted = replace(wanted, boxes=escape_path(str(asked.boxes)), margin=asked.margin)
    if KEPT_GROUP in wanted.groups and limits.max_bytes > KEPT_BYTES:
        raise InputError(f"A store keeps texts of up to {KEPT_BYTES} bytes: leave `max_bytes` or `keep_text` away.")
    if isinstance(inputs, TextTable):
        wanted = replace(wanted, read_columns={n: column for n, column in asdict(inputs.columns).items() if column})
    made = RunPlan(inputs, asked.limit, found, limits, known, Plan(), wanted, Movable({}, inputs.root), made_by=made_by)
    made.check_parts(wanted, allow_mixed_precision=True)
    plan = _compare(made, asked.retry_failed)
    # Where a folder could not be read, what lies in it only looks gone.
    movable = Movable(plan.missing if plan.new and not inputs.unreadable else {}, inputs.root)
    return replace(made, plan=plan, movable=movable)


def with_moves(made: RunPlan, watch: Watch) -> RunPlan:
    """Find the new inputs that are renamed ones; only those are read for it that are as long as one that is gone."""
    candidates = (item for item in made.new_items() if item.size in made.movable.sizes) if made.movable else ()
    moves: dict[str, Move] = {}
    begin, stopped = time.perf_counter(), False
    try:
        with closing(
            hash_each(made.inputs.read, made.limits.max_bytes, candidates, readers_of(made.inputs.root))
        ) as hashed:
            for item, digest in hashed:
                claimed = made.movable.claim(digest) if digest in made.movable else None
                if claimed is not None:
                    moves[item.key] = Move(item, digest, *claimed)
                if len(moves) == len(made.movable):
                    break
                if watch.tell(Progress(0, 0, made.count, time.perf_counter() - begin)):
                    stopped = True
                    break
    except KeyboardInterrupt:
        stopped = True
    return replace(made, moves=moves, stopped=stopped, plan=replace(made.plan, again={}) if stopped else made.plan)


def guard_prune(made: RunPlan, *, yes: bool) -> None:
    """Raise InputError where too many rows would be removed, or a folder could not be read."""
    missing, known, inputs = sum(map(len, made.plan.missing.values())), made.known, made.inputs
    if not missing:
        return
    if inputs.unreadable:
        raise InputError(f"`prune` is refused: {inputs.unreadable[0]} cannot be read, so its files only look gone.")
    if missing > _PRUNE_GUARD * len(known) and not yes:
        raise InputError(
            f"`prune` would remove {missing} of {len(known)} rows from the store. {_doubt(inputs)} If not, add `yes`."
        )


def _doubt(inputs: Listing) -> str:
    return "Has the table lost rows?" if isinstance(inputs, TextTable) else "Is a share not mounted?"


def recorded(folder: Path) -> list[Provenance]:
    """Return what each part of a store was made with, in the order of their numbers."""
    return [*each(parts.read_provenance, parts.list_parts(folder))]


def recorded_boxes(made: Sequence[Provenance]) -> tuple[Path, float] | None:
    """Return the boxes that a store of these parts is of, and their margin, None where it is of whole pictures."""
    return next(((Path(unescape_path(one.boxes)), one.margin) for one in reversed(made) if one.boxes), None)


def recorded_frames(made: Sequence[Provenance]) -> str | None:
    """Return which frames of videos a store of these parts is of, None where videos were not opened."""
    return next((one.frames for one in reversed(made) if one.frames), None)


def recorded_limits(paths: Sequence[Path]) -> Limits | None:
    """Return the widest limits that parts were made with, None where none says."""
    found = widest_limits([parts.read_provenance(path) for path in paths])
    return Limits(**found) if found else None


def _with(limits: Limits, stated: Mapping[str, int]) -> Limits:
    """Return limits with some stated anew; raises InputError on a name that is none of theirs, or no count."""
    there = asdict(limits)
    for name, value in stated.items():
        if name not in there:
            raise InputError(f"There is no limit {name!r}. There is: {', '.join(there)}.")
        if type(value) is not int or value < 1:
            raise InputError(f"`{name}` must be a positive whole number. Got {value!r}.")
    return replace(limits, **stated)


def provenance_of(found: BackboneFile, source: str, root: Path, dtype: Dtype, limits: Limits) -> Provenance:
    """Return what rows are made with, but for how they are computed and what decodes them."""
    return Provenance(
        space=found.fingerprint,
        source=source,
        recipe=found.recipe.canonical() if isinstance(found.recipe, TextRecipe) else asdict(found.recipe),
        root=escape_path(shown(root)),
        dim=found.facts.dim,
        layers=dict(found.facts.layers),
        dtype=dtype,
        precision="",
        engine="",
        provider="",
        decoder="",
        versions={"fxengine": version("fxengine"), "pyarrow": pa.__version__, "numpy": np.__version__},
        limits=asdict(limits),
    )


def find_backbone(source: str | Path, options: ExportOptions, store: Path) -> BackboneFile:
    """Return the backbone; where it was another in earlier versions, that of the store.

    Args:
        source: a name, KIND:WHAT, or a file that fxengine exported.
        options: which layers of it to store, and how word vectors are taken.
        store: the store's folder.

    Raises:
        InputError: the backbone cannot be used.
        StoreError: the store is damaged.
    """
    paths = parts.list_parts(store)
    if not paths:
        return load_backbone(source, options)
    return load_for_space(source, parts.read_provenance(paths[0]).space, options)


def _is_hashed(inputs: Listing) -> bool:
    """Tell whether the listing says the hash of what each input holds: a table is read whole when it is opened."""
    return isinstance(inputs, TextTable)


def _compare(made: RunPlan, retry_failed: bool) -> Plan:
    inputs, known, limit = made.inputs, made.known, made.limit
    if len(known):
        plan = make_plan(
            known,
            islice(inputs, limit),
            retry_failed=retry_failed,
            labelled=inputs.labelled,
            groups=made.provenance.groups,
            hashed=_is_hashed(inputs),
        )
        if limit is not None:
            plan.missing = {}  # what lies behind the limit is not missing
        return plan
    count = inputs.count()
    plan = Plan(new=count if limit is None else min(count, limit))
    if not plan.new:
        if isinstance(inputs, BoxListing) and inputs.absent:
            raise InputError(f"There is no box to extract in {inputs.root}: {inputs.absent}.")
        hint = f" {len(inputs.unreadable)} folders could not be read." if inputs.unreadable else ""
        file = "file" if made.found.recipe.modality == "picture" else ".txt file"
        raise InputError(
            f"There is no {file} to extract from in {shown(inputs.root)}.{hint} Hidden files are left out."
        )
    return plan
