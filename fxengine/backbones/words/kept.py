"""Word vectors in the cache: the table as .npy, mapped into memory, and its words beside it.

There is one copy of each file, of its last state; all together take a tenth of the disk at most.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fxengine.backbones.words.blocks import Blocks
from fxengine.cache import find, keep
from fxengine.errors import InputError, explained

KIND = "words"  # of what is in the cache
MOST_BYTES = 2_000_000_000  # of a table: an ONNX file ends at 2 GiB, and has the words, too
_SURELY = 1.2  # so many times as many as fit, by a rough count, are too many
_SHARE = 10  # of the disk's bytes
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.(npy|json)")  # as `kept_name` gives it
_BUILD = "1"  # bumped when other words or numbers are read from the same file
_AVERAGE = b"<unk>"  # what GloVe writes behind its words is no word, but an average of rare ones


@dataclass(frozen=True)
class Dropped:
    """How many words of a file were left out, and why.

    Attributes:
        doubled: they came before, and the first one counts.
        not_utf8: their bytes are no text.
        no_word: they are empty, hold a line's end, or are `<unk>`.
    """

    doubled: int = 0
    not_utf8: int = 0
    no_word: int = 0


@dataclass(frozen=True, eq=False)
class Kept:
    """A table that was read before.

    Attributes:
        format: what the file is, in words.
        words: in the order of the rows.
        rows: float32 [words, dim], mapped, read-only.
        dropped: what was left out.
    """

    format: str
    words: list[str]
    rows: np.ndarray
    dropped: Dropped


def kept_name(place: str, files: list[Path], words: int | None) -> str:
    """Return by what name a table is kept: first which one, then which state of it; raises InputError."""
    digest = hashlib.sha256(f"{_BUILD} {words}".encode())
    for file in files:
        with explained(f"{file} cannot be read", kind=InputError):
            status = file.stat()
        digest.update(f" {status.st_size} {status.st_mtime_ns}".encode())
    which = hashlib.sha256(f"{os.path.abspath(place)} {words}".encode(errors="surrogateescape"))
    return f"{which.hexdigest()[:32]}-{digest.hexdigest()[:32]}"


def find_table(name: str) -> Kept | None:
    """Return the table that `keep_table` kept; None where there is none, whole."""
    table, words = find(f"{KIND}/{name}.npy"), find(f"{KIND}/{name}.json")
    return None if table is None or words is None else _opened(table, words)


def keep_table(name: str, source: str, read: Callable[[], AbstractContextManager[Blocks]], words: int | None) -> Kept:
    """Read a file into the cache, in memory that does not grow with the table, and return it from there.

    Args:
        name: by which it is kept.
        source: what messages call it.
        read: begins with its vectors; called again where the cache could not hold them.
        words: how many are taken at most, the first ones; None for all.

    Raises:
        InputError: the file cannot be read, has no vectors or too many, or nothing can hold them.
    """
    facts = b""

    def write(path: Path) -> None:
        nonlocal facts
        with read() as blocks:
            facts = _write(path, source, blocks, words)

    table = keep(f"{KIND}/{name}.npy", write)
    beside = keep(f"{KIND}/{name}.json", lambda path: path.write_bytes(facts))
    _tidy(table)
    kept = _opened(table, beside)
    if kept is None:
        raise InputError(f"{table} was changed by another program. Try again.")
    return kept


def _opened(table: Path, words: Path) -> Kept | None:
    try:
        facts = json.loads(words.read_bytes())
        rows = np.load(table, mmap_mode="r", allow_pickle=False)
        if rows.dtype != np.float32 or rows.shape != (len(facts["words"]), facts["dim"]):
            return None
        for path in (table, words):
            with suppress(OSError):
                os.utime(path)  # what is used stays longest
        return Kept(facts["format"], facts["words"], rows.view(np.ndarray), Dropped(**facts["dropped"]))
    except (OSError, ValueError, TypeError, KeyError, EOFError):
        return None


def _write(path: Path, source: str, blocks: Blocks, most: int | None) -> bytes:
    """Write a table and return what stands beside it."""
    taken = _Taken(source, blocks, most)
    with path.open("r+b") as out:
        out.write(_header(0, blocks.dim))
        for words, rows in blocks.blocks:
            out.write(taken.take(words, rows).data)
            if taken.full:
                break
        out.seek(0)
        out.write(_header(len(taken.words), blocks.dim))
    if not taken.words:
        raise InputError(f"{source} has no word vectors.")
    facts = {
        "format": blocks.format,
        "dim": blocks.dim,
        "dropped": asdict(Dropped(**taken.dropped)),
        "words": list(taken.words),
    }
    return json.dumps(facts, ensure_ascii=False).encode()


def _header(rows: int, dim: int) -> bytes:
    """Return how the .npy file begins; numpy leaves room in it, so that its length is the same for any `rows`."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)})
    return header.getvalue()


