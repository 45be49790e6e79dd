"""The page of labels that are likely wrong, with their pictures or texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fxengine.ui.pages import html

if TYPE_CHECKING:
    from fxengine.probing.mislabeled import Suspects

_PICTURES = 200


def mislabeled_page(found: Suspects) -> str:
    """Return a page of the rows of a store whose labels are likely wrong, the most suspicious first."""
    rows = found.rows[:_PICTURES]
    inputs = html.stored_inputs(found.store, found.root, [row.id for row in rows])
    shown = [
        inputs.draw(row.id, f"{row.label} ({row.own_probability:.0%}), rather {row.suggestion} ({row.probability:.0%})")
        for row in rows
    ]
    listed = f"the first {len(rows)} of these {len(found.rows)} rows" if len(rows) < len(found.rows) else "all of them"
    lines = [f"{found.in_words()}. Shown are {listed}, the most suspicious first.", *found.notes]
    body = "".join(f"<p>{html.text(line)}</p>\n" for line in lines)
    return html.page(f"Labels of {found.store}", body + html.pictures(shown))
