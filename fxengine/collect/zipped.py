"""A zip, whose members are read by the directory at its end."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator

from fxengine.collect.members import RATIO, Member, ensure_readable, in_order, inner_path, is_too_long, size_of
from fxengine.collect.ranges import ranges_of
from fxengine.errors import DecodeError, InputError, reason

_ENTRY, _FIXED = b"PK\1\2", 46  # how an entry of the directory begins, and its bytes before the name
_ENCRYPTED, _UTF8 = 1, 1 << 11  # flags
_SMALL = 1 << 16  # bytes that anything may unpack to
_LOCAL = 1 << 10  # bytes about what stands before a member


class Zipped:
    """A zip that is open.

    Attributes:
        cut: why members are left out, a sentence, or ""; a zip that is cut short has no directory, and is none.
    """

    def __init__(self, called: str, opened: io.BufferedReader) -> None:
        """Read its directory; raises InputError where it is no zip, or all of it is encrypted, and OSError."""
        self.cut = ""
        try:
            self._ranges = ranges_of(opened)
            self._file = _opened(opened)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, MemoryError) as error:
            raise InputError(f"{called} is no zip, or is cut short: {reason(error)}.") from error
        self._infos = self._file.infolist()
        files = [(at, info) for at, info in enumerate(self._infos) if not info.is_dir()]
        if files and all(info.flag_bits & _ENCRYPTED for _, info in files):
            raise InputError(f"{called} is encrypted: unpack it with its password, and give the folder.")
        members = [_member(at, info) for at, info in files if not is_too_long(info.filename)]
        if len(members) < len(files):
            count = len(files) - len(members)
            self.cut = f"{called} has {count} members whose names no file can have: they are left out"
        self._members = {member.path: member for member in members}

    def members(self, *, texts: bool, columns: object = None) -> Iterator[Member]:
        """Yield the inputs in it, sorted by id."""
        yield from in_order(self._members.values(), lambda member: self.read(member, member.size), texts=texts)

    def find(self, path: str) -> Member | None:
        """Return the member at a path inside, None where there is none."""
        return self._members.get(path)

    def read(self, member: Member, max_bytes: int) -> bytes:
        """Return what a member holds; any thread may ask.

        Raises:
            DecodeError: it is refused, larger than `max_bytes`, or damaged.
        """
        ensure_readable(member, max_bytes)
        info = self._infos[member.at]
        try:
            if self._ranges is not None:  # zipfile lets one thread read at a time: let it find all of it at hand
                self._ranges.at(info.header_offset, info.compress_size + _LOCAL)
            with self._file.open(info) as stream:
                data = stream.read(member.size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise DecodeError("corrupt", f"It cannot be unpacked: {reason(error)}.") from error
        except OSError as error:
            raise DecodeError("io", f"Reading failed: {error.strerror or error}.") from error
        if len(data) != member.size:
            raise DecodeError("corrupt", f"It unpacks to {len(data)} bytes, the zip says {member.size}.")
        return data


def _opened(given: io.BufferedReader) -> zipfile.ZipFile:
    """Open a zip; one odd entry of its directory does not stand in the way of the others."""
    try:
        return zipfile.ZipFile(given)
    except (UnicodeDecodeError, NotImplementedError):
        file = _Lenient(given.detach())
        opened = zipfile.ZipFile(file)
        file.is_directory = False
        return opened


class _Lenient(io.BufferedReader):
    """A zip whose directory, while that is read, is one that zipfile takes."""

    is_directory = True

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        return _plain(data) if self.is_directory and data.startswith(_ENTRY) else data


def _plain(directory: bytes) -> bytes:
    """Return a directory without versions that zipfile does not know, and without names that only claim to be UTF-8."""
    plain, at = bytearray(directory), 0
    while plain.startswith(_ENTRY, at) and at + _FIXED <= len(plain):
        version, flags = plain[at + 6], int.from_bytes(plain[at + 8 : at + 10], "little")
        name, extra, comment = struct.unpack_from("<3H", plain, at + 28)
        plain[at + 6] = min(version, zipfile.MAX_EXTRACT_VERSION)
        try:
            plain[at + _FIXED : at + _FIXED + name].decode()
        except UnicodeDecodeError:
            plain[at + 8 : at + 10] = (flags & ~_UTF8).to_bytes(2, "little")
        at += _FIXED + name + extra + comment
    return bytes(plain)


def _member(at: int, info: zipfile.ZipInfo) -> Member:
    refused, mode = "", stat.S_IFMT(info.external_attr >> 16)
    if mode not in (0, stat.S_IFREG):
        refused = "It is a link or a device in a zip, which is not followed."
    elif info.flag_bits & _ENCRYPTED:
        refused = "It is encrypted: unpack the zip with its password."
    elif info.file_size > max(_SMALL, RATIO * info.compress_size):
        refused = f"It unpacks to over {RATIO} times its size, as no picture does."
    return Member(inner_path(info.filename), size_of(info.file_size), at, refused=refused)
