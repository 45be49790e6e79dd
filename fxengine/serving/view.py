"""Which rows are looked at, and in which order: the filters of the page, and what it sorts by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.features.schema import KEPT_GROUP, KEPT_TEXT
from fxengine.features.texts import beginnings
from fxengine.features.where import matching
from fxengine.serving.answers import answers_of
from fxengine.serving.opened import Opened, Refused

SORTS = ("id", "outlier", "probability", "doubt")
WORDS = ("label", "split", "text", "where", "answer", "picked")  # of the filters
_NEIGHBOURS = 10  # the outlier score is the distance to the last of so many, as that of `map`


def view(opened: Opened, words: Mapping[str, str]) -> np.ndarray:
    """Return the places in `Opened.table` of the rows that the filters leave, in the order asked for, int64 [k].

    Args:
        opened: the store.
        words: `label`, `split` and `answer`, which a row must have; `text`, which its id, or its text where the store
            keeps texts, must hold; `where`, as of `search`; `picked`, the name of rows chosen by hand; `sort`, one of
            `SORTS`: outliers, the most probable and the most doubtful come first, rows without a vector last.

    Raises:
        Refused: there is no such order, or rows that were chosen are not kept any more.
        InputError: `where` cannot be read.
    """
    asked = {name: words.get(name, "") for name in (*WORDS, "sort")}
    return opened.views(tuple(asked.values()), lambda: _ordered(opened, _kept(opened, asked), asked["sort"]))


def mask(opened: Opened, words: Mapping[str, str]) -> np.ndarray | None:
    """Return which rows that have a vector the filters leave, bool [m], or None for all."""
    if not any(words.get(name) for name in WORDS):
        return None
    kept = np.zeros(len(opened.rows), bool)
    kept[view(opened, {**words, "sort": ""})] = True
    chosen: np.ndarray = kept[opened.searchable]
    return chosen


def outliers_of(opened: Opened) -> np.ndarray:
    """Return how far from all others the rows are that have a vector, float32 [m]; the first call takes its time."""
    from fxengine.retrieval.map import outlier_scores  # loads scipy, which no first page waits for

    return opened.once("outliers", lambda: outlier_scores(opened.store, _NEIGHBOURS, opened.layer))


def described(opened: Opened, places: np.ndarray) -> list[dict[str, Any]]:
    """Return rows for the page: number, id, label, split, error, of texts their beginnings, and the head's answer."""
    chosen = opened.table.select(["row", "id", "label", "split", "error"]).take(pa.array(places))
    found: list[dict[str, Any]] = chosen.to_pylist()
    if opened.store.provenance.modality == "text":
        texts = beginnings(opened.store, [each["id"] for each in found])
        for each in found:
            each["text"] = texts.get(each["id"])
    if opened.head is not None and opened.head.facts.predicts == "classes":
        answers, classes = answers_of(opened), opened.head.facts.classes
        for each, place in zip(found, opened.vector_places[places], strict=True):
            if place >= 0:
                each["answer"] = classes[answers.best[place]]
                each["probability"] = float(answers.probability[place])
    return found


def _kept(opened: Opened, asked: Mapping[str, str]) -> np.ndarray:
    kept = np.ones(len(opened.rows), bool)
    for name in ("label", "split"):
        if asked[name]:
            kept &= _bools(pc.equal(opened.table[name], asked[name]))
    if asked["text"]:
        kept &= _holding(opened, asked["text"])
    if asked["answer"]:
        kept &= _bools(pc.equal(_answered(opened)["answer"], asked["answer"]))
    if asked["picked"]:
        rows = opened.picked(("rows", asked["picked"]), _gone)
        kept &= np.isin(opened.rows, rows)
    if asked["where"]:
        kept &= matching(_with_scores(opened, asked["where"]), asked["where"])
    return np.flatnonzero(kept)


def _ordered(opened: Opened, places: np.ndarray, sort: str) -> np.ndarray:
    if sort in ("", "id"):
        return places
    if sort not in SORTS:
        raise Refused(400, f"There is no order {sort!r}. There is: {', '.join(SORTS)}.")
    values = outliers_of(opened) if sort == "outlier" else getattr(answers_of(opened), sort)
    ordered: np.ndarray = places[np.argsort(-opened.spread(values)[places], kind="stable")]  # NaN comes last
    return ordered


def _holding(opened: Opened, text: str) -> np.ndarray:
    found = _bools(pc.match_substring(opened.table["id"], text, ignore_case=True))
    if KEPT_GROUP in opened.store.groups:
        found |= _bools(pc.match_substring(opened.store.rows([KEPT_TEXT])[KEPT_TEXT], text, ignore_case=True))
    return found


def _with_scores(opened: Opened, where: str) -> pa.Table:
    """Return the store's columns with those of scores that a filter names."""
    table = opened.table
    if opened.head is not None and any(name in where for name in ("answer", "probability", "doubt")):
        for name, column in _answered(opened).items():
            table = table.append_column(name, column)
    if "outlier" in where:
        table = table.append_column("outlier", pa.array(opened.spread(outliers_of(opened)), from_pandas=True))
    return table


def _answered(opened: Opened) -> dict[str, pa.Array]:
    """Return the columns `answer`, `probability` and `doubt` of all rows, null where there is no vector."""
    answers = answers_of(opened)
    assert opened.head is not None
    places = pa.array(opened.vector_places, mask=opened.vector_places < 0)
    names = pa.array(opened.head.facts.classes).take(pa.array(answers.best))
    return {
        "answer": names.take(places),
        "probability": pa.array(answers.probability).take(places),
        "doubt": pa.array(answers.doubt).take(places),
    }


def _bools(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(column, False))


def _gone() -> np.ndarray:
    raise Refused(404, "These rows are not kept any more: choose them again.")
