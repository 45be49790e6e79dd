"""Takes the inputs from a list of paths: a text file, a CSV or a Parquet table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fxengine.collect.folder import Filters
from fxengine.errors import InputError
from fxengine.features.schema import Item, escape_path

_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path", "id")


@dataclass
class PathListing:
    """The inputs that a list names; iterating yields `Item`s sorted by id, each path once.

    Attributes:
        root: folder that ids are relative to.
        paths: the paths as given, relative to `root` or absolute.
        filters: which of them count.
        unreadable: always empty; a path that is not there becomes an error row.
        labelled: a list tells no labels.
    """

    root: Path
    paths: list[str]
    filters: Filters = field(default_factory=Filters)
    unreadable: list[str] = field(default_factory=list)
    labelled: bool = False

    def __iter__(self) -> Iterator[Item]:
        relative = {os.path.relpath(self.root / path, self.root).replace(os.sep, "/") for path in self.paths}
        admitted = filter(self.filters.admit, relative)
        for path in sorted(admitted, key=lambda path: escape_path(path).encode()):
            source = self.root / path
            try:
                status = source.stat()
                size, mtime_ns = status.st_size, status.st_mtime_ns
            except (OSError, ValueError):  # ValueError: a NUL byte in the path
                size, mtime_ns = -1, 0
            yield Item(escape_path(path), str(source), size, mtime_ns)

    def count(self) -> int:
        """Return how many paths the list names, doubles included."""
        return len(self.paths)


def list_paths(listing: Path, root: Path, filters: Filters | None = None) -> PathListing:
    """Return the inputs that the file `listing` names.

    Args:
        listing: .txt (a path a line), .csv or .parquet (a column called path, or the only column).
        root: folder that relative paths are relative to.
        filters: which of them count; all unless given.

    Raises:
        InputError: the list cannot be read, has no such column, or is empty.
    """
    if not listing.is_file():
        raise InputError(f"There is no list {listing}.")
    if listing.suffix.lower() in (".csv", ".tsv", ".parquet"):
        paths = _read_table(listing)
    else:
        lines = listing.read_bytes().splitlines()
        paths = [os.fsdecode(line) for line in lines if line.strip()]
    if not paths:
        raise InputError(f"The list {listing} names no file.")
    return PathListing(root, paths, filters or Filters())


def _read_table(listing: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if listing.suffix.lower() == ".parquet":
            table = pyarrow.parquet.read_table(listing)
        else:
            options = pyarrow.csv.ParseOptions(delimiter="\t" if listing.suffix.lower() == ".tsv" else ",")
            names = pyarrow.csv.open_csv(listing, parse_options=options).schema.names
            # A path of digits is a name, not a number.
            text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
            table = pyarrow.csv.read_csv(listing, parse_options=options, convert_options=text)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"The list {listing} cannot be read: {str(error).splitlines()[0]}") from error
    names = [name for name in table.column_names if name.lower() in _COLUMNS]
    if not names and table.num_columns == 1:
        names = table.column_names
    if not names:
        raise InputError(f"The list {listing} has no column 'path'. It has: {', '.join(table.column_names)}.")
    return [str(value) for value in table.column(names[0]).to_pylist() if value is not None and str(value).strip()]
