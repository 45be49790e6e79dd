"""The page of clusters: the pictures or texts nearest to the middle of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from fxengine.ui.pages import html

if TYPE_CHECKING:
    from fxengine.retrieval.cluster import ClusterReport

_PICTURES = 12


def cluster_page(report: ClusterReport) -> str:
    """Return a page with the medoid of each cluster first, then what is next to its middle."""
    nearest = {cluster.number: _nearest(report, cluster.number) for cluster in report.clusters}
    inputs = html.stored_inputs(report.store, report.root, [row["id"] for rows in nearest.values() for row in rows])
    body = [f"<p>The {inputs.noun}s nearest to the middle of each, with their distance (1 - cosine) to it.</p>"]
    for cluster in report.clusters:
        body.append(f"<h2>{html.text(f'cluster {cluster.number}: {cluster.rows} {inputs.noun}s')}</h2>")
        rows = nearest[cluster.number]
        shown = [inputs.draw(row["id"], _caption(row)) for row in rows]
        body.append(html.pictures(shown))
    return html.page("Clusters", "\n".join(body))


def _caption(row: dict[str, Any]) -> str:
    return html.caption_of(f"distance {row['distance']:.3f}", label=row["label"])


def _nearest(report: ClusterReport, number: int) -> list[dict[str, Any]]:
    rows = report.table.filter(pc.equal(report.table["cluster"], number))
    nearest: list[dict[str, Any]] = rows.sort_by("distance").slice(0, _PICTURES).to_pylist()
    return nearest
