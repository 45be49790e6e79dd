"""Notes which inputs are being decoded, so that a run after a crash of the process knows which to suspect."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fxengine.errors import StoreError, explained
from fxengine.files import read_small

_NAME = ".decoding"
_DIGEST = hashlib.sha256().digest_size
_LONGEST = 1 << 20  # bytes; a note of a hundred crashes of a hundred threads has a third of that


class CrashNote:
    """A file with a place for each decoding thread; the operating system keeps it when the process dies.

    Attributes:
        suspects: digests of the inputs that were being decoded when an earlier run died.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        """Read what an earlier run left and begin anew; the store's lock must be held.

        Raises:
            StoreError: the note cannot be written.
        """
        self._path = folder / _NAME
        self.suspects = read_suspects(folder)
        with explained(f"Cannot write to {folder}", kind=StoreError):
            self._path.unlink(missing_ok=True)  # it may be a link, or a pipe: nothing is written through what is there
            self._file = self._path.open("x+b")
            # The suspects stay noted until this run ends by its own will: it may die of another file.
            self._file.write(bytes(threads * _DIGEST) + b"".join(self.suspects))
            self._file.flush()
            self._map = mmap.mmap(self._file.fileno(), threads * _DIGEST)

    def is_suspect(self, key: str) -> bool:
        """Tell whether an earlier run died while it decoded this input, or one beside it."""
        return bool(self.suspects) and _digest(key) in self.suspects

    @contextmanager
    def decoding(self, thread: int, key: str) -> Iterator[None]:
        """Note that this thread decodes this input."""
        start = thread * _DIGEST
        self._map[start : start + _DIGEST] = _digest(key)
        try:
            yield
        finally:
            self._map[start : start + _DIGEST] = bytes(_DIGEST)

    def close(self) -> None:
        """Remove the note: the run ended by its own will."""
        self._map.close()
        self._file.close()
        with suppress(OSError):  # one that stays suspects nothing
            self._path.unlink()


class AllSuspect:
    """Stands in for a note where every input is to be decoded in a process of its own."""

    def is_suspect(self, _: str, /) -> bool:
        """Tell that it is."""
        return True

    @contextmanager
    def decoding(self, _: int, __: str, /) -> Iterator[None]:
        """Note nothing."""
        yield


def read_suspects(folder: Path) -> frozenset[bytes]:
    """Return the digests that a run which died left in the store; none where its note is none of ours."""
    try:
        data = read_small(folder / _NAME, _LONGEST)
    except OSError:
        return frozenset()
    digests = (data[i : i + _DIGEST] for i in range(0, len(data) - _DIGEST + 1, _DIGEST))
    return frozenset(digest for digest in digests if any(digest))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
