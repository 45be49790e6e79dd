"""A repository that lies in a folder of this machine: a clone, a download, what a program saved."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from fxengine.backbones.hub.listing import Entry, sorted_entries
from fxengine.errors import InputError, explained
from fxengine.files import open_regular

_MOST = 10_000  # files: a repository has some dozens
_CARD = "README.md"
_LONGEST = 1_000_000  # bytes of a card that are read
_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
_LICENCE = re.compile(r"^license:\s*[\"']?([\w.+-]+)[\"']?\s*$", re.MULTILINE)


def list_folder(place: Path) -> tuple[Entry, ...]:
    """Return the files below a folder; what begins with a dot is left out, and links to folders are not followed.

    Raises:
        InputError: there is no such folder, it cannot be read, or it has more files than a repository has.
    """
    if not place.is_dir():
        raise InputError(f"There is no folder {place}.")
    found: list[Entry] = []
    with explained(f"{place} cannot be read", kind=InputError):
        for where, folders, names in os.walk(place, onerror=_fail):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for path in (Path(where, name) for name in names if not name.startswith(".")):
                if path.is_file():
                    found.append(Entry(path.relative_to(place).as_posix(), path.stat().st_size))
            if len(found) > _MOST:
                raise InputError(f"{place} has more than {_MOST:,} files: give the folder of one model.")
    return sorted_entries(found)


def path_in(place: Path, file: str) -> Path:
    """Return where a file of a folder lies, its links resolved.

    Raises:
        InputError: it is a link out of the folder, and not into the Hub's cache: whoever made the folder could name any
            file of this machine.
    """
    with explained(f"{place / file} cannot be read", kind=InputError):
        path, root = (place / file).resolve(), place.resolve()
    in_cache = path.parent.name == "blobs" and path.parents[1].name.startswith("models--")
    if root not in path.parents and not in_cache:
        raise InputError(f"{place / file} is a link out of its folder: put a copy there.")
    return path


def licence_of(place: Path) -> str:
    """Return the licence that the card of a repository names at its head, or "" where it names none."""
    with suppress(OSError, InputError), open_regular(path_in(place, _CARD)) as opened:
        card = opened.read(_LONGEST).decode(errors="replace")
        front = _FRONT.search(card.replace("\r\n", "\n"))
        named = _LICENCE.search(front[1]) if front else None
        return named[1] if named else ""
    return ""


def _fail(error: OSError) -> None:
    raise error
