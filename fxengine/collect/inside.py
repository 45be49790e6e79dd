"""Lists what is in one container as the inputs of a listing that the container is a part of."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from fxengine.collect.item import SPLITS, Item, Place, TextColumns, escape_path
from fxengine.collect.opened import open_archive
from fxengine.storage import Found

# What Hugging Face calls the shards of a split, and those who write tars after it.
_SHARD = re.compile(rf"({'|'.join(SPLITS)})-\d+(-of-\d+)?\.", re.IGNORECASE)


def items_in(
    place: Place,
    path: str,
    source: str,
    tell: Callable[[str], None],
    label: str | None = None,
    split: str | None = None,
    *,
    found: Found | None = None,
    url: str | None = None,
) -> Iterator[Item]:
    """Yield the inputs in a container, sorted by id.

    Args:
        place: what the listing was asked for.
        path: where the container lies below the listing's root.
        source: its place.
        tell: takes in a sentence that says what is missing in it.
        label: what members have that say none themselves.
        split: the same.
        found: what its server has just said of it.
        url: its whole address on the web.

    Raises:
        InputError: it is none, or a column is missing or holds no pictures.
        OSError: it is not there, or cannot be read.
    """
    opened = open_archive(source, found=found, url=url, private=place.allow_private, fresh=True)
    tell(opened.archive.cut)
    shard = _SHARD.match(os.path.basename(path))  # noqa: PTH119
    split = split or (shard[1].lower() if shard else None)
    columns = place.columns if path.lower().endswith(".parquet") else TextColumns()
    for member in opened.archive.members(texts=place.modality == "text", columns=columns):
        if place.filters.admit(f"{path}/{member.path}"):
            yield Item(
                escape_path(f"{path}/{member.path}"),
                f"{source}/{member.path}",
                member.size,
                opened.mtime_ns,
                member.label or label,
                member.split or split,
                etag=opened.etag,
            )
