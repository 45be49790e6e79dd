"""An index on disk: a folder of index.faiss, rows.parquet and index.json, which names the hashes of the other two."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import faiss
import pyarrow as pa
import pyarrow.parquet as pq

from fxengine.errors import InputError, StoreError
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.files import replacing_folder
from fxengine.neighbours.choose import Wanted
from fxengine.neighbours.faiss_index import FaissIndex
from fxengine.neighbours.tune import Trial

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
    def from_dict(cls, data: object) -> IndexFacts:
        """Read them back.

        Raises:
            FactsError: they are of another format, damaged, or newer than this version knows.
            InputError: what was wanted of the index cannot be.
        """
        return facts_from(cls, data, FORMAT)


def write_index(folder: Path, index: FaissIndex, rows: pa.Table, facts: IndexFacts) -> IndexFacts:
    """Write an index beside `folder`, then put it in its place; return the facts with the hashes.

    Raises:
        StoreError: the disk is full or the folder cannot be written to; an index that was there is kept.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(folder) as made:
            faiss.write_index(index, str(made / _FAISS))
            pq.write_table(rows.cast(ROWS_SCHEMA), made / _ROWS)
            hashes = {name: _sha256(made / name) for name in (_FAISS, _ROWS)}
            facts = replace(facts, hashes=hashes)
            (made / _JSON).write_text(json.dumps(facts.to_dict(), indent=2) + "\n")
    except (OSError, RuntimeError) as error:
        raise StoreError(f"Cannot write the index {folder}: {error}. The one before, if any, is kept.") from error
    return facts


def read_facts(folder: Path) -> IndexFacts | None:
    """Return what an index says of itself, or None where there is none.

    Raises:
        StoreError: the file is damaged, of another format, or newer than this version knows.
    """
    path = folder / _JSON
    try:
        return IndexFacts.from_dict(read_json(path.read_bytes()))
    except FileNotFoundError:
        return None
    except FactsError as error:
        raise StoreError(f"{path} {error}. {_again(folder)}") from error
    except (OSError, InputError) as error:
        raise StoreError(f"{path} is damaged: {error} {_again(folder)}") from error


_SMALL = 1 << 26


def read_index(folder: Path, facts: IndexFacts) -> tuple[FaissIndex, pa.Table]:
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


def size(index: FaissIndex) -> int:
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
