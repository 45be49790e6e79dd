"""What is said of two pictures, and how sure one has to be."""

from __future__ import annotations

import numpy as np

from fxengine.retrieval.copies.fit import fits
from fxengine.retrieval.copies.look import Look
from fxengine.retrieval.copies.proof import Proof, changed_in_large, prove

# Copies are within these but for few (docs/search.md); two shots of a scene lie further off, and less of them agrees.
# The less of a picture both show, the more is asked: the same frame, which no second shot has; nearly so; a crop; and
# two with a part each that the other lacks, as two shots with a turned camera have. Least correlation in a window, and
# most pixels of 128 that it lies off.
_FRAMED, _WHOLE, _CROP, _BOTH_CUT = (0.95, 0.2), (0.95, 0.15), (0.975, 0.13), (0.99, 0.1)
_FRAME, _CUT = (
    0.99,
    0.97,
)  # share of a picture that the other shows, too: the same frame from the one, cut below the other
_AGREEING = 0.93  # share of the detail of both that is the same
# What is written on a picture changes more of it, and leaves the rest as it was, nearly to the bit; or, where it is
# plainly an addition, as it was.
_EDITED_AGREEING, _EDITED = 0.9, (0.995, 0.05)
_MARKED_AGREEING, _MARKED, _ADDED = 0.8, (0.985, 0.12), 2.0  # and so many times the detail, or one of so many
_DETAIL = 0.15  # with detail in less than that, pictures must have the same frame
_CHANGED = 0.6  # in drawn pictures, the most that any place changes: what is small there is what they are about
_UNTOUCHED, _EXACTLY = 0.98, 0.998  # share of the detail that is the same; correlation of what is as it was
_HUE = 0.5  # cosine of the colours of both: a thing in another colour is another thing
_KEPT = 0.6  # share of the detail of either that is the same
_COARSER = 0.5  # of the pixels across of a crop, which the picture that it is a part of has at least, to be kept

_BORDERED = 0.95  # share of a picture without its border
_TURNS = ("", "turned 90°", "turned 180°", "turned 270°")


def compare(a: Look, b: Look) -> Proof | None:
    """Return the best proof that can be made of two pictures, None where nothing speaks for one."""
    if a.plain or b.plain:
        return None
    best: Proof | None = None
    for fit in fits(a, b):
        found = prove(a, b, fit)
        if found is not None and is_same(found):
            return found
        if found is not None and (best is None or score(found) > score(best)):
            best = found
    return best


def score(proof: Proof) -> float:
    """Return how much two pictures agree, 0 to 1: the share that is the same, times the correlation in a window."""
    return max(0.0, proof.agreeing * proof.correlation)


def is_same(proof: Proof) -> bool:
    """Tell whether two pictures are one, resized, saved, cropped, mirrored, turned, lit or marked otherwise."""
    framed, cut = min(proof.shown) >= _FRAME, sum(share < _CUT for share in proof.shown)
    if proof.kept < _KEPT or (proof.detail < _DETAIL and not framed):
        return False
    if proof.hue < _HUE:
        return False
    asked = [_FRAMED if framed else (_WHOLE, _CROP, _BOTH_CUT)[cut]]
    if proof.agreeing < _AGREEING:
        added = proof.added >= _ADDED or proof.added <= 1 / _ADDED
        if proof.agreeing < (_MARKED_AGREEING if added else _EDITED_AGREEING):
            return False
        asked.append(_MARKED if added else _EDITED)
    return all(proof.correlation >= correlation and proof.off <= off for correlation, off in asked)


def in_question(a: Look, b: Look, proof: Proof) -> bool:
    """Tell of two pictures that are one in small whether they are to be compared in large, too.

    Those that are drawn are; so are two before one even grey of which a part changed, but was not added to, while the
    rest is as it was, nearly to the bit: frames of a drawing, logos with another sign.
    """
    edited = proof.agreeing < _UNTOUCHED and 1 / _ADDED < proof.added < _ADDED
    return (a.drawn and b.drawn) or (edited and proof.correlation >= _EXACTLY and a.bare and b.bare)


def is_same_in_large(a: Look, b: Look, proof: Proof, ours: np.ndarray, others: np.ndarray) -> bool:
    """Tell of two drawn pictures that are one in small whether they are in large, too, uint8 [height, width] each."""
    if a.drawn and b.drawn and a.tinted != b.tinted:
        return False  # red print is not black print
    return changed_in_large(a, b, ours, others, proof.fit) <= _CHANGED


def shows(a: Look, b: Look, proof: Proof) -> str:
    """Return "less" where `b` is a part of `a`, "more" where `a` is one of `b` and hardly finer, else ""."""
    within = [share < _CUT <= other for share, other in (proof.shown, proof.shown[::-1])]
    across, down = _scale(a, b, proof)
    return "less" if within[0] else "more" if within[1] and across * down >= _COARSER**2 else ""


def _scale(a: Look, b: Look, proof: Proof) -> tuple[float, float]:
    """Return how many pixels of the second there are for one of the first, over what both show, across and down."""
    width, height = (b.size[1], b.size[0]) if proof.fit.way % 2 else b.size
    rows, columns = (b.grey.shape[1], b.grey.shape[0]) if proof.fit.way % 2 else b.grey.shape
    across = width / columns / proof.fit.scale[0] * a.grey.shape[1] / a.size[0]
    down = height / rows / proof.fit.scale[1] * a.grey.shape[0] / a.size[1]
    return across, down


def differences(a: Look, b: Look, proof: Proof) -> str:
    """Return in words how `b` differs from `a`, whose picture it shows, too; "re-encoded" where nothing is seen."""
    across, down = _scale(a, b, proof)
    share = (across * down) ** 0.5
    changed = min(proof.kept, proof.agreeing) < _UNTOUCHED
    found = {
        "mirrored": proof.fit.way >= 4,
        _TURNS[proof.fit.way % 4]: proof.fit.way % 4 > 0,
        "cropped": proof.shown[0] < 0.97,
        "with more around it": proof.shown[1] < 0.97,
        "border added": b.inside < _BORDERED < a.inside,
        "border removed": a.inside < _BORDERED < b.inside,
        "smaller": share < 0.95,
        "larger": share > 1.05,
        "stretched": not 0.96 < across / down < 1.04,
        "grey": a.colour > 10 and b.colour < 3,
        "coloured": b.colour > 10 and a.colour < 3,
        "darker": proof.brightness < -10,
        "brighter": proof.brightness > 10,
        "marked": changed and proof.added >= _ADDED,
        "without a mark": changed and proof.added <= 1 / _ADDED,
        "edited": changed and 1 / _ADDED < proof.added < _ADDED,
    }
    return ", ".join(word for word, holds in found.items() if holds) or "re-encoded"