class _Taken:
    """Collects the words of a table, all different, and says which rows stay.

    Attributes:
        words: in their order; the values say nothing.
        dropped: as `Dropped` has it.
        full: whether there are as many as wanted.
    """

    def __init__(self, source: str, blocks: Blocks, most: int | None) -> None:
        self.words: dict[str, None] = {}
        self.dropped: Counter[str] = Counter()
        self.full = False
        self._source, self._whole, self._wanted = source, blocks.whole, most
        self._fit = MOST_BYTES // (4 * blocks.dim)
        if most is None and blocks.likely > _SURELY * self._fit:
            raise self._too_many()  # before 2 GB of them have been read

    def _too_many(self) -> InputError:
        return InputError(
            f"{self._source} has more vectors than 2 GB hold: set `words` to {self._fit:,} or less, and only the first "
            "ones are taken, which are the most frequent."
        )

    def take(self, words: list[bytes], rows: np.ndarray) -> np.ndarray:
        """Return those rows that stay."""
        texts = _decoded(words)
        new = dict.fromkeys(texts) if texts is not None else {}
        if texts is None or len(new) != len(texts) or not self.words.keys().isdisjoint(new) or not _are_words(words):
            stay = [at for at, word in enumerate(words) if self._takes(word)]
            rows = rows[stay]
        else:
            self.words.update(new)
        over = 0 if self._wanted is None else max(0, len(self.words) - self._wanted)
        for _ in range(over):
            self.words.popitem()
        self.full = self._wanted is not None and len(self.words) == self._wanted
        if len(self.words) > self._fit:
            raise self._too_many()
        return np.ascontiguousarray(rows[: len(rows) - over], "<f4")

    def _takes(self, word: bytes) -> bool:
        """Take a word, or count why not."""
        text = _decoded([word])
        why = ""
        if text is None:
            why = "not_utf8"
        elif text[0] in self.words:
            why = "doubled"
        elif not self._whole and not _are_words([word]):
            why = "no_word"
        if not why or self._whole:
            self.words[(text or [""])[0]] = None
            return True
        self.dropped[why] += 1
        return False


def _decoded(words: list[bytes]) -> list[str] | None:
    """Return words as text; None where one is none."""
    try:
        return [word.decode() for word in words]
    except UnicodeDecodeError:
        return None


def _are_words(words: list[bytes]) -> bool:
    """Tell whether none is empty, holds a line's end or is the average of others."""
    joined = b"\n".join(words)
    lines = joined.count(b"\n") == len(words) - 1 and b"\r" not in joined
    return lines and b"" not in words and _AVERAGE not in words


def _tidy(kept: Path) -> None:
    """Remove older states of a table that is kept now, and those that were used least recently.

    A process that has one of them mapped keeps it until it lets go.
    """
    which, others = kept.name.partition("-")[0], []
    with suppress(OSError):
        for other in kept.parent.iterdir():
            if not _NAME.fullmatch(other.name) or other.stem == kept.stem:
                continue
            if other.name.startswith(which):
                other.unlink()
            else:
                found = other.lstat()
                others.append((found.st_mtime_ns, found.st_size, other))
        most = shutil.disk_usage(kept.parent).total // _SHARE - kept.stat().st_size
        for _, size, other in sorted(others, reverse=True):
            most -= size
            if most < 0:
                other.unlink()
