"""The page of clusters: the pictures nearest to the middle of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from fxengine.ui.pages import html

if TYPE_CHECKING:
    from fxengine.retrieval.cluster import ClusterReport

_PICTURES = 12


def cluster_page(report: ClusterReport) -> str:
    """Return a page with the medoid of each cluster first, then what is next to its middle."""
    draw = html.stored_pictures(report.root)
    body = ["<p>The pictures nearest to the middle of each, with their distance (1 - cosine) to it.</p>"]
    for cluster in report.clusters:
        rows = report.table.filter(pc.equal(report.table["cluster"], cluster.number))
        nearest = rows.sort_by("distance").slice(0, _PICTURES).to_pylist()
        body.append(f"<h2>{html.text(f'cluster {cluster.number}: {cluster.rows} pictures')}</h2>")
        shown = [draw(row["id"], f"{row['distance']:.3f} {row['label'] or ''}") for row in nearest]
        body.append(html.pictures(shown))
    return html.page("Clusters", "\n".join(body))
