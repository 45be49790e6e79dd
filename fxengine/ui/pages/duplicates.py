"""The page of duplicates: a line of pictures a group."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from fxengine.ui.pages import html

if TYPE_CHECKING:
    from fxengine.retrieval.duplicates import DuplicatesReport

_GROUPS, _PICTURES = 200, 24  # of a page and of a group: more would be too large for a browser


def duplicates_page(report: DuplicatesReport) -> str:
    """Return a page with the first groups, the one to keep first in each."""
    redundant = len(report.table) - report.groups
    body = [f"<p>{report.groups} groups, {redundant} pictures more than needed among {report.rows}; linked from a "
            f"likeness of {report.threshold}</p>"]  # fmt: skip
    rows = report.table.slice(0, _GROUPS * _PICTURES).to_pylist()
    for number, members in groupby(rows, key=lambda row: int(row["group"])):
        if number == _GROUPS:
            body.append(f"<p>and {report.groups - number} groups more</p>")
            break
        body.append(_group(number, list(members), report.root))
    return html.page("Duplicates", "\n".join(body))


def _group(number: int, rows: list[dict[str, Any]], root: str) -> str:
    flags = [f"crosses {what}" for what in ("labels", "splits") if rows[0][f"crosses_{what}"]]
    heading = html.text(", ".join([f"group {number}: {len(rows)} pictures", *flags]))
    shown = [html.stored_picture(root, row["id"], _caption(row)) for row in rows[:_PICTURES]]
    return f"<h2>{heading}</h2>\n{html.pictures(shown)}"


def _caption(row: dict[str, Any]) -> str:
    what = "keep" if row["keep"] else "same file" if row["identical"] else f"likeness {row['likeness']:.3f}"
    where = " ".join(row[name] for name in ("label", "split") if row[name])
    return f"{what}, {row['width']} x {row['height']} {where}"
