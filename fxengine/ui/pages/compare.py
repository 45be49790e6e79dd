"""A comparison of backbones or layers as one self-contained page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fxengine.ui.pages import html

if TYPE_CHECKING:
    from fxengine.probing.compare import Candidate, Comparison


def compare_page(found: Comparison) -> str:
    """Return a page of the ranking, the best first."""
    metric = found.metric.replace("_", " ")
    lines = [
        f"{metric} of {found.head}, {found.folds}-fold cross-validation over the same {found.rows} rows. "
        "Where two intervals overlap widely, these rows do not tell which one is better.",
        *found.notes,
    ]
    rate = "texts/s" if found.modality == "text" else "images/s"
    columns = ["store and layer", metric, "low (95%)", "high", "LogME", "dim", rate, "M multiply-adds", "made by"]
    ranking = html.table(columns, [_cells(each) for each in found.candidates])
    of = " of 64 tokens" if found.modality == "text" else ""
    said = f"{rate}: the backbone alone in fp32{of}, measured when this was made. LogME: higher is better, no training."
    return html.page("Comparison", "\n".join([*(_line(line) for line in lines), ranking, _line(said)]))


def _cells(each: Candidate) -> list[object]:
    adds = None if each.multiply_adds is None else round(each.multiply_adds / 1e6)
    rate = None if each.images_per_second is None else round(each.images_per_second)
    score = each.score
    name = f"{each.store} {each.layer or ''}".strip()
    return [name, score.mean, score.low, score.high, each.log_me, each.dim, rate, adds, each.source]


def _line(said: str) -> str:
    return f"<p>{html.text(said)}</p>"
