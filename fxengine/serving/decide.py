"""Duplicates and labels that may be wrong, and what a person decides on them; nothing is done to a file here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fxengine.reviewing.decisions import DUPLICATE, LABEL, TABLE, Choice, Decisions, hashes_of, open_groups
from fxengine.serving.opened import Opened, Refused
from fxengine.serving.route import Asked, Route
from fxengine.serving.view import described

_GROUPS, _ROWS = 100, 500  # at once
_CHOICES = 100_000  # decisions in one answer
_TEXT = 2000  # characters of a label
_SHOWN = ("kind", "of", "keep", "likeness", "transform", "kept_for", "width", "height", "size")


def groups(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Return a window of the groups of duplicates on which something is to be decided still."""
    table, hashes = opened.once("duplicates", lambda: _duplicates(opened))
    decisions = _decisions(opened)
    found = open_groups(table, decisions, hashes)
    first, count = asked.whole("from", 0, 1 << 40, 0), asked.whole("count", 0, _GROUPS, 20)
    shown = [_with_rows(opened, group, DUPLICATE, _SHOWN) for group in found[first : first + count]]
    redundant = sum(not row["keep"] for group in found for row in group)
    return {**_state(decisions), "total": len(found), "redundant": redundant, "groups": shown}


def keep_best(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Drop in every group that is open what is more than needed, and keep the rest; it is taken back at once."""
    table, hashes = opened.once("duplicates", lambda: _duplicates(opened))
    decisions = _decisions(opened)
    places = _places(opened)
    undecided = [
        row for group in open_groups(table, decisions, hashes) for row in group
        if (DUPLICATE, row["id"]) not in decisions.taken
    ]  # fmt: skip
    choices = [Choice(places[row["id"]], "keep" if row["keep"] else "drop", places.get(row["of"])) for row in undecided]
    if choices:
        decisions.decide(DUPLICATE, choices)
    return _state(decisions)


def suspects(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Return a window of the labels that may be wrong: what is not decided yet, then what was skipped."""
    ranking = opened.once("suspects", lambda: _suspects(opened))
    decisions = _decisions(opened)
    taken = {key: entry["decision"] for (about, key), entry in decisions.taken.items() if about == LABEL}
    left = [row for row in ranking if taken.get(row["id"], "skip") == "skip"]
    left.sort(key=lambda row: row["id"] in taken)
    first, count = asked.whole("from", 0, 1 << 40, 0), asked.whole("count", 0, _ROWS, 50)
    names = ("suggestion", "probability", "own_probability", "issue")
    shown = _with_rows(opened, left[first : first + count], LABEL, names)
    return {**_state(decisions), "total": len(left), "likely": sum(row["issue"] for row in left), "rows": shown}


def decide(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Note decisions `about` a "duplicate" or a "label": `choices` of `row`, `decision`, and `of` or `label`."""
    about, given = asked.data.get("about"), asked.listed("choices", dict, _CHOICES)
    if not isinstance(about, str) or not given:
        raise Refused(400, "A decision says what it is about, and on which rows.")
    decisions = _decisions(opened)
    decisions.decide(about, [_choice(opened, each) for each in given])
    return _state(decisions)


def undo(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Take the last decisions back."""
    decisions = _decisions(opened)
    return {"undone": decisions.undo(), **_state(decisions)}


def _choice(opened: Opened, given: Mapping[str, Any]) -> Choice:
    row, decision, of, label = (given.get(name) for name in ("row", "decision", "of", "label"))
    if type(row) is not int or not isinstance(decision, str) or not (of is None or type(of) is int):
        raise Refused(400, "A decision has a row and a word.")
    if not (label is None or (isinstance(label, str) and len(label) <= _TEXT)):
        raise Refused(400, "A label is a text.")
    return Choice(opened.place_of(row), decision, None if of is None else opened.place_of(of), label)


def _decisions(opened: Opened) -> Decisions:
    decisions = opened.once("decisions", lambda: Decisions(opened.store, opened.review))
    decisions.refresh()
    return decisions


def _duplicates(opened: Opened) -> tuple[list[dict[str, Any]], dict[str, str | None]]:
    from fxengine.retrieval.duplicates import duplicates  # loads scipy, which no first page waits for

    table = duplicates(opened.store.path, layer=opened.layer).table
    known = _places(opened)
    rows = [row for row in table.to_pylist() if row["id"] in known]
    return rows, hashes_of(opened.store, [row["id"] for row in rows])


def _suspects(opened: Opened) -> list[dict[str, Any]]:
    from fxengine.probing.mislabeled import mislabeled  # loads scikit-learn

    known = _places(opened)
    ranking = mislabeled(opened.store.path, layer=opened.layer).table.to_pylist()
    return [row for row in ranking if row["id"] in known]


def _places(opened: Opened) -> dict[str, int]:
    """Return the place of every row in `Opened.table` by its id."""
    return opened.once("places", lambda: {key: at for at, key in enumerate(opened.table["id"].to_pylist())})


def _with_rows(opened: Opened, found: list[dict[str, Any]], about: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return rows for the page with some columns of what was found, and what is decided already."""
    places, taken = _places(opened), _decisions(opened).taken
    shown = described(opened, np.array([places[row["id"]] for row in found], np.int64))
    for card, row in zip(shown, found, strict=True):
        card.update({name: row[name] for name in names})
        if about == DUPLICATE:
            card["of"] = None if row["of"] is None else int(opened.rows[places[row["of"]]])
        entry = taken.get((about, row["id"]))
        card["decision"] = None if entry is None else entry["decision"]
    return shown


def _state(decisions: Decisions) -> dict[str, Any]:
    return {
        "decided": len(decisions.taken) + len(decisions.different),
        "damaged": decisions.damaged,
        "file": str(decisions.folder / TABLE),
    }


ROUTES = (
    Route("GET", "/api/duplicates", groups),
    Route("GET", "/api/suspects", suspects),
    Route("POST", "/api/decide", decide, most=1 << 24),
    Route("POST", "/api/decide/best", keep_best),
    Route("POST", "/api/decide/undo", undo),
)
