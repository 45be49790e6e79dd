"""An index on disk: a folder of index.faiss, rows.parquet and index.json, which names the hashes of the other two."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import faiss
import pyarrow as pa
import pyarrow.parquet as pq

from fxengine.errors import StoreError
from fxengine.neighbours.choose import Wanted
from fxengine.neighbours.tune import Recall, Trial

FORMAT = 1
_FAISS, _ROWS, _JSON = "index.faiss", "rows.parquet", "index.json"
# One row for every vector in the FAISS file, in its order: FAISS counts them from 0. One that is gone from the store
# stays in the file until the next rebuild, and is never found.
ROWS_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("content_hash", pa.string()),
        pa.field("living", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True)
class IndexFacts:
    """What an index was made from, and how good it is.

    Attributes:
        space: fingerprint of the backbone.
        store: fingerprint of the store that it is true to.
        wanted: what was asked for.
        queries: what it was measured and tuned on.
        trials: what was tried; the first is the index itself.
        added: rows added since that was measured.
        removed: rows gone since then.
        versions: of FAISS and fxengine.
        hashes: file name -> SHA-256.
    """

    space: str
    store: str
    wanted: Wanted
    queries: str
    trials: tuple[Trial, ...]
    added: int = 0
    removed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def trial(self) -> Trial:
        """The index itself, as it was measured."""
        return self.trials[0]

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON data."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> IndexFacts:
        """Read them back; raises KeyError or TypeError where they are not those of an index."""
        values = {key: value for key, value in data.items() if key != "format"}
        wanted = Wanted(**values.pop("wanted"))
        trials = tuple(Trial(**{**trial, "recall": Recall(**trial["recall"])}) for trial in values.pop("trials"))
        return cls(wanted=wanted, trials=trials, **values)


def write_index(folder: Path, index: Any, rows: pa.Table, facts: IndexFacts) -> IndexFacts:
    """Write an index beside `folder`, then put it in its place; return the facts with the hashes.

    Raises:
        StoreError: the disk is full or the folder cannot be written to; an index that was there is kept.
    """
    made, old = (folder.with_name(f"{folder.name}.{word}-{os.getpid()}") for word in ("tmp", "old"))
    try:
        made.mkdir(parents=True)
        faiss.write_index(index, str(made / _FAISS))
        pq.write_table(rows.cast(ROWS_SCHEMA), made / _ROWS)
        hashes = {name: _sha256(made / name) for name in (_FAISS, _ROWS)}
        facts = replace(facts, hashes=hashes)
        (made / _JSON).write_text(json.dumps(facts.to_dict(), indent=2) + "\n")
        if folder.exists():
            folder.replace(old)
        made.replace(folder)
    except (OSError, RuntimeError) as error:
        raise StoreError(f"Cannot write the index {folder}: {error}. The one before, if any, is kept.") from error
    finally:
        for leftover in (made, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return facts


def read_facts(folder: Path) -> IndexFacts | None:
    """Return what an index says of itself, or None where there is none.

    Raises:
        StoreError: the file is damaged or of another format.
    """
    try:
        data = json.loads((folder / _JSON).read_text())
        if data["format"] != FORMAT:
            raise StoreError(f"{folder} is an index of another format. {_again(folder)}")
        return IndexFacts.from_dict(data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder / _JSON} is damaged. {_again(folder)}") from error


_SMALL = 1 << 26


def read_index(folder: Path, facts: IndexFacts) -> tuple[Any, pa.Table]:
    """Return the FAISS index and its rows; both files are checked by their hashes before they are read.

    Raises:
        StoreError: a file is missing, or is not the one that index.json was written with.
    """
    for name in (_FAISS, _ROWS):
        path = folder / name
        if not path.is_file() or _sha256(path) != facts.hashes.get(name):
            raise StoreError(f"{path} is damaged, or is not the file that was written here. {_again(folder)}")
    # FAISS allocates what a file asks for: nothing in it can be larger than the file itself, but for small things, such
    # as the matrix that FAISS counts for a transform without one.
    faiss.set_deserialization_vector_byte_limit(max((folder / _FAISS).stat().st_size, _SMALL))
    try:
        index = faiss.read_index(str(folder / _FAISS))
        rows = pq.read_table(folder / _ROWS)
    except (RuntimeError, pa.ArrowException) as error:
        raise StoreError(f"{folder} cannot be read ({str(error)[-200:]}). {_again(folder)}") from error
    if not rows.schema.equals(ROWS_SCHEMA) or len(rows) != index.ntotal:
        raise StoreError(f"{folder} has {index.ntotal} vectors, but rows for {len(rows)}. {_again(folder)}")
    return index, rows


def size(index: Any) -> int:
    """Return the bytes that an index takes in its file."""
    counter = _Counter()
    faiss.write_index(index, faiss.PyCallbackIOWriter(counter.write))
    return counter.count


class _Counter:
    """A file that only counts."""

    count = 0

    def write(self, data: bytes) -> int:
        self.count += len(data)
        return len(data)


def _again(folder: Path) -> str:
    return f"`fxengine index {folder.parent} --rebuild` makes it anew."


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
