"""An index on disk: a folder of index.faiss, rows.parquet and index.json, which names the hashes of the other two.

In a bucket, which replaces one object at a time, the other two have their hashes in their names, too: index.json, which
comes last, says which belong together. Those that the one before it named stay for who has just read that.

The hashes tell a damaged file. Who sends a hostile one sends its hash along: what is in it is looked at, too.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, BinaryIO

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fxengine import store_files
from fxengine.cache import tell
from fxengine.errors import StoreError, explained, reason
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.features.mapped import kept_copy
from fxengine.files import open_regular, replacing_folder
from fxengine.neighbours.choose import Wanted
from fxengine.neighbours.faiss_file import ensure, look
from fxengine.neighbours.faiss_index import FaissIndex, in_words
from fxengine.neighbours.metric import faiss_metric
from fxengine.neighbours.parameters import inner
from fxengine.neighbours.tune import Trial, fits
from fxengine.storage import is_remote, shown

FORMAT = 1
_FAISS, _ROWS, _JSON = "index.faiss", "rows.parquet", "index.json"
_OWN_NAME = re.compile(r"(index|rows)-[0-9a-f]{32}\.(faiss|parquet)")  # as `_named` gives it
_LONGEST = 1 << 24  # bytes of index.json, which is a few thousand
_MOST = 1 << 31  # rows
_TRIALS = 100
_SMALL = 1 << 26  # bytes that are allocated whatever a file's size
_OPENED = Path("/proc/self/fd")
_AT_ONCE = 1 << 20  # bytes that FAISS asks a reader for
_LIMITS = ("deserialization_vector_byte_limit", "deserialization_loop_limit")  # FAISS 1.12 has none
_LIMITING = Lock()
_LONGEST_TEXT = 1 << 12  # bytes of an id, which is a path, or a hash, in the mean
_TEXTS = ["id", "content_hash"]
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

    def __post_init__(self) -> None:
        texts = [self.space, self.store, self.queries, *self.versions, *self.versions.values()]
        if not all(text.isprintable() and len(text) <= 200 for text in texts):
            raise ValueError("a text of it is none that can be printed")
        if not 0 < len(self.trials) <= _TRIALS:
            raise ValueError(f"it names {len(self.trials)} trials")
        if not (0 <= self.added < _MOST and 0 <= self.removed < _MOST):
            raise ValueError(f"{self.added} rows were added to it and {self.removed} removed")
        for name, digest in self.hashes.items():
            if name not in (_FAISS, _ROWS) or not re.fullmatch("[0-9a-f]{64}", digest):
                raise ValueError(f"{name[:40]!r} is no file of it, or has no hash")

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
        """
        return facts_from(cls, data, FORMAT)


def write_index(folder: Path, index: FaissIndex, rows: pa.Table, facts: IndexFacts) -> IndexFacts:
    """Write an index beside `folder`, on this machine's disk for a bucket, then put it in its place.

    Returns the facts with the hashes.

    Raises:
        StoreError: the disk is full or the folder cannot be written to; an index that was there is kept.
    """
    called = shown(folder)
    with explained(f"Cannot write the index {called}", "The one before, if any, is kept."), _placing(folder) as made:
        with in_words():
            faiss.write_index(index, str(made / _FAISS))
        # Texts that all differ, in a dictionary, would be written twice, and a reader could not tell how many bytes
        # they take.
        pq.write_table(rows.cast(ROWS_SCHEMA), made / _ROWS, use_dictionary=False)
        facts = replace(facts, hashes={name: _sha256_of(made / name) for name in (_FAISS, _ROWS)})
        (made / _JSON).write_text(json.dumps(facts.to_dict(), indent=2) + "\n")
    return facts


