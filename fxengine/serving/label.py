"""Labelling: rows get names, every ten answers a round says what to ask next."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from fxengine.serving.ask import index_of
from fxengine.serving.opened import Opened, Refused
from fxengine.serving.route import Asked, Route
from fxengine.serving.view import described, mask

if TYPE_CHECKING:
    from fxengine.reviewing.labelling import Labelling

_WINDOW = 500  # rows at once
_ANSWERED = 5000  # rows in one answer
_LABEL = 2000  # characters that are looked at


def state(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Return the names that were given and how often, what was learned, and how often that was right."""
    labelling = _labelling(opened)
    labelling.labels.refresh()
    return _state(labelling)


def rows(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Return a window of the rows without a label, in the order `order` ("doubt", "likely" with `name`, "different").

    With the order "labelled" of those that have one, the last first. What the filters leave out is left out here, too.
    """
    labelling, by = _labelling(opened), asked.words.get("order", "doubt")
    if by == "labelled":
        places = labelling.labels.places()[0][::-1]
        places = places[opened.vector_places[places] >= 0]
        order = opened.vector_places[places]
    else:
        order = labelling.order(by, asked.word("name"))
    left = mask(opened, asked.words)
    order = order if left is None else order[left[order]]
    first, count = asked.whole("from", 0, 1 << 40, 0), asked.whole("count", 0, _WINDOW, 100)
    some = order[first : first + count]
    found, given, learned = described(opened, opened.searchable[some]), labelling.labels.given, labelling.learned
    for row, at in zip(found, some.tolist(), strict=True):
        row["given"] = given.get(row["id"])
        if learned is not None:
            best = int(learned.p[at].argmax())
            row["answer"], row["probability"] = learned.names[best], float(learned.p[at, best])
    return {"total": len(order), "rows": found}


def answer(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Give `rows` the name `label`, or, where that is null, take theirs away; it is on the disk with the answer."""
    numbers, label = asked.listed("rows", int, _ANSWERED), asked.data.get("label")
    if not numbers:
        raise Refused(400, "Nothing is selected.")
    if not (label is None or isinstance(label, str)) or len(label or "") > _LABEL:
        raise Refused(400, "A label is a text.")
    labelling = _labelling(opened)
    labelling.answer([opened.place_of(number) for number in dict.fromkeys(numbers)], label)
    return _state(labelling)


def undo(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Take the last answer back."""
    labelling = _labelling(opened)
    taken = labelling.undo()
    given = labelling.labels.given
    return {**_state(labelling), "undone": [{"id": key, "given": given.get(key)} for key in taken]}


def learn(opened: Opened, asked: Asked) -> dict[str, Any]:
    """Fit to what is labelled, and look at all rows."""
    labelling = _labelling(opened)
    labelling.round()
    return _state(labelling)


def _labelling(opened: Opened) -> Labelling:
    from fxengine.reviewing.labelling import Labelling  # loads scipy, which no first page waits for

    def make() -> Labelling:
        labelling = Labelling(opened.store, opened.searchable, lambda: index_of(opened).matrix, opened.review)
        if labelling.labels.given:
            labelling.round()
        return labelling

    return opened.once("labelling", make)


def _state(labelling: Labelling) -> dict[str, Any]:
    labels, learned = labelling.labels, labelling.learned
    running = labels.running()
    counts = Counter(labels.given.values())
    interval = running.interval
    return {
        "names": [{"name": name, "rows": counts[name]} for name in labels.names],
        "labelled": len(labels.given),
        "learned": None if learned is None else {"names": list(learned.names), "rows": learned.rows},
        "due": labelling.is_due,
        "right": running.right,
        "counted": running.counted,
        "interval": None if interval is None else [interval.low, interval.high],
        "damaged": labels.damaged,
        "file": str(labels.folder / "labels.csv"),
    }


ROUTES = (
    Route("GET", "/api/label", state),
    Route("GET", "/api/label/rows", rows),
    Route("POST", "/api/label/answer", answer),
    Route("POST", "/api/label/undo", undo),
    Route("POST", "/api/label/learn", learn),
)
