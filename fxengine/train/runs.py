"""Reads the records of fine-tunings."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from fxengine.errors import InputError, reason
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.files import read_small
from fxengine.train.layout import RECORD

_MOST = 64 << 20  # bytes; what a confusion of a thousand classes takes is a tenth of it


@dataclass(frozen=True)
class _Run:
    """What is read of a record, of everything that it says.

    Attributes:
        status: how far it came; what follows `settings` is there when it is finished.
        backbone: name of what was trained.
        data: hash of what it was trained on.
        settings: `FinetuneOptions` as JSON data.
        rate: the learning rate that was chosen.
        history: what each epoch gave.
        metric: what the scores are.
        probe: side -> the score of the head on the features, with its interval.
        tuned: the same of the tuned net.
        kept: which of the two was written.
        seconds: that it took.
    """

    status: Literal["running", "finished"]
    backbone: str
    data: str
    settings: dict[str, Any]
    rate: float | None = None
    history: tuple[Any, ...] | None = None
    metric: str | None = None
    probe: dict[str, dict[str, float]] | None = None
    tuned: dict[str, dict[str, float]] | None = None
    kept: str | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for scores in (self.probe, self.tuned):
            if self.status == "finished" and not {"mean", "low", "high"} <= (scores or {}).get("test", {}).keys():
                raise ValueError("it says no score of the test pictures")


@dataclass(frozen=True)
class Kept:
    """What a finished run kept: the fingerprint of its data, and the score on the rows to select on."""

    data: str
    score: float


def kept_by(folder: Path) -> Kept | None:
    """Return what the finished run in a folder kept; None where there is none, or its record is damaged."""
    with suppress(InputError):
        run = _run(folder / RECORD)
        scores = (run.probe if run.kept == "probe" else run.tuned) or {}
        score = scores.get("validation", {}).get("mean")
        return None if score is None else Kept(run.data, score)
    return None


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
    return _run(folder / RECORD).settings


def read_record(path: Path) -> dict[str, Any]:
    """Return all that a record says; raises InputError where it is not there, or damaged."""
    try:
        record = read_json(read_small(path, _MOST))
        if not isinstance(record, dict):
            raise FactsError("is damaged: what it says of itself is no JSON object")
    except (OSError, FactsError) as error:
        raise _damaged(path, error) from error
    return record


def _run(path: Path) -> _Run:
    record, known = read_record(path), {field.name for field in fields(_Run)}
    try:
        return facts_from(_Run, {"format": 1, **{name: record[name] for name in known & record.keys()}}, 1)
    except FactsError as error:
        raise _damaged(path, error) from error


def _records(folder: Path) -> list[Path]:
    own = folder / RECORD
    return [own] if own.is_file() else sorted(folder.glob(f"*/{RECORD}"))


def _row(path: Path) -> dict[str, Any]:
    run = _run(path)
    probe, tuned = ((scores or {}).get("test", {}) for scores in (run.probe, run.tuned))
    return {
        "run": path.parent.name,
        "status": run.status,
        "backbone": run.backbone,
        "data": run.data[:12],
        "net": run.settings.get("net"),
        "unfreeze": run.settings.get("unfreeze"),
        "augment": run.settings.get("augment"),
        "rate": run.settings.get("rate") if run.rate is None else run.rate,
        "epochs": None if run.history is None else len(run.history),
        "metric": run.metric,
        "probe": probe.get("mean"),
        "tuned": tuned.get("mean"),
        "low": tuned.get("low"),
        "high": tuned.get("high"),
        "kept": run.kept,
        "seconds": run.seconds,
    }


def _damaged(path: Path, error: Exception) -> InputError:
    if isinstance(error, FactsError):
        return InputError(
            f"{path} {error}. It should be the record of a fine-tuning: train again, or delete its folder."
        )
    return InputError(f"Cannot read {path}, the record of a fine-tuning: {reason(error)}.")