@contextmanager
def _placing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder whose files take the place of those of `folder` when the block ends well."""
    if not is_remote(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(folder) as made:
            yield made
        return
    with TemporaryDirectory(prefix="fxengine-") as temporary, closing(store_files.make(folder / _JSON)) as new:
        before, made = _hashes_in(folder), Path(temporary)
        yield made
        shutil.copyfile(made / _JSON, new.path)
        hashes = {name: _sha256_of(made / name) for name in (_FAISS, _ROWS)}
        for name, sha256 in hashes.items():
            with closing(store_files.make(folder / _named(name, sha256))) as placed:
                shutil.copyfile(made / name, placed.path)
                _put(placed)
        new.commit()
        named = {_named(name, sha256) for name, sha256 in (*hashes.items(), *before.items())}
        for name in store_files.names(folder):
            if _OWN_NAME.fullmatch(name) and name not in named:
                store_files.delete(folder / name)


def _put(placed: store_files.Made) -> None:
    try:
        placed.commit()
    except OSError as error:
        if error.errno != errno.ESTALE:  # another process wrote the same content
            raise


def _hashes_in(folder: Path) -> dict[str, str]:
    """Return the hashes that an index names, none where there is none that can be read."""
    with suppress(StoreError):
        facts = read_facts(folder)
        return {} if facts is None else facts.hashes
    return {}


def _named(name: str, sha256: str) -> str:
    """Return what a file of an index is called in a bucket."""
    stem, suffix = name.split(".")
    return f"{stem}-{sha256[:32]}.{suffix}"


def read_facts(folder: Path) -> IndexFacts | None:
    """Return what an index says of itself, or None where there is none.

    Raises:
        StoreError: the file is damaged, of another format, or newer than this version knows.
    """
    path = folder / _JSON
    try:
        with _damage_named(path):
            return IndexFacts.from_dict(read_json(store_files.read_short(path, _LONGEST)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unread(path, error) from error


def read_index(folder: Path, facts: IndexFacts, dim: int) -> tuple[FaissIndex, pa.Table]:
    """Return the FAISS index, and of its rows the columns that a search needs: `row` and `living`.

    Both files are checked by their hashes, and looked through, before FAISS and Arrow read them: nothing in them names
    another file, is out of its range, or takes more memory than the files have bytes, but for small things. Each is
    opened once: what takes its place meanwhile is not read.

    Args:
        folder: the index's folder.
        facts: what index.json says.
        dim: numbers of a vector of the store.

    Raises:
        StoreError: a file is missing, is not the one that index.json was written with, or holds what `fxengine index`
            does not write.
    """
    of_faiss, of_rows = folder / _FAISS, folder / _ROWS
    with (
        _unchanged(of_faiss, facts) as opened,
        _unchanged(of_rows, facts) as opened_rows,
        explained(f"{shown(folder)} cannot be read", _again(folder)),
    ):
        with _damage_named(of_rows):
            rows = _read_living(opened_rows)
        with _damage_named(of_faiss):
            look(opened, dim, len(rows), faiss_metric(facts.wanted.metric))
        index = _read_faiss(opened)
        with _damage_named(folder / _JSON):
            ensure(fits(index, facts.trial.parameters), "its parameters are not those of the index")
    return index, rows


@contextmanager
def _unchanged(path: Path, facts: IndexFacts) -> Iterator[BufferedReader]:
    """Open a file of an index that has the hash that index.json says, for all that is done with it."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_regular(stack.enter_context(_here(path, facts))))
            right = _sha256(opened) == facts.hashes.get(path.name)
        except FileNotFoundError:
            right = False
        except OSError as error:
            raise _unread(path, error) from error
        if not right:
            called = shown(path)
            raise StoreError(f"{called} is damaged, or is not the file that was written here. {_again(path.parent)}")
        yield opened


@contextmanager
def _here(path: Path, facts: IndexFacts) -> Iterator[Path]:
    """Yield a file of an index, or where it lies in a bucket, a copy of it, which is kept. Raises OSError."""
    if not is_remote(path):
        yield path
        return
    sha256 = facts.hashes.get(path.name, "")
    # One that was copied there from a disk has its name from there.
    possible = (path.with_name(_named(path.name, sha256)), path)
    try:
        copied = kept_copy(possible, sha256)
    except OSError as error:
        if store_files.reason_of(path, error) is not None:
            raise
        tell(error)  # there is no room in the cache
        with store_files.here(next(filter(store_files.is_there, possible), path)) as fetched:
            yield fetched
        return
    yield copied


