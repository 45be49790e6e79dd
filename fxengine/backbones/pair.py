"""Pairs: two backbones, one of pictures and one of texts, whose vectors stand in one space.

Each of the two files says so in its metadata, outside its fingerprint, and the cache notes it for both. So it does not
matter how one of them was come by: its fingerprint tells the other's.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from fxengine import cache
from fxengine.backbones.graph.wire import read_metadata
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.files import read_small

PAIR_KEY = "fxengine_pair"
Activation = Literal["softmax", "sigmoid"]
Relation = Literal["same", "paired", "no"]
_FINGERPRINT = re.compile("[0-9a-f]{64}")
_FORMAT = 1
_LONGEST = 4096  # bytes of what is said of a pair


@dataclass(frozen=True)
class Pair:
    """What two towers share.

    Attributes:
        picture: fingerprint of the tower of pictures.
        text: fingerprint of the tower of texts.
        activation: what turns scaled cosines into probabilities: "softmax" over the texts of a picture, as CLIP was
            trained with, or "sigmoid" of each by itself, as SigLIP was.
        scale: what a cosine is multiplied by; None where the repository does not say it.
        bias: what is added to that; 0 for "softmax", and where `scale` is None.
        stated_in: the file that says scale and bias; "" where none does.
    """

    picture: str
    text: str
    activation: Activation
    scale: float | None = None
    bias: float = 0.0
    stated_in: str = ""

    def __post_init__(self) -> None:
        if not all(map(_FINGERPRINT.fullmatch, (self.picture, self.text))) or self.picture == self.text:
            raise InputError("a pair is of two fingerprints")
        if not all(map(math.isfinite, (self.scale or 0, self.bias))) or (self.scale is not None and self.scale <= 0):
            raise InputError("a pair's scale is a positive number, and its bias a number")

    def to_json(self) -> str:
        """Return it as a model's metadata has it."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Pair:
        """Rebuild a pair; raises FactsError where it is damaged, or of a later version."""
        return facts_from(cls, read_json(text), _FORMAT)

    def other(self, space: str) -> str:
        """Return the fingerprint of the other tower than `space`."""
        return self.text if space == self.picture else self.picture


def relation(space: str, other: str, pair: Pair | None) -> Relation:
    """Tell how the vectors of two feature spaces (fingerprints) stand to each other.

    "same": one space; all that is done within a store may be done. "paired": the two towers of `pair`; one may be
    searched by the vectors of the other, and a head be made of those, but they lie apart, so that nothing may be mixed,
    appended or compared. "no": nothing may be done with both.
    """
    if space == other:
        return "same"
    return "paired" if pair is not None and {space, other} == {pair.picture, pair.text} else "no"


def why_apart(space: str, other: str) -> str:
    """Return why vectors of two spaces stay apart, though they are a pair's, as a sentence to go on with; else ""."""
    if relation(space, other, find_pair(space)) != "paired":
        return ""
    return (
        " They are the two towers of a pair: one may be searched by the other, but pictures lie among pictures, texts "
        "among texts, so that each has a store of its own."
    )


def pair_of(found: BackboneFile) -> Pair | None:
    """Return the pair that a backbone is one tower of: as its file says, else as the cache notes, else None."""
    return _said_by(found) or find_pair(found.fingerprint)


def find_pair(space: str) -> Pair | None:
    """Return the pair that the cache notes for the feature space of one of its towers; None where it notes none."""
    if not _FINGERPRINT.fullmatch(space):  # a store says it: it could be a path to anywhere
        return None
    path = cache.find(_note(space))
    with suppress(OSError, FactsError):
        if path is not None:
            return _with(space, read_small(path, _LONGEST))
    return None


def keep_pair(pair: Pair) -> None:
    """Note a pair in the cache, for both of its towers; where one is of another pair, too, the last one counts."""
    for space in (pair.picture, pair.text):
        cache.keep(_note(space), lambda path: path.write_text(pair.to_json()))


def _said_by(found: BackboneFile) -> Pair | None:
    with suppress(OSError, FactsError):
        said = read_metadata(Path(found.path)).get(PAIR_KEY)
        if said is not None and len(said) <= _LONGEST:
            return _with(found.fingerprint, said)
    return None


def _with(space: str, said: str | bytes) -> Pair | None:
    """Return what is said of a pair, where a feature space is of one of its towers."""
    pair = Pair.from_json(said)
    return pair if space in (pair.picture, pair.text) else None


def _note(space: str) -> str:
    return f"pairs/{space}.json"
