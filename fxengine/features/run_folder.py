"""The folder in a store of what belongs to a run over many workers, and not to the store."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fxengine.cache import working_folder
from fxengine.storage import absolute, is_remote

RUN_FOLDER = "_run"  # readers of Parquet pass over names that begin so


def notes_folder(store: str | Path, share: str = "") -> Path:
    """Return the folder in which a run, or a share of one, such as "3/16", notes what it decodes; it may not be there.

    Of a store in a bucket it is one of this machine's, in the cache: the note is mapped into memory.

    Raises:
        InputError: there is no place for it.
    """
    if is_remote(store):
        digest = hashlib.sha256(f"{absolute(store)}\n{share}".encode()).hexdigest()[:32]
        return working_folder(f"notes/{digest}")
    return Path(store, RUN_FOLDER, f"shard-{share.replace('/', '-of-')}") if share else Path(store)
