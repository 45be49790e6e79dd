"""The bytes of a file of word vectors: plain, out of a .gz, or one member of a .zip."""

from __future__ import annotations

import gzip
import lzma
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from fxengine.errors import InputError, explained, one_line, reason
from fxengine.files import open_regular

BLOCK = 1 << 20  # bytes that are read at once: what is made of them stays in the processor's cache
_HEAD = 1 << 16
_LISTED = 10  # members that a message names
_SHOWN = 80  # characters of each
# Numbers unpack to three times their size: a file of over 32 MB that unpacks to so many times is no file of them.
_MOST_TIMES, _FREE = 50, 1 << 25
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_LFS = b"version https://git-lfs"
_PAGE = (b"<!doctype html", b"<html", b"<head", b"<?xml")
# What a file begins with that is none of word vectors, what it is, and what to do.
_OTHERS = (
    (b"\x93NUMPY", "a numpy file, which has no words", "Write vectors and words in word2vec's text format"),
    (b"\x89HDF", "an HDF5 file", "Write vectors and words in word2vec's text format"),
    (b"PAR1", "a Parquet file", "Write vectors and words in word2vec's text format"),
    (b"BZh", "packed by bzip2", "Unpack it first"),
    (b"\xfd7zXZ\0", "packed by xz", "Unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "Unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "packed by 7z", "Unpack it first"),
)
_PICKLE = (
    "is a pickle, as save() of gensim writes it: that runs whatever code it holds, and is never opened here. Where you "
    "made it, load it in gensim and write it by save_word2vec_format()."
)


@dataclass(frozen=True)
class Place:
    """Where word vectors are.

    Attributes:
        path: the file or folder.
        member: the one wanted of a .zip; "" where none is named.
    """

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}#{self.member}" if self.member else str(self.path)


def find_place(path: str | Path) -> Place:
    """Return the place that "FILE" or "FILE#MEMBER" names; a "#" may be in the name of either.

    Raises:
        InputError: there is none.
    """
    text = str(path)
    if "\0" not in text:
        if Path(text).exists():
            return Place(Path(text))
        marks = [at for at, letter in enumerate(text) if letter == "#"]
        for at in marks:
            if Path(text[:at]).is_file():
                return Place(Path(text[:at]), text[at + 1 :])
    raise InputError(f"There is no file {text.partition('#')[0]!r} of word vectors.")


class Stream:
    """The bytes of word vectors, unpacked.

    Attributes:
        name: what messages call it.
        head: its first bytes, 64 KiB where there are as many; they are in `blocks`, too.
        plain: its path, where it lies unpacked on the disk.
    """

    def __init__(self, name: str, file: IO[bytes], plain: Path | None, most: float) -> None:
        self.name, self.plain = name, plain
        self._file, self._left = file, most
        self.head = b""
        while len(self.head) < _HEAD and (more := self._read(_HEAD - len(self.head))):
            self.head += more

    def likely(self, row: float) -> int:
        """Return how many rows of so many bytes there are; 0 where that cannot be said."""
        return int(self.plain.stat().st_size / row) if self.plain is not None else 0

    def blocks(self) -> Iterator[bytes]:
        """Yield all bytes once, a block at a time; raises InputError where they cannot be read."""
        yield self.head
        while block := self._read(BLOCK):
            yield block

    def _read(self, size: int) -> bytes:
        try:
            read = self._file.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            why = reason(error).rstrip(".")
            raise InputError(f"{self.name} is cut or damaged: {why}. Fetch it again.") from error
        self._left -= len(read)
        if self._left < 0:
            raise InputError(f"{self.name} unpacks to over {_MOST_TIMES} times its size, as no word vectors do.")
        return read


@contextmanager
def open_stream(place: Place) -> Iterator[Stream]:
    """Open the bytes at a place.

    Raises:
        InputError: it cannot be read, or is no word vectors at first sight: empty, a pointer, a web page, a pickle.
    """
    name = str(place)
    with ExitStack() as stack:
        with explained(f"{name} cannot be read", kind=InputError):
            file: IO[bytes] = stack.enter_context(open_regular(place.path, follow=True))
            begin = file.read(len(_ZIP))
            file.seek(0)
            most: float = max(_FREE, _MOST_TIMES * os.fstat(file.fileno()).st_size)
        plain: Path | None = None
        if begin == _ZIP:
            file = stack.enter_context(_member(place, file, stack))
        elif place.member:
            raise InputError(f"{place.path} is no .zip, so that there is no member {place.member!r} in it.")
        elif begin.startswith(_GZIP):
            file = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=file)))
        else:
            plain, most = place.path, math.inf
        stream = Stream(name, file, plain, most)
        _check(stream)
        yield stream


def _member(place: Place, file: IO[bytes], stack: ExitStack) -> IO[bytes]:
    """Open the wanted member of a .zip, or its only one."""
    with _unpacking(place):
        archive = stack.enter_context(zipfile.ZipFile(file))
    names = [each.filename for each in archive.infolist() if not each.is_dir()]
    names = [name for name in names if not name.startswith("__MACOSX/")]
    wanted = place.member or (names[0] if len(names) == 1 else "")
    if wanted not in names:
        raise InputError(_which(place, names))
    with _unpacking(place):
        return archive.open(wanted)


@contextmanager
def _unpacking(place: Place) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # NotImplementedError, of a method that Python does not know, is one
        why = "needs a password" if "password" in str(error) else f"cannot be unpacked ({error})"
        raise InputError(f"{place} {why}: unpack it first.") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{place} is cut or damaged: {reason(error).rstrip('.')}. Fetch it again.") from error


def _which(place: Place, names: list[str]) -> str:
    names = [one_line(name, _SHOWN) for name in names]
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    if place.member:
        return f"{place.path} has no member {place.member!r}. It has: {listed or 'none'}."
    if not names:
        return f"{place.path} is a .zip with nothing in it."
    if all(name.endswith(".npy") for name in names):
        return f"{place.path} is a numpy file, which has no words. Write both in word2vec's text format."
    return f"{place.path} has several members: name the one to read, as {place.path}#{names[0]}. It has: {listed}."


def _check(stream: Stream) -> None:
    head, name = stream.head, stream.name
    if not head:
        raise InputError(f"{name} is empty.")
    if head.startswith(_LFS):
        raise InputError(f"{name} is a Git LFS pointer, not the file itself. Fetch that by `git lfs pull`.")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:16].lower().startswith(_PAGE):
        raise InputError(f"{name} is a web page saved as a file. Fetch the file itself.")
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        raise InputError(f"{name} {_PICKLE}")
    if head[257:262] == b"ustar":
        raise InputError(f"{name} is a tar archive. Unpack it first.")
    for begin, what, advice in _OTHERS:
        if head.startswith(begin):
            raise InputError(f"{name} is {what}. {advice}.")
