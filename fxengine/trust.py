"""What this user has named by hand: roots of pictures, and backbones in files. Importable from anywhere.

A store that somebody else made names a root and a backbone, too; what it names is opened only where this user named it
before, or names it now. The notes are in the cache's folder: without them, it has to be named again.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from fxengine.cache import find, keep
from fxengine.errors import InputError
from fxengine.storage import absolute, is_remote

_DEEPEST = 100
Named = Literal["root", "backbone", "private"]


def note_named(kind: Named, value: str) -> None:
    """Note that this user named a root (as `storage.absolute` says it), a backbone (its source, as a store says it) or
    a host (`NAME:PORT`) at a private address, where that can be noted.
    """
    with suppress(InputError):
        if not was_named(kind, value):
            keep(_note(kind, value), Path.touch)


def was_named(kind: Named, value: str) -> bool:
    """Tell whether this user named it before."""
    try:
        return find(_note(kind, value)) is not None
    except InputError:
        return False


def name_pictures(folder: str | Path) -> None:
    """Note what this user gave as `pictures`: what lies below it may be shown and read from now on.

    Raises:
        InputError: there is no such folder; whether there is a remote one, is not asked.
    """
    if not is_remote(folder) and not Path(folder).is_dir():
        raise InputError(f"There is no folder {folder}, which `pictures` names.")
    note_named("root", absolute(folder))


def within_named(folder: str | Path) -> bool:
    """Tell whether a folder is a root that this user named before, or lies below one; links are not looked at.

    One with more than 100 folders above it is none: each is looked up, and who names it may be anybody.
    """
    path = Path(os.path.normpath(folder))
    return os.fspath(path).count(os.sep) <= _DEEPEST and any(
        was_named("root", str(each)) for each in (path, *path.parents)
    )


def _note(kind: Named, value: str) -> str:
    try:
        told = value.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # an escaped "/" or ".." of a container or an address, which no path on a disk has
        told = value.encode(errors="surrogatepass")
    return f"named/{kind}-{hashlib.sha256(told).hexdigest()}"
