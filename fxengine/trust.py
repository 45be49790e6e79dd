"""What this user has named by hand: roots of pictures, and backbones in files. Importable from anywhere.

A store that somebody else made names a root and a backbone, too; what it names is opened only where this user named it
before, or names it now. The notes are in the cache's folder: without them, it has to be named again.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Literal

from fxengine.cache import cache_folder
from fxengine.errors import InputError

Named = Literal["root", "backbone"]


def note_named(kind: Named, value: str) -> None:
    """Note that this user named a root (its absolute path) or a backbone (its fingerprint); where that can be noted."""
    with suppress(OSError, InputError):
        note = _note(kind, value)
        note.parent.mkdir(mode=0o700, exist_ok=True)
        note.touch()


def was_named(kind: Named, value: str) -> bool:
    """Tell whether this user named it before."""
    try:
        return _note(kind, value).is_file()
    except (OSError, InputError):
        return False


def _note(kind: Named, value: str) -> Path:
    digest = hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()
    return cache_folder() / "named" / f"{kind}-{digest}"
