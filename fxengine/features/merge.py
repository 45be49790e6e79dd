"""Takes rows that were computed again elsewhere into their part."""

from __future__ import annotations

from pathlib import Path

from fxengine.collect.item import Item
from fxengine.features import parts
from fxengine.features.parts import Row, Vectors
from fxengine.features.schema import Provenance
from fxengine.features.write import rewrite_part
from fxengine.storage import Found


def merge_rows(part: Path, made: Path, read: Found | None = None) -> None:
    """Replace rows of a part by those of the same numbers in another file; done twice, it is as if done once.

    Args:
        part: the part; the store's lock must be held.
        made: a file like a part, whose rows are all in `part`.
        read: the state that `part` must still have, as for `rewrite_part`.

    Raises:
        StoreError: one of the two is damaged or cannot be written.
    """
    table = parts.read_part(made).combine_chunks()
    provenance = Provenance.from_schema(table.schema, made.name)
    matrices = {n: parts.vector_matrix(table[n].combine_chunks(), dim) for n, dim in provenance.columns.items()}
    names = [each.name for each in provenance.further]
    small = table.drop_columns([*matrices]).to_pylist()
    again: dict[int, tuple[Row, Vectors | None]] = {}
    for at, row in enumerate(small):
        item = Item(row["id"], "", row["size"], row["mtime_ns"], row["label"], row["split"])
        told = {name: row[name] for name in ("content_hash", "width", "height", "error_code", "error")}
        vectors = None if row["error_code"] else {name: matrix[at] for name, matrix in matrices.items()}
        again[row["row"]] = Row(row=row["row"], item=item, **told, further={name: row[name] for name in names}), vectors
    if again:
        rewrite_part(part, provenance, again=again, read=read)
