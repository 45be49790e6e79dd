"""The page of duplicates: a line of pictures or texts a group."""

from __future__ import annotations

from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from fxengine.retrieval.duplicates import in_words
from fxengine.ui.pages import html

if TYPE_CHECKING:
    from fxengine.retrieval.duplicates import DuplicatesReport

_GROUPS, _PICTURES = 200, 24  # of a page and of a group: more would be too large for a browser


def duplicates_page(report: DuplicatesReport) -> str:
    """Return a page with the first groups, the one to keep first in each."""
    rows = report.table.slice(0, _GROUPS * _PICTURES).to_pylist()
    groups = [[*members] for _, members in islice(groupby(rows, key=lambda row: int(row["group"])), _GROUPS)]
    keys = [row["id"] for members in groups for row in members[:_PICTURES]]
    inputs = html.stored_inputs(report.store, report.root, keys)
    redundant = len(report.table) - report.groups
    body = [
        f"<p>{report.groups} groups, {redundant} {inputs.noun}s more than needed among {report.rows}; linked from a "
        f"likeness of {report.threshold:g}. Likeness is to the {inputs.noun} of the group that is to be kept.</p>",
        *(_group(members, inputs) for members in groups),
    ]
    if report.groups > len(groups) == _GROUPS:
        body.append(f"<p>and {report.groups - len(groups)} groups more</p>")
    return html.page("Duplicates", "\n".join(body))


def _group(rows: list[dict[str, Any]], inputs: html.StoredInputs) -> str:
    flags = [f"crosses {what}" for what in ("labels", "splits") if rows[0][f"crosses_{what}"]]
    heading = html.text(", ".join([f"group {rows[0]['group']}: {len(rows)} {inputs.noun}s", *flags]))
    caption = _text_caption if inputs.noun == "text" else _caption
    shown = [inputs.draw(row["id"], caption(row)) for row in rows[:_PICTURES]]
    return f"<h2>{heading}</h2>\n{html.pictures(shown)}"


def _caption(row: dict[str, Any]) -> str:
    size = f"{row['width']} x {row['height']}"
    return html.caption_of(f"{in_words(row)}, {size}", label=row["label"], split=row["split"])


def _text_caption(row: dict[str, Any]) -> str:
    return html.caption_of(in_words(row, "text"), label=row["label"], split=row["split"])