def _unread(path: Path, error: OSError) -> StoreError:
    why = store_files.reason_of(path, error) or f"{reason(error)}. {_again(path.parent)}"
    return StoreError(f"{shown(path)} cannot be read: {why}")


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Say of which file it is that what it holds does not fit."""
    try:
        yield
    except (FactsError, UnicodeDecodeError) as error:  # the latter, of a column's name
        what = str(error).rstrip(".") if isinstance(error, FactsError) else "is damaged: a name in it is no text"
        raise StoreError(f"{shown(path)} {what}. {_again(path.parent)}") from error


def _read_faiss(opened: BinaryIO) -> FaissIndex:
    # The very file that was looked at. Where the system does not name open files, reading it costs a copy.
    name = _OPENED / str(opened.fileno())
    opened.seek(0)
    source = str(name) if name.exists() else faiss.PyCallbackIOReader(opened.read, _AT_ONCE)
    with in_words(), _allocating(max(os.fstat(opened.fileno()).st_size, _SMALL)):
        # Where it would be too large for the limit, FAISS 1.15 reads no file with its table, but searches without one.
        index: FaissIndex = faiss.read_index(source, faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
        lists, _ = inner(index)
        if isinstance(lists, faiss.IndexIVFPQ):
            lists.precompute_table()
    return index


@contextmanager
def _allocating(most: int) -> Iterator[None]:
    """Keep FAISS from allocating more than `most` bytes at once, as far as it can, for a file or a table of its own.

    Its limits are those of the whole process, which may have files of its own: they come back.
    """
    names = [name for name in _LIMITS if hasattr(faiss, f"set_{name}")]
    with _LIMITING:
        before, tables = [getattr(faiss, f"get_{name}")() for name in names], faiss.cvar.precomputed_table_max_bytes
        try:
            for name in names:
                getattr(faiss, f"set_{name}")(most)
            faiss.cvar.precomputed_table_max_bytes = min(most, tables)
            yield
        finally:
            for name, limit in zip(names, before, strict=True):
                getattr(faiss, f"set_{name}")(limit)
            faiss.cvar.precomputed_table_max_bytes = tables


def read_rows(folder: Path, facts: IndexFacts) -> pa.Table:
    """Return a row for every vector in the FAISS file, in its order; see `ROWS_SCHEMA`.

    Raises:
        StoreError: the file is missing, is not the one that index.json was written with, or holds other columns.
    """
    path = folder / _ROWS
    with (
        _unchanged(path, facts) as opened,
        explained(f"{shown(path)} cannot be read", _again(folder)),
        _damage_named(path),
    ):
        _check_rows(opened)
        # In memory, a text that the file keeps once would be repeated for every row: kept once until that is counted.
        rows = pq.read_table(opened, read_dictionary=_TEXTS)
        for name in _TEXTS:
            lengths = [pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in rows[name].chunks]
            took = sum(pc.sum(each.cast(pa.int64())).as_py() or 0 for each in lengths)
            ensure(took <= max(len(rows) * _LONGEST_TEXT, _SMALL), f"its column {name!r} takes {took} bytes")
        return rows.cast(ROWS_SCHEMA)


def _read_living(opened: BinaryIO) -> pa.Table:
    """Return the columns `row` and `living`; raises FactsError where they are not as `ROWS_SCHEMA` has them."""
    _check_rows(opened)
    rows = pq.read_table(opened, columns=["row", "living"])
    living = np.sort(np.asarray(rows["row"])[np.asarray(rows["living"])])
    ensure(not (living[1:] == living[:-1]).any(), "a row of it is there twice")
    return rows


def _check_rows(opened: BinaryIO) -> None:
    """Check what the footer announces, before anything is allocated for it."""
    file = pq.ParquetFile(opened)
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    ensure(file.schema_arrow.equals(ROWS_SCHEMA), "its columns are not those of an index")
    counts, said, size = [group.num_rows for group in groups], file.metadata.num_rows, os.fstat(opened.fileno()).st_size
    # Numbers that differ from row to row take more than a byte each, however well they are packed.
    right = sum(counts) == said <= size and min(counts, default=0) >= 0
    ensure(right, f"it announces {said} rows in {size} bytes")
    # Not of their columns: to describe one, pyarrow looks at its statistics, and ends the process where they are wrong.
    sizes, most = [group.total_byte_size for group in groups], len(_TEXTS) * max(said * _LONGEST_TEXT, _SMALL)
    ensure(min(sizes, default=0) >= 0 and sum(sizes) <= most, "it announces more than rows can take")
    opened.seek(0)


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
    return f"`fxengine index {shown(folder.parent)} --rebuild` makes it anew."


def _sha256_of(path: Path) -> str:
    with open_regular(path) as opened:
        return _sha256(opened)


def _sha256(opened: BufferedReader) -> str:
    return hashlib.file_digest(opened, "sha256").hexdigest()
