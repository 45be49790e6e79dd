"""The plot of a reduction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fxengine.ui.pages.plots import explained_variance

if TYPE_CHECKING:
    from fxengine.reduce.fit import PcaReport


def pca_page(report: PcaReport) -> bytes:
    """Return a PNG of the variance that the components explain."""
    return explained_variance(report.variances, len(report.pca.components))
