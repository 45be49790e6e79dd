"""The page of a fine-tuning: what it gained, its curves, and what the kept model still gets wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.train import layout
from fxengine.train.runs import run_settings
from fxengine.ui.page_file import write_picture, write_text
from fxengine.ui.pages import html, plots
from fxengine.ui.pages.probe import probe_parts

if TYPE_CHECKING:
    from fxengine.heads.evaluate.interval import Interval
    from fxengine.train.report import FinetuneReport

_EPOCH = ("train_loss", "validation_loss", "validation_accuracy", "seconds")


def write_run(report: FinetuneReport) -> Path:
    """Write report.html, curves.png and, for classes, confusion.png into the run's folder; return the page.

    Raises:
        InputError: they cannot be written, or the run's record cannot be read.
    """
    run = Path(report.run)
    write_picture(plots.training(report.history), run / layout.CURVES)
    if report.details.confusion:
        write_picture(plots.confusion(report.details.confusion, report.classes), run / layout.CONFUSION)
    write_text(finetune_page(report), run / layout.PAGE)
    return run / layout.PAGE


def finetune_page(report: FinetuneReport) -> str:
    """Return a page of a run; its settings are read from its record.

    Raises:
        InputError: the record cannot be read.
    """
    scores = [
        ["probe on the frozen features", *_cells(report.probe.validation), *_cells(report.probe.test)],
        ["tuned", *_cells(report.tuned.validation), *_cells(report.tuned.test)],
    ]
    epochs = [[i, *(row.get(name) for name in _EPOCH)] for i, row in enumerate(report.history, 1)]
    body = [
        *(f"<p>{html.text(line)}</p>" for line in (_words(report), report.why, *report.notes)),
        f"<h2>{html.text(report.metric.replace('_', ' '))}, with 95% intervals</h2>",
        html.table(["", "validation", "low", "high", "test", "low", "high"], scores),
        "<h2>Training</h2>",
        html.drawing(plots.training(report.history), "losses and accuracy"),
        html.table(["epoch", *(name.replace("_", " ") for name in _EPOCH)], epochs),
        f"<h2>What was kept, on the test {report.modality}s</h2>",
        *probe_parts(report.details),
        "<h2>Settings</h2>",
        html.table(["setting", "value"], sorted(run_settings(Path(report.run)).items())),
    ]
    return html.page(f"{report.backbone}, trained further", "\n".join(body))


def _cells(score: Interval) -> list[float]:
    return [score.mean, score.low, score.high]


def _words(report: FinetuneReport) -> str:
    kept = "the tuned net" if report.kept == "tuned" else "the original with its probe"
    sides = ", ".join(f"{count} {name}" for name, count in report.rows.items())
    return (
        f"{sides} {report.modality}s; rate {report.rate:g}; best after epoch {report.best_epoch} of "
        f"{len(report.history)}; {report.seconds:.0f} s. Kept: {kept}."
    )
