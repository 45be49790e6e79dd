"""A part's footer: what it announces is checked before anything is allocated for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fxengine.errors import StoreError, first_line
from fxengine.features.schema import KEPT_BYTES, KEPT_GROUP, Provenance, part_schema
from fxengine.storage import is_remote, shown
from fxengine.store_files import open_file, reason_of, size_of


@dataclass(frozen=True)
class Footer:
    """What a part says before any of its pages is read.

    Attributes:
        path: the part.
        provenance: what it was made from.
        rows: how many it has.
    """

    path: Path
    provenance: Provenance
    rows: int


def read_footer(path: Path, columns: Sequence[str] | None = ()) -> Footer:
    """Return a part's footer, checked, so that nothing is allocated for what no part can hold.

    Args:
        path: the part.
        columns: those that are to be read, None for all; their types are checked, too, but for those of a column
            group that the part has not.

    Raises:
        StoreError: the file is cut short, empty, not ours, or announces what fxengine does not write.
    """
    try:
        with open_part(path) as opened:
            return footer_of(opened, path, columns)
    except OSError as error:
        raise damaged(path, error) from error


def open_part(path: Path, *, whole: bool = False) -> BinaryIO:
    """Open a part, to read all of it where `whole` says so; one may be a link to a file, as download caches make them.

    Raises OSError.
    """
    return open_file(path, follow=True, whole=whole)


def footer_of(opened: BinaryIO, path: Path, columns: Sequence[str] | None) -> Footer:
    """Return the footer of a part that is open; otherwise as `read_footer`."""
    try:
        size, metadata = size_of(opened), pq.read_metadata(opened)
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last, of a column's name
        raise damaged(path, error) from error
    provenance = Provenance.from_schema(schema, path.name)
    lacking = {each.name for each in provenance.lacking}
    wanted = part_schema(provenance).names if columns is None else [name for name in columns if name not in lacking]
    problem = (
        _rows_problem(metadata, provenance, size)
        or _types_problem(schema, provenance, wanted)
        or _size_problem(metadata, provenance)
    )
    if problem is not None:
        raise damaged(path, problem)
    return Footer(path, provenance, metadata.num_rows)


def damaged(path: Path, error: Exception | str) -> StoreError:
    """Return the error for a part that cannot be read."""
    refused = None if isinstance(error, str) else reason_of(path, error)
    if refused is not None:
        return StoreError(f"{shown(path)} cannot be read: {refused}")
    reason = error if isinstance(error, str) else getattr(error, "strerror", None) or first_line(error)
    return StoreError(f"{shown(path)} is damaged ({reason[:160]}). {mending(path.parent)}")


def mending(store: Path) -> str:
    """Return in a sentence what makes damaged parts of a store anew."""
    if is_remote(store):
        return "Copy the store to a folder: `fxengine verify FOLDER --repair` makes it anew there."
    return f"`fxengine verify {store} --repair` makes it anew."


def _rows_problem(metadata: pq.FileMetaData, provenance: Provenance, size: int) -> str | None:
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    if sum(groups) != metadata.num_rows or min(groups, default=0) < 0:
        return f"its row groups have {sum(groups)} rows, its footer says {metadata.num_rows}"
    # Row numbers and ids differ from row to row: compressed as well as can be they take 1.7 bytes, by us over four.
    most = min(provenance.part_rows, size)
    if metadata.num_rows > most:
        return f"it announces {metadata.num_rows} rows, a part of {size} bytes can have {most}"
    return None


def _types_problem(schema: pa.Schema, provenance: Provenance, columns: Sequence[str]) -> str | None:
    ours = part_schema(provenance)
    for name in columns:
        found = schema.get_all_field_indices(name)
        if len(found) != 1 or name not in ours.names:
            return f"it has {len(found)} columns {name!r}"
        kind = schema.field(found[0]).type
        if kind != ours.field(name).type:
            return f"its column {name!r} is of type {kind}, not {ours.field(name).type}"
    return None


def _size_problem(metadata: pq.FileMetaData, provenance: Provenance) -> str | None:
    """Return that the part announces more bytes, once decompressed, than its rows can take, or None.

    Of row groups, never of their columns: pyarrow describes a column only behind a check of its statistics, whose
    exception Python never sees, so that a wrong footer would end the process. Where pages are read it is an error.
    """
    sizes = [metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)]
    width = np.dtype(provenance.dtype).itemsize + 1  # a number and its levels
    vectors = metadata.num_rows * sum(provenance.columns.values()) * width + len(sizes) * 4096  # headers of pages
    # Texts have no bound of their own (a list may name a path of any length), but a generous one all together.
    texts = metadata.num_rows * ((KEPT_BYTES if KEPT_GROUP in provenance.groups else 0) + (1 << 16))
    if min(sizes, default=0) < 0 or sum(sizes) > vectors + max(texts, 1 << 24):
        return f"it announces {sum(sizes)} bytes for {metadata.num_rows} rows"
    return None
