"""Keeps the texts of a table in a file without a name while they are asked for, so that memory holds none of them."""

from __future__ import annotations

import hashlib
import os
import tempfile
import weakref
from array import array
from contextlib import suppress
from typing import IO

from fxengine.errors import InputError, reason

_DIGEST = hashlib.sha256().digest_size
_AHEAD = 1 << 16  # bytes that are read at once where texts are asked for one after the other


class KeptTexts:
    """Texts by their number, each behind its SHA-256: written once, in order, then read by any thread.

    The file vanishes with this object, and with the process, however that ends. Memory takes 8 bytes a text.
    """

    def __init__(self, called: str) -> None:
        """Make the file; raises InputError where there is no place for it.

        Args:
            called: what the texts are from, in sentences.
        """
        self._called = called
        try:
            self._file = tempfile.TemporaryFile(prefix="fxengine-")  # noqa: SIM115 - closed by the finalizer
        except OSError as error:
            raise self._no_place(error) from error
        weakref.finalize(self, _close, self._file)
        self._ends = array("q", [0])
        self._block = (0, b"")  # where it begins and what stands there; replaced whole, since any thread may read

    def append(self, text: bytes | None) -> None:
        """Write the next text, None where there is none; raises InputError where the disk is full."""
        if text is not None:
            try:
                self._file.write(hashlib.sha256(text).digest() + text)
            except OSError as error:
                raise self._no_place(error) from error
        self._ends.append(self._ends[-1] + (0 if text is None else _DIGEST + len(text)))

    def finish(self) -> None:
        """Make what was written readable; raises InputError where the disk is full."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._no_place(error) from error

    def __len__(self) -> int:
        return len(self._ends) - 1

    def size(self, number: int) -> int:
        """Return the bytes of a text, -1 where there is none."""
        kept = self._ends[number + 1] - self._ends[number]
        return kept - _DIGEST if kept else -1

    def sha256(self, number: int) -> str | None:
        """Return the SHA-256 of a text, in hex, or None where there is none; raises OSError."""
        return self._read(number, _DIGEST).hex() or None

    def text(self, number: int) -> bytes:
        """Return a text, which is there; raises OSError."""
        return self._read(number)[_DIGEST:]

    def _read(self, number: int, most: int = 2**31 - 1) -> bytes:
        begin = self._ends[number]
        end = begin + min(most, self._ends[number + 1] - begin)
        first, block = self._block
        if first <= begin and end <= first + len(block):
            return block[begin - first : end - first]
        if not 0 <= begin - first <= 2 * _AHEAD or end - begin > _AHEAD:
            self._block = (begin, b"")  # what is asked for next says whether it goes on from here
            return os.pread(self._file.fileno(), end - begin, begin)
        block = os.pread(self._file.fileno(), _AHEAD, begin)
        self._block = (begin, block)
        return block[: end - begin]

    def _no_place(self, error: OSError) -> InputError:
        return InputError(
            f"The texts of {self._called} cannot be kept in a temporary file: {reason(error)}.\n"
            "Make room, or set TMPDIR to a folder on a larger disk."
        )


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # what is still to be written has no place, as was said
        file.close()
