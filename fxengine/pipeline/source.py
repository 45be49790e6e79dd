"""Where the inputs of a run are listed, as a plan keeps it, so that another process can open them, too."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fxengine.collect import Listing, TextColumns, collect
from fxengine.collect.item import escape_path, unescape_path
from fxengine.storage import absolute


@dataclass(frozen=True)
class Source:
    """What `collect` is asked for; paths are absolute, and escaped as those of items.

    Attributes:
        inputs: a folder, a file or a container.
        modality: what the inputs are.
        listing: a file that names inputs, or "".
        include: patterns of which an input must fit one.
        exclude: patterns of which an input must fit none.
        columns: of a table, what is what: names of the fields of `TextColumns` that are not None.
        containers: whether containers in a folder are opened.
        boxes: a file or folder of boxes, or "".
        margin: what is taken around a box.
        frames: which frames of videos, or "".
        allow_private: whether addresses may lie in private networks.
    """

    inputs: str
    modality: str
    listing: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    columns: dict[str, str] | None = None
    containers: bool = False
    boxes: str = ""
    margin: float = 0.0
    frames: str = ""
    allow_private: bool = False

    def open(self) -> Listing:
        """Return the listing; raises InputError as `collect` does."""
        return collect(
            unescape_path(self.inputs),
            listing=_path(self.listing),
            include=self.include,
            exclude=self.exclude,
            modality=self.modality,
            columns=TextColumns(**(self.columns or {})),
            containers=self.containers,
            boxes=_path(self.boxes),
            margin=self.margin,
            frames=self.frames or None,
            allow_private=self.allow_private,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {**asdict(self), "include": list(self.include), "exclude": list(self.exclude)}


def source_of(
    inputs: str | Path,
    modality: str,
    listing: str | Path | None,
    patterns: tuple[tuple[str, ...], tuple[str, ...]],
    columns: TextColumns,
    boxed: tuple[Path | None, float],
    frames: str | None,
    *,
    containers: bool,
    allow_private: bool,
) -> Source:
    """Return the source that `collect` is asked for by these arguments."""
    return Source(
        _text(inputs),
        modality,
        _text(listing),
        *patterns,
        {name: value for name, value in asdict(columns).items() if value is not None},
        containers,
        _text(boxed[0]),
        boxed[1],
        frames or "",
        allow_private,
    )


def _text(path: str | Path | None) -> str:
    return "" if path is None else escape_path(absolute(path))


def _path(text: str) -> Path | None:
    return Path(unescape_path(text)) if text else None
