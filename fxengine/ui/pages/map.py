"""The plot of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fxengine.ui.pages.plots import plane

if TYPE_CHECKING:
    from fxengine.retrieval.map import MapReport


def map_page(report: MapReport) -> bytes:
    """Return a PNG of the places of all rows, in the colours of their labels."""
    x, y = (report.table[name].to_numpy() for name in ("x", "y"))
    return plane(x, y, report.table["label"].to_pylist())
