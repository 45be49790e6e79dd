"""A tar, plain or gz: indexed in one pass over its headers, then read by offsets."""

from __future__ import annotations

import errno
import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from io import BufferedReader
from typing import IO, cast

from fxengine.collect.kept_members import keep_members, kept_members
from fxengine.collect.members import (
    RATIO,
    Member,
    ensure_readable,
    in_order,
    inner_path,
    is_too_long,
    label_said,
    says_label,
    size_of,
)
from fxengine.collect.ranges import ranges_of, read_at, size_of_file
from fxengine.errors import DecodeError, InputError, reason

_BLOCK = tarfile.BLOCKSIZE
_COPIED = 1 << 20  # bytes at once
_SPARE = 1 << 24  # bytes that a .gz may unpack to, however small it is: a tar is padded with zeros


class Tar:
    """A tar that is open. Memory takes some 300 bytes a member.

    Attributes:
        cut: what is missing at its end, a sentence, or "".
    """

    def __init__(self, called: str, opened: BufferedReader) -> None:
        """Index it; raises InputError where it is no tar, and OSError.

        A .gz has no places to go to: it is unpacked once, into a temporary file without a name.
        """
        opened.seek(0)
        zipped = opened.read(2) == b"\x1f\x8b"
        self.cut = ""
        self._file: IO[bytes] = self._unpacked(opened, called) if zipped else opened
        self._file.seek(0)
        self._members = dict[str, Member]()
        self._ranges = ranges_of(self._file)
        state = self._ranges.state if self._ranges is not None else ""
        if (kept := kept_members(state)) is not None:
            self._members = {member.path: member for member in kept}
            return
        self._index(called, size_of_file(self._file))
        if state and not self.cut:
            keep_members(state, [*self._members.values()])

    def members(self, *, texts: bool, columns: object = None) -> Iterator[Member]:
        """Yield the inputs in it, sorted by id."""
        yield from in_order(self._members.values(), lambda member: self.read(member, member.size), texts=texts)

    def find(self, path: str) -> Member | None:
        """Return the member at a path inside, None where there is none."""
        return self._members.get(path)

    def read(self, member: Member, max_bytes: int) -> bytes:
        """Return what a member holds; any thread may ask.

        Raises:
            DecodeError: it is refused, larger than `max_bytes`, or reading failed.
        """
        ensure_readable(member, max_bytes)
        try:
            data = read_at(self._file, member.at, member.size)
        except OSError as error:
            raise DecodeError("io", f"Reading failed: {error.strerror or error}.") from error
        if len(data) < member.size:
            raise DecodeError("io", "The tar became shorter while it was read.")
        return data

    def _unpacked(self, opened: IO[bytes], called: str) -> IO[bytes]:
        most = RATIO * size_of_file(opened) + _SPARE
        opened.seek(0)
        try:
            whole = tempfile.TemporaryFile(prefix="fxengine-")  # noqa: SIM115 - it lives as long as this
        except OSError as error:
            raise InputError(f"There is no place to unpack {called}: {reason(error)}. Set TMPDIR.") from error
        try:
            with opened, gzip.open(opened) as stream:
                while block := stream.read1(_COPIED):  # what is there before a cut, too
                    if whole.tell() + len(block) > most:
                        raise InputError(f"{called} unpacks to over {RATIO} times its size, as no pictures do.")
                    whole.write(block)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.cut = f"{called} is cut short or damaged: {reason(error)}"
        except OSError as error:
            if ranges_of(opened) is not None and error.errno != errno.ENOSPC:
                raise
            raise InputError(f"{called} cannot be unpacked: {reason(error)}. Set TMPDIR to a larger disk.") from error
        whole.flush()
        return whole

    def _index(self, called: str, size: int) -> None:
        end = too_long = 0
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", _Headers(self._file, size)), mode="r:") as tar:
                for found in tar:
                    if found.size < 0 or (
                        found.isreg() and not found.issparse() and found.offset_data + found.size > size
                    ):
                        break
                    end = tar.offset
                    if is_too_long(found.name):
                        too_long += 1
                    elif found.isreg() or found.issym() or found.islnk():
                        member = self._said(_member(found))
                        self._members.pop(member.path, None)
                        self._members[member.path] = member
                    tar.members = []  # type: ignore[attr-defined]  # which tarfile would keep, ten times as large
        except (tarfile.TarError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            if not end:
                why = "its headers have too many headers" if isinstance(error, RecursionError) else reason(error)
                raise InputError(f"{called} is no tar that can be read: {why}.") from error
        if not self.cut and read_at(self._file, end, _BLOCK) != bytes(_BLOCK):
            self.cut = f"{called} is cut short or damaged behind its {len(self._members)} first members"
        if too_long and not self.cut:
            self.cut = f"{called} has {too_long} members whose names no file can have, which are left out"

    def _said(self, member: Member) -> Member:
        """Return a member with the label that it says itself: on a server, while what follows its header is at hand."""
        if self._ranges is None or not says_label(member):
            return member
        return member._replace(label=label_said(member, lambda each: self.read(each, each.size)))


class _Headers:
    """A file of which no more is read at once than it has: a header may say any size of what follows it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int) -> bytes:
        if count > self._size:
            raise tarfile.ReadError("a header is longer than the file")
        return self._file.read(count)


def _member(found: tarfile.TarInfo) -> Member:
    refused = ""
    if not found.isreg():
        refused = "It is a link in a tar, which is not followed."
    elif found.issparse():
        refused = "It is a sparse file, which is not read from a tar."
    return Member(inner_path(found.name), size_of(found.size), found.offset_data, refused=refused)
