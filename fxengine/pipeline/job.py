"""What an extraction is asked for, and what of it is found before anything is planned."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fxengine.backbones import named_tower, source_name
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import Listing, TextColumns, collect
from fxengine.collect.opened import usual_frames
from fxengine.decode.limits import Limits, usual_limits
from fxengine.errors import InputError, given, path_of
from fxengine.features.schema import Dtype, Provenance
from fxengine.pipeline.plan import (
    Asked,
    find_backbone,
    provenance_of,
    recorded,
    recorded_boxes,
    recorded_frames,
)
from fxengine.pipeline.source import Source, source_of
from fxengine.pipeline.suited import ensure_suited

_NO_BOXES: tuple[Path | None, float] = (None, 0.0)


@dataclass(frozen=True)
class Job:
    """What is extracted from what into where, as a person asks for it.

    Attributes:
        inputs: what was given.
        folder: the store.
        listing, patterns, columns, boxes, margin, containers, frames, allow_private: which inputs, as `extract` is
            asked for them.
        backbone: what computes.
        options: of its export.
        dtype, limits, limit, retry_failed, groups: as `plan.Asked` has them.
        of_pictures: whether something is asked for that only pictures have.
    """

    inputs: str | Path | Listing
    folder: Path
    listing: str | Path | None
    patterns: tuple[tuple[str, ...], tuple[str, ...]]
    columns: TextColumns
    boxes: str | Path | None
    margin: float | None
    containers: bool
    frames: str | None
    allow_private: bool
    backbone: str | Path
    options: ExportOptions
    dtype: Dtype
    limits: Limits | Mapping[str, int] | None
    limit: int | None
    retry_failed: bool
    groups: tuple[str, ...]
    of_pictures: bool


@dataclass(frozen=True)
class Opened:
    """A job whose backbone and inputs were found.

    Attributes:
        found: the backbone.
        inputs: where the inputs are listed.
        asked: what the run is asked for.
        source: where another process finds the inputs; None where they came as a listing.
    """

    found: BackboneFile
    inputs: Listing
    asked: Asked
    source: Source | None


def open_job(job: Job) -> Opened:
    """Find the backbone and the inputs."""
    inputs, backbone = job.inputs, job.backbone
    found = find_backbone(backbone, job.options, job.folder)
    backbone = named_tower(backbone, job.options.tower, found)
    if found.recipe.modality == "text" and job.of_pictures:
        raise InputError("`max_pixels` and `decode_on` are about pictures, the backbone takes texts: leave them away.")
    source, boxed = None, _NO_BOXES
    containers = job.containers
    if not isinstance(inputs, Listing):
        made = recorded(job.folder)
        boxed = _boxes(job.boxes, job.margin, made)
        plain = job.listing is None and boxed[0] is None and found.recipe.modality == "picture"
        frames = _frames(job, made, plain=plain)
        containers = job.containers or any(one.containers for one in made)
        listed = _collect(job, found, boxed, frames, containers=containers)
        source = source_of(
            inputs,
            found.recipe.modality,
            job.listing,
            job.patterns,
            job.columns,
            boxed,
            frames,
            containers=containers,
            allow_private=job.allow_private,
        )
        inputs = listed
    asked = Asked(backbone, job.dtype, job.limits, job.limit, job.retry_failed, job.groups, containers, *boxed)
    return Opened(found, inputs, asked, source)


def wanted_of(opened: Opened) -> Provenance:
    """Return what rows of this run are made with, as far as it must be that of an unfinished plan."""
    asked, limits = opened.asked, usual_limits(opened.found.recipe.modality)
    return provenance_of(opened.found, source_name(asked.backbone), opened.inputs.root, asked.dtype, limits)


def _collect(
    job: Job, found: BackboneFile, boxed: tuple[Path | None, float], frames: str | None, *, containers: bool
) -> Listing:
    inputs = job.inputs
    if not isinstance(inputs, str | os.PathLike):
        raise InputError(
            f"`inputs` must be a folder or a file (text or pathlib.Path), or a listing. Got {given(inputs)}; "
            "several go into a file, which `listing` names."
        )
    if job.listing is None:
        ensure_suited(found, Path(inputs), job.columns, containers=containers)
    return collect(
        inputs,
        listing=None if job.listing is None else path_of("listing", job.listing),
        include=job.patterns[0],
        exclude=job.patterns[1],
        modality=found.recipe.modality,
        columns=job.columns,
        containers=containers,
        boxes=boxed[0],
        margin=boxed[1],
        frames=frames,
        allow_private=job.allow_private,
    )


def _frames(job: Job, made: Sequence[Provenance], *, plain: bool) -> str | None:
    """Return which frames of videos are rows: those that are asked for, else those of the store.

    Args:
        job: what is asked for; a store that was made without videos stays so.
        made: what the parts of the store were made with.
        plain: whether whole pictures of a folder are extracted: neither texts nor boxes, nor what a list names.
    """
    if job.frames is not None or not plain:
        return job.frames
    if made:
        return recorded_frames(made)
    return usual_frames(None, containers=job.containers, boxed=False)


def _boxes(boxes: str | Path | None, margin: float | None, made: Sequence[Provenance]) -> tuple[Path | None, float]:
    """Return the boxes that are asked for, else those of the store, and their margin."""
    stored = recorded_boxes(made)
    path = stored[0] if boxes is None and stored is not None else boxes
    if path is None:
        if margin is not None:
            raise InputError("`margin` is what is taken around `boxes`: give these, too.")
        return None, 0.0
    share = (stored[1] if stored is not None else 0.0) if margin is None else margin
    if not 0 <= share <= 10:
        raise InputError(f"`margin` must be a share from 0 to 10. Got {given(share)}.")
    return Path(os.path.abspath(path_of("boxes", path))), float(share)
