"""The page of duplicates: what is more than needed beside what is kept, then what is only alike."""

from __future__ import annotations

from io import BytesIO
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from fxengine.collect.stored import stored_path
from fxengine.retrieval.copies.difference import difference_image
from fxengine.retrieval.duplicates import in_words
from fxengine.retrieval.kinds import IDENTICAL, SAME_PICTURE
from fxengine.ui.pages import html

if TYPE_CHECKING:
    from fxengine.retrieval.duplicates import DuplicatesReport

_GROUPS, _PICTURES = 200, 24  # of a section and of a group: more would be too large for a browser


def duplicates_page(report: DuplicatesReport) -> str:
    """Return a page with the first groups, the one to keep first in each."""
    rows = report.table.to_pylist()
    groups = [[*members] for _, members in groupby(rows, key=lambda row: int(row["group"]))]
    copied = {row["of"] for row in rows if not row["keep"]}
    copies = [[row for row in members if not row["keep"] or row["id"] in copied] for members in groups]
    alike = [[row for row in members if row["keep"]] for members in groups]
    parts = [members for members in copies if members], [members for members in alike if len(members) > 1]
    drawn = [row["id"] for part in parts for members in part[:_GROUPS] for row in members[:_PICTURES]]
    inputs = html.stored_inputs(report.store, report.root, drawn)
    titles = f"More than needed: identical, or the same {inputs.noun}", f"Alike: other {inputs.noun}s, each to be kept"
    counts = ", ".join(f"{count} {kind}" for kind, count in report.kinds.items())
    body = [
        f"<p>{report.groups} groups, {report.redundant} {inputs.noun}s more than needed among {report.rows}"
        f"{': ' if counts else ''}{html.text(counts)}. What is only alike is grouped from a likeness of "
        f"{report.threshold:g}; likeness is that of vectors, to the one that a {inputs.noun} was compared with.</p>",
        *(_section(title, part, inputs, report.root) for title, part in zip(titles, parts, strict=True) if part),
    ]
    return html.page("Duplicates", "\n".join(body))


def _section(title: str, groups: list[list[dict[str, Any]]], inputs: html.StoredInputs, root: str) -> str:
    shown = [f"<h2>{html.text(title)}</h2>", *(_group(members, inputs, root) for members in islice(groups, _GROUPS))]
    if len(groups) > _GROUPS:
        shown.append(f"<p>and {len(groups) - _GROUPS} groups more</p>")
    return "\n".join(shown)


def _group(rows: list[dict[str, Any]], inputs: html.StoredInputs, root: str) -> str:
    flags = [f"crosses {what}" for what in ("labels", "splits") if rows[0][f"crosses_{what}"]]
    flags += ["copies in several splits"] if any(row["across_splits"] for row in rows) else []
    heading = html.text(", ".join([f"group {rows[0]['group']}: {len(rows)} {inputs.noun}s", *flags]))
    caption = _text_caption if inputs.noun == "text" else _caption
    shown = []
    for row in rows[:_PICTURES]:
        shown.append(inputs.draw(row["id"], caption(row)))
        if row["kind"] == SAME_PICTURE:
            shown.append(_difference(root, row))
    return f"<h3>{heading}</h3>\n{html.pictures(shown)}"


def _difference(root: str, row: dict[str, Any]) -> str:
    """Return what a copy has that the kept picture has not, nothing where that cannot be seen any more."""
    image = difference_image(*(stored_path(root, key) for key in (row["of"], row["id"])))
    if image is None:
        return ""
    png = BytesIO()
    image.save(png, "PNG")
    return html.figure(html.drawing(png.getvalue(), "difference"), "difference, 4 times as strong; grey is the same")


def _caption(row: dict[str, Any]) -> str:
    size = f"{row['width']} x {row['height']}"
    return html.caption_of(f"{in_words(row)}{_scores(row)}, {size}", label=row["label"], split=row["split"])


def _text_caption(row: dict[str, Any]) -> str:
    return html.caption_of(f"{in_words(row, 'text')}{_scores(row)}", label=row["label"], split=row["split"])


def _scores(row: dict[str, Any]) -> str:
    if row["keep"] or row["kind"] == IDENTICAL or row["score"] is None:
        return ""
    return f" (agrees {row['score']:.3f}, likeness {row['likeness']:.3f})"
