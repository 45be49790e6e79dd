"""The page of a search: pictures to look at, or texts to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.collect.item import unescape_path
from fxengine.storage import is_remote
from fxengine.ui.pages import html

if TYPE_CHECKING:
    from fxengine.retrieval.search import Answer, Neighbour, SearchReport

_SCORES = {"cosine": "cosine", "ip": "inner product"}


def search_page(report: SearchReport) -> str:
    """Return a page with each query and its neighbours."""
    body = [f"<p>{html.text(f'{report.rows} rows, {report.metric}; {report.method}')}</p>"]
    keys = [near.id for answer in report.answers for near in answer.neighbours]
    keys += [answer.own for answer in report.answers if answer.own is not None]
    draw = html.stored_inputs(report.store, report.root, keys).draw
    for answer in report.answers:
        body.append(f"<h2>{html.text(answer.query)}</h2>")
        asked = [] if answer.picture is None else [_query(answer, answer.picture, report.root, draw)]
        if answer.own is not None:
            asked = [draw(answer.own, "the query")]
        found = [draw(n.id, _caption(n, report.metric)) for n in answer.neighbours]
        body.append(html.pictures([*asked, *found]) if asked or found else "<p>nothing is as near as asked</p>")
    return html.page(f"Nearest {report.modality}s", "\n".join(body))


def _caption(near: Neighbour, metric: str) -> str:
    if metric == "l2":  # whose score is minus the distance
        return html.caption_of(f"distance {abs(near.score):.4f}", label=near.label)
    return html.caption_of(f"{_SCORES[metric]} {near.score:.4f}", label=near.label)


def _query(answer: Answer, picture: str, root: str, draw: Callable[[str, str], str]) -> str:
    query = answer.query
    is_row = (
        not Path(query).is_absolute() and not is_remote(query) and picture == str(Path(root) / unescape_path(query))
    )
    return draw(query, "the query") if is_row else html.picture(picture, "the query")
