"""The page of duplicates: a line of pictures a group."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING, Any

from fxengine.retrieval.duplicates import in_words
from fxengine.ui.pages import html

if TYPE_CHECKING:
    from fxengine.retrieval.duplicates import DuplicatesReport

_GROUPS, _PICTURES = 200, 24  # of a page and of a group: more would be too large for a browser


def duplicates_page(report: DuplicatesReport) -> str:
    """Return a page with the first groups, the one to keep first in each."""
    redundant = len(report.table) - report.groups
    body = [
        f"<p>{report.groups} groups, {redundant} pictures more than needed among {report.rows}; linked from a likeness "
        f"of {report.threshold:g}. Likeness is to the picture of the group that is to be kept.</p>"
    ]
    rows = report.table.slice(0, _GROUPS * _PICTURES).to_pylist()
    draw = html.stored_pictures(report.root)
    for number, members in groupby(rows, key=lambda row: int(row["group"])):
        if number == _GROUPS:
            body.append(f"<p>and {report.groups - number} groups more</p>")
            break
        body.append(_group(number, list(members), draw))
    return html.page("Duplicates", "\n".join(body))


def _group(number: int, rows: list[dict[str, Any]], draw: Callable[[str, str], str]) -> str:
    flags = [f"crosses {what}" for what in ("labels", "splits") if rows[0][f"crosses_{what}"]]
    heading = html.text(", ".join([f"group {number}: {len(rows)} pictures", *flags]))
    shown = [draw(row["id"], _caption(row)) for row in rows[:_PICTURES]]
    return f"<h2>{heading}</h2>\n{html.pictures(shown)}"


def _caption(row: dict[str, Any]) -> str:
    where = " ".join(row[name] for name in ("label", "split") if row[name])
    return f"{in_words(row)}, {row['width']} x {row['height']} {where}"
