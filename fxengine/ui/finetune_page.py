"""The page of a fine-tuning: scores, curves and settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui import html

if TYPE_CHECKING:
    from fxengine.heads.interval import Interval
    from fxengine.tasks.finetune_report import FinetuneReport


def write_finetune_page(report: FinetuneReport) -> Path:
    """Write report.html into the run's folder."""
    rows = [
        ["probe on the frozen features", *_cells(report.probe.validation), *_cells(report.probe.test)],
        ["tuned", *_cells(report.tuned.validation), *_cells(report.tuned.test)],
    ]
    columns = ["", "validation", "low", "high", "test", "low", "high"]
    epochs = [[i, *(row.get(name) for name in _NUMBERS)] for i, row in enumerate(report.history, 1)]
    settings = json.loads((Path(report.run) / "run.json").read_text())["settings"]
    body = "\n".join(
        [
            f"<p>{html.text(_words(report))}</p>",
            f"<h2>{html.text(report.metric.replace('_', ' '))}, 95% intervals</h2>",
            html.table(columns, rows),
            "<h2>Epochs</h2>",
            html.table(["epoch", *(name.replace("_", " ") for name in _NUMBERS)], epochs),
            "<h2>Settings</h2>",
            html.table(["setting", "value"], sorted(settings.items())),
        ]
    )
    path = Path(report.run) / "report.html"
    path.write_text(html.page(f"{report.backbone}, trained further", body))
    return path


_NUMBERS = ("train_loss", "validation_loss", "validation_accuracy", "seconds")


def _cells(score: Interval) -> list[float]:
    return [score.mean, score.low, score.high]


def _words(report: FinetuneReport) -> str:
    kept = "the tuned net" if report.kept == "tuned" else "the original with its probe: training gained nothing"
    sides = ", ".join(f"{count} {name}" for name, count in report.rows.items())
    return (
        f"{sides} pictures; rate {report.rate:g}; best after epoch {report.best_epoch} of {len(report.history)}; "
        f"{report.seconds:.0f} s. Kept: {kept}."
    )
