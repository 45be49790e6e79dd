"""What lies in a container: its members, under paths that lead nowhere else, with the labels that stand beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from fxengine.collect.folder import PICTURE_SUFFIXES, label_rule
from fxengine.collect.item import LARGEST, escape_path
from fxengine.collect.memory import require
from fxengine.errors import DecodeError

RATIO = 100  # what unpacks to more than so many times its size is no picture, but a trap
_CLASS, _FACTS, TEXT = ".cls", ".json", ".txt"  # of webdataset, beside the picture of the same name
_LABELS = ("label", "cls", "class")  # of which a .json has one
_LONGEST = 1 << 16  # bytes of a file that is read for a label
_LONGEST_NAME = 4096  # bytes: what a path has at most on a disk


class Member(NamedTuple):
    """One file in a container.

    Attributes:
        path: where it lies in there, as `inner_path` gives it.
        size: bytes; of a row of a Parquet file its share of the row group.
        at: where it begins, or its number.
        label: what stands beside it, or None; of what says a label itself that one, where it was read already.
        split: the same.
        refused: why it is not read, a sentence, or "".
    """

    path: str
    size: int
    at: int
    label: str | None = None
    split: str | None = None
    refused: str = ""


def ensure_readable(member: Member, max_bytes: int) -> None:
    """Raise DecodeError where a member is refused, larger than `max_bytes`, or than what memory is free."""
    if member.refused:
        raise DecodeError("not_a_file", member.refused)
    if member.size > max_bytes:
        raise DecodeError("too_large", f"{member.size} bytes; `max_bytes` allows {max_bytes}.")
    require(member.size, "Reading it")


def is_too_long(name: str) -> bool:
    """Tell whether a member's name is longer than that of any file can be."""
    return len(name.encode(errors="surrogatepass")) > _LONGEST_NAME


def size_of(said: int) -> int:
    """Return what a container says of a member's size as a store can hold it."""
    return min(said, LARGEST)


def inner_path(name: str) -> str:
    r"""Return a member's name as a path that stays below the container, and is another for every other place.

    "./a" is "a". Of an absolute name the first "/", and dots of "..", become what `escape_path` writes as `\x2f` and
    `\x2e`: nothing is a step upwards then, whoever joins it to a folder.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    path = "/".join("\udc2e\udc2e" if part == ".." else part for part in parts)
    return f"\udc2f{path}" if name.startswith("/") else path


def in_order(members: Iterable[Member], read: Callable[[Member], bytes], *, texts: bool) -> Iterator[Member]:
    """Yield those members that are inputs, sorted by id, with labels and splits.

    Hidden files are left out, and so is what stands beside a picture to say something of it.

    Args:
        members: those of one container; of two with one path the last one counts, as where they are unpacked.
        read: returns what one of them holds.
        texts: whether texts are wanted, which are .txt; else all files.
    """
    shown = {m.path: m for m in members if not any(part.startswith(".") for part in m.path.split("/"))}
    pictures = {path for path in shown if _suffix(path) in PICTURE_SUFFIXES}
    keys = {_stem(path) for path in pictures} | {os.path.splitext(path)[0] for path in pictures}
    wanted = [path for path in shown if (_suffix(path) == TEXT if texts else not _is_beside(path, keys))]
    by_name = {_stem(path) + _suffix(path): m for path, m in shown.items() if _suffix(path) in (_CLASS, _FACTS)}
    of_folders = label_rule(folders_in([path for path in wanted if texts or _suffix(path) in PICTURE_SUFFIXES]))
    for path in sorted(wanted, key=lambda path: escape_path(path).encode()):
        label, split = of_folders(path)
        yield shown[path]._replace(label=_label_beside(_stem(path), by_name, read) or label, split=split)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _stem(path: str) -> str:
    """Return a path up to the first dot of its last name: webdataset's key."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


def _is_beside(path: str, keys: Container[str]) -> bool:
    """Tell whether a file says something of a picture: `keys` has their names up to the first and the last dot."""
    is_such = _suffix(path) in (_CLASS, _FACTS, TEXT)
    return is_such and (_stem(path) in keys or os.path.splitext(path)[0] in keys)


def _label_beside(stem: str, by_name: Mapping[str, Member], read: Callable[[Member], bytes]) -> str | None:
    for suffix in (_CLASS, _FACTS):
        member = by_name.get(stem + suffix)
        if member is not None and says_label(member) and (found := member.label or label_said(member, read)):
            return found
    return None


def says_label(member: Member) -> bool:
    """Tell whether a member is read for the label of the picture that it stands beside."""
    return _suffix(member.path) in (_CLASS, _FACTS) and member.size <= _LONGEST and not member.refused


def label_said(member: Member, read: Callable[[Member], bytes]) -> str | None:
    """Return the label in such a member, None where it says none."""
    with suppress(ValueError, RecursionError, DecodeError):
        said = read(member).decode("utf-8-sig").strip()
        found = said if _suffix(member.path) == _CLASS else _label_in(json.loads(said))
        return escape_path(found) if found else None
    return None


def _label_in(facts: Any) -> str | None:
    """Return the first name or number of a class in what a .json says; a truth value only where there is none."""
    values = [facts[name] for name in _LABELS if name in facts] if isinstance(facts, dict) else []
    for value in sorted(values, key=lambda value: isinstance(value, bool)):
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        if isinstance(value, str | int) and value != "":
            return str(value)
    return None


def folders_in(paths: Iterable[str]) -> Callable[[str], list[str]]:
    """Return prefix -> names of the folders there that hold inputs, as they lie on a disk."""
    found = dict[str, dict[str, None]]()
    for path in paths:
        names = path.split("/")
        for depth in range(min(2, len(names) - 1)):
            prefix = "".join(f"{name}/" for name in names[:depth])
            found.setdefault(prefix, {})[names[depth]] = None
    return lambda prefix: [*found.get(prefix, ())]
