"""A column of vectors of many parts, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from fxengine.errors import StoreError
from fxengine.features.footer import Footer, damaged
from fxengine.features.parts import ROW_GROUP, bad_row, bad_vector, read_part
from fxengine.storage import is_remote, shown
from fxengine.store_files import WHOLE_AT_ONCE, each


def scan(footers: Sequence[Footer], column: str) -> Iterator[pa.Array]:
    """Yield one column of vectors of several parts in their order and pieces, decoded ahead by Arrow's own threads.

    Parts in a bucket come whole, some at once.

    Args:
        footers: of the parts, as `read_footer` gives them for this column and `error_code`.
        column: its name.

    Raises:
        StoreError: a part is damaged, or a vector has another length, a value that is not finite, or an error.
    """
    paths, starts = [footer.path for footer in footers], np.cumsum([0, *(footer.rows for footer in footers)])
    dim, begin = footers[0].provenance.columns[column], 0
    if is_remote(paths[0]):
        for table in each(lambda path: read_part(path, [column]), paths, WHOLE_AT_ONCE):
            begin += len(table)
            yield from table[column].chunks
        _check_count(paths, begin, int(starts[-1]))
        return
    import pyarrow.dataset as ds  # loads pandas where that is installed: half of a command's start

    options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    files = ds.dataset(
        [str(path) for path in paths], format=ds.ParquetFileFormat(default_fragment_scan_options=options)
    )
    wanted = [column, "error_code"]
    try:
        for batch in files.to_batches(columns=wanted, batch_size=ROW_GROUP, batch_readahead=8, fragment_readahead=2):
            vectors, codes = batch.columns
            bad = bad_vector(vectors, np.asarray(codes.is_valid()), dim)
            if bad is not None:
                part = int(np.searchsorted(starts, begin + bad[0], side="right")) - 1
                raise bad_row(paths[part], begin + bad[0] - int(starts[part]), bad[1])
            begin += len(batch)
            yield vectors
    except (pa.ArrowException, OSError) as error:
        bad_path = next((path for path in paths if path.name in str(error)), None) or _first_damaged(paths, column)
        raise damaged(bad_path, error) from error
    _check_count(paths, begin, int(starts[-1]))


def _check_count(paths: Sequence[Path], rows: int, expected: int) -> None:
    if rows != expected:
        raise StoreError(f"{shown(paths[0].parent)} gave {rows} rows of {expected}: was it changed while it was read?")


def _first_damaged(paths: Sequence[Path], column: str) -> Path:
    for path in paths:
        try:
            read_part(path, [column])
        except StoreError:
            return path
    return paths[0]
