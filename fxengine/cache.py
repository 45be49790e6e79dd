"""Where things are kept that only save time. Importable from anywhere; deleting the folder loses nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from fxengine.errors import InputError


def cache_folder() -> Path:
    """Return the cache's folder, made with mode 0700: `FXENGINE_CACHE`, else `$XDG_CACHE_HOME/fxengine`.

    Raises:
        InputError: it cannot be made or written to.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fxengine"
    folder = Path(os.environ.get("FXENGINE_CACHE") or default)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the cache folder {folder} ({error}). Set FXENGINE_CACHE to another.") from error
    return folder
