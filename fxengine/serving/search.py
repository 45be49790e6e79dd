"""Search: by rows, words and pictures that are brought, added up and taken away."""

from __future__ import annotations

import time
from typing import Any, get_args

from fxengine.errors import FxError
from fxengine.serving.ask import BROUGHT, Kind, Term, bring, make_ready, nearest
from fxengine.serving.opened import Opened, Refused
from fxengine.serving.route import Asked, Route
from fxengine.serving.view import WORDS, described, mask

_COUNT = 200  # rows that are found
_TERMS = 20
_TEXT = 10_000  # characters of words that are asked with


def search(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Return the rows nearest to the terms `plus` less the terms `minus`, among those that the filters leave."""
    filters = {name: str(value)[:_TEXT] for name, value in asked.data.items() if name in WORDS and value}
    found = nearest(opened, _terms(asked, "plus"), _terms(asked, "minus"), _COUNT, mask(opened, filters))
    rows = described(opened, found.places)
    for each, score in zip(rows, found.scores, strict=True):
        each["score"] = float(score)
    return {
        "rows": rows,
        "metric": found.metric,
        "method": found.method,
        "warning": found.warning,
        "searched": found.rows,
        "embed_ms": round(found.embed_ms, 1),
        "search_ms": round(found.search_ms, 1),
    }


def picture(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Take a picture in and return the name by which it is asked with, and how long embedding it took."""
    began = time.perf_counter()
    name = bring(opened, asked.body)
    return {"picture": name, "embed_ms": round(1000 * (time.perf_counter() - began), 1)}


def ready(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Make the first search as quick as others, when the page is about to be searched by."""
    try:
        make_ready(opened)
    except FxError:  # who searches is told
        return {"ready": False}
    return {"ready": True}


def _terms(asked: Asked, name: str) -> list[Term]:
    """Return terms, each an object such as {"row": 5}, {"text": "a dog"} or {"picture": NAME}."""
    terms = []
    for given in asked.listed(name, dict, _TERMS):
        kind: Kind | None = next((each for each in get_args(Kind) if [*given] == [each]), None)
        if kind is None:
            raise Refused(400, f"{name} holds what is neither a row, a text nor a picture.")
        value = given[kind]
        if kind == "row" and (type(value) is not int or not 0 <= value < 1 << 62):
            raise Refused(400, f"{name} holds a row that is no number.")
        if kind != "row" and (type(value) is not str or not 0 < len(value) <= _TEXT):
            raise Refused(400, f"{name} holds a {kind} of no, or of more than {_TEXT:,} characters.")
        terms.append(Term(kind, str(value)))
    return terms


ROUTES = (
    Route("POST", "/api/search", search),
    Route("GET", "/api/search/ready", ready),
    Route("POST", "/api/picture", picture, upload=True, most=BROUGHT.max_bytes),
)
