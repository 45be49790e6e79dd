"""The folder in a store of what belongs to a run over many workers, and not to the store."""

from __future__ import annotations

from pathlib import Path

RUN_FOLDER = "_run"  # readers of Parquet pass over names that begin so


def share_folder(store: Path, share: str) -> Path:
    """Return the folder in which a share, such as "3/16", notes what it decodes."""
    return store / RUN_FOLDER / f"shard-{share.replace('/', '-of-')}"
