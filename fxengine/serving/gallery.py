"""Rows in windows, and one row with all that is known of it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from fxengine.features.texts import texts_of
from fxengine.serving.answers import answers_for
from fxengine.serving.ask import Term, nearest
from fxengine.serving.opened import Opened
from fxengine.serving.route import Asked, Route
from fxengine.serving.view import described, view

_WINDOW = 500  # rows at once
_NEIGHBOURS = 12
_TEXT = 20_000  # characters of a text that is shown whole
_PICKED = 200_000  # rows that are chosen by hand


def rows(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Return a window of the rows that the filters leave: how many there are, and those from `from` on."""
    places = view(opened, asked.words)
    first, count = asked.whole("from", 0, 1 << 40, 0), asked.whole("count", 0, _WINDOW, 100)
    return {"total": len(places), "rows": described(opened, places[first : first + count])}


def row(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Return one row: its columns, its text, what the head says of it, and what is near."""
    number = asked.whole("row", 0, 1 << 62)
    place = opened.place_of(number)
    columns = opened.table.slice(place, 1).to_pylist()[0]
    vector_place = int(opened.vector_places[place])
    near = list[dict[str, Any]]()
    if vector_place >= 0 and len(opened.searchable) > 1:
        found = nearest(opened, [Term("row", str(number))], [], _NEIGHBOURS)
        near = described(opened, found.places)
        for each, score in zip(near, found.scores, strict=True):
            each["score"] = float(score)
    return {
        **described(opened, np.array([place]))[0],
        "columns": {name: _shown(value) for name, value in columns.items() if value is not None},
        "whole_text": texts_of(opened.store, [columns["id"]]).get(columns["id"], "")[:_TEXT],
        "answers": [] if vector_place < 0 else answers_for(opened, vector_place),
        "neighbours": near,
    }


def card(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Return one row as those of a window are."""
    return described(opened, np.array([opened.place_of(asked.whole("row", 0, 1 << 62))]))[0]


def picked(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Keep rows that were chosen by hand, and return the name by which `picked` filters them."""
    return keep_picked(opened, np.array(asked.listed("rows", int, _PICKED), np.int64))


def keep_picked(opened: Opened, numbers: np.ndarray) -> dict[str, Any]:
    """Keep rows by their numbers, int64 [k], and return the name and how many they are."""
    numbers = np.unique(numbers)
    name = hashlib.sha256(numbers.tobytes()).hexdigest()[:16]
    opened.picked(("rows", name), lambda: numbers)
    return {"picked": name, "rows": len(numbers)}


def _shown(value: object) -> str | int | float:
    if isinstance(value, int | str):
        return value
    return value if isinstance(value, float) and abs(value) < float("inf") else str(value)


ROUTES = (
    Route("GET", "/api/rows", rows),
    Route("GET", "/api/row/{row}", row),
    Route("GET", "/api/card/{row}", card),
    Route("POST", "/api/picked", picked, most=1 << 22),
)
