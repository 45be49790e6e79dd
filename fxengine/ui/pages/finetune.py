"""The page of a fine-tuning: what it gained, its curves, and what the kept model still gets wrong."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.pages import html, plots
from fxengine.ui.pages.probe import probe_body

if TYPE_CHECKING:
    from fxengine.heads.evaluate.interval import Interval
    from fxengine.train.report import FinetuneReport

_EPOCH = ("train_loss", "validation_loss", "validation_accuracy", "seconds")


def write_finetune_page(report: FinetuneReport, photos: Path) -> Path:
    """Write report.html, curves.png and, for classes, confusion.png into the run's folder; return the page.

    Raises:
        InputError: they cannot be written.
    """
    run = Path(report.run)
    curves = plots.training(report.history)
    plots.write_picture(curves, run / "curves.png")
    if report.details.confusion:
        plots.write_picture(plots.confusion(report.details.confusion, report.classes), run / "confusion.png")
    scores = [
        ["probe on the frozen features", *_cells(report.probe.validation), *_cells(report.probe.test)],
        ["tuned", *_cells(report.tuned.validation), *_cells(report.tuned.test)],
    ]
    epochs = [[i, *(row.get(name) for name in _EPOCH)] for i, row in enumerate(report.history, 1)]
    settings = json.loads((run / "run.json").read_text())["settings"]
    body = [
        *(f"<p>{html.text(line)}</p>" for line in (_words(report), *report.notes)),
        f"<h2>{html.text(report.metric.replace('_', ' '))}, with 95% intervals</h2>",
        html.table(["", "validation", "low", "high", "test", "low", "high"], scores),
        "<h2>Training</h2>",
        f'<img src="data:image/png;base64,{base64.b64encode(curves).decode()}" alt="losses and accuracy">',
        html.table(["epoch", *(name.replace("_", " ") for name in _EPOCH)], epochs),
        "<h2>What was kept, on the test pictures</h2>",
        *probe_body(report.details, photos),
        "<h2>Settings</h2>",
        html.table(["setting", "value"], sorted(settings.items())),
    ]
    path = run / "report.html"
    path.write_text(html.page(f"{report.backbone}, trained further", "\n".join(body)), "utf-8")
    return path


def _cells(score: Interval) -> list[float]:
    return [score.mean, score.low, score.high]


def _words(report: FinetuneReport) -> str:
    kept = "the tuned net" if report.kept == "tuned" else "the original with its probe: training gained nothing"
    sides = ", ".join(f"{count} {name}" for name, count in report.rows.items())
    return (
        f"{sides} pictures; rate {report.rate:g}; best after epoch {report.best_epoch} of {len(report.history)}; "
        f"{report.seconds:.0f} s. Kept: {kept}."
    )
