"""Reads the records of fine-tunings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fxengine.errors import InputError
from fxengine.train.layout import RECORD


def is_runs_folder(folder: Path) -> bool:
    """Tell whether a folder is a run, or holds some."""
    return any(_records(folder))


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """Return of every run in a folder (or of the one that it is) what it was and what it gained.

    Raises:
        InputError: a record is damaged.
    """
    return [_row(path) for path in _records(folder)]


def run_settings(folder: Path) -> dict[str, Any]:
    """Return how a run trains, `FinetuneOptions` as JSON data.

    Raises:
        InputError: its record is not there or damaged.
    """
    path = folder / RECORD
    try:
        settings: dict[str, Any] = json.loads(path.read_text())["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    return settings


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
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is no record of a fine-tuning, or a damaged one: {error!r}.")
