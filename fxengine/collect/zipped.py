"""A zip, whose members are read by the directory at its end."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from fxengine.collect.members import RATIO, Member, ensure_readable, in_order, inner_path
from fxengine.errors import DecodeError, InputError, reason
from fxengine.files import open_regular

_ENCRYPTED = 1
_SMALL = 1 << 16  # bytes that anything may unpack to


class Zipped:
    """A zip that is open.

    Attributes:
        cut: always "": a zip that is cut short has no directory, and is none.
    """

    def __init__(self, path: Path) -> None:
        """Read its directory; raises InputError where it is no zip, or all of it is encrypted, and OSError."""
        self.cut = ""
        try:
            self._file = zipfile.ZipFile(open_regular(path, follow=True))
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise InputError(f"{path} is no zip, or is cut short: {reason(error)}.") from error
        self._infos = self._file.infolist()
        files = [(at, info) for at, info in enumerate(self._infos) if not info.is_dir()]
        if files and all(info.flag_bits & _ENCRYPTED for _, info in files):
            raise InputError(f"{path} is encrypted: unpack it with its password, and give the folder.")
        self._members = {member.path: member for member in (_member(at, info) for at, info in files)}

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
        try:
            with self._file.open(self._infos[member.at]) as stream:
                data = stream.read(member.size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise DecodeError("corrupt", f"It cannot be unpacked: {reason(error)}.") from error
        except OSError as error:
            raise DecodeError("io", f"Reading failed: {error.strerror or error}.") from error
        if len(data) != member.size:
            raise DecodeError("corrupt", f"It unpacks to {len(data)} bytes, the zip says {member.size}.")
        return data


def _member(at: int, info: zipfile.ZipInfo) -> Member:
    refused, mode = "", stat.S_IFMT(info.external_attr >> 16)
    if mode not in (0, stat.S_IFREG):
        refused = "It is a link or a device in a zip, which is not followed."
    elif info.flag_bits & _ENCRYPTED:
        refused = "It is encrypted: unpack the zip with its password."
    elif info.file_size > max(_SMALL, RATIO * info.compress_size):
        refused = f"It unpacks to over {RATIO} times its size, as no picture does."
    return Member(inner_path(info.filename), info.file_size, at, refused=refused)
