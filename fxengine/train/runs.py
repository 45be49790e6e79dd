"""Reads the records of fine-tunings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fxengine.errors import InputError

RECORD = "run.json"


def is_runs_folder(folder: Path) -> bool:
    """Tell whether a folder is a run, or holds some."""
    return any(_records(folder))


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """Return of every run in a folder (or of the one that it is) what it was and what it gained.

    Raises:
        InputError: a record is damaged.
    """
    return [_row(path) for path in _records(folder)]


def _records(folder: Path) -> list[Path]:
    own = folder / RECORD
    return [own] if own.is_file() else sorted(folder.glob(f"*/{RECORD}"))


def _row(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
        done = record["status"] == "finished"
        return {
            "run": path.parent.name,
            "status": record["status"],
            "backbone": record["backbone"],
            "data": record["data"][:12],
            "unfreeze": record["settings"]["unfreeze"],
            "augment": record["settings"]["augment"],
            "rate": record["rate"] if done else record["settings"]["rate"],
            "epochs": len(record["history"]) if done else None,
            "metric": record["metric"] if done else None,
            "probe": record["probe"]["test"]["mean"] if done else None,
            "tuned": record["tuned"]["test"]["mean"] if done else None,
            "low": record["tuned"]["test"]["low"] if done else None,
            "high": record["tuned"]["test"]["high"] if done else None,
            "kept": record["kept"] if done else None,
            "seconds": record["seconds"] if done else None,
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no record of a fine-tuning, or a damaged one: {error!r}.") from error
