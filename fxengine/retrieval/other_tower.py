"""The other tower of a store's backbone: by its vectors pictures are found by words, and texts by pictures."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fxengine.backbones import find_space, load_for_space
from fxengine.backbones.cache import find_by_fingerprint
from fxengine.backbones.pair import Pair, find_pair, pair_of, relation
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError
from fxengine.features.read import FeatureStore
from fxengine.features.schema import Provenance

_KINDS = {"picture": ("pictures", "texts"), "text": ("texts", "pictures")}  # what a store holds, and the other kind
_REDUCED = "pca:"  # how the source of a reduced store begins


@dataclass(frozen=True)
class Towers:
    """What embeds queries.

    Attributes:
        own: the store's backbone, found already or as it was named; None: as the store says.
        other: the other tower of its pair, where something of the other kind asks.
    """

    own: BackboneFile | str | Path | None
    other: BackboneFile | None


def find_towers(store: FeatureStore, foreign: str | None, backbone: str | Path | None) -> Towers:
    """Return the backbones by whose vectors a store is searched.

    Args:
        store: the store.
        foreign: what of the other kind it is asked with, for a message; None where nothing is.
        backbone: either tower, where the cache does not have it; the other one's file says the pair.

    Raises:
        InputError: the store's backbone is in no pair, as far as is known, its other tower is not to be had, or there
            is no such backbone.
    """
    space = store.provenance.space
    given = None if backbone is None else load_for_space(backbone, space)
    kind = None if given is None else relation(space, given.fingerprint, pair_of(given))
    own = given if kind == "same" else None if kind == "paired" else backbone
    if foreign is None:
        return Towers(own, None)
    if kind == "no" and not store.provenance.source.startswith(_REDUCED):
        raise InputError(
            f"{store.called} was made by {store.provenance.source}: `backbone` {backbone} is neither that, nor the "
            f"other tower of a pair with it, so that {foreign} cannot ask it."
        )
    other = given if given is not None and kind == "paired" else _other_tower(store, foreign, given)
    stored, facts = store.provenance, other.facts
    if other.recipe.modality == stored.modality or facts.dim != stored.dim:
        raise InputError(
            f"{other.path} says that it is the other tower of {store.called}, but gives {facts.dim} numbers for a "
            f"{other.recipe.modality}; there are {stored.dim} for a {stored.modality}. Export the pair again."
        )
    return Towers(own, other)


def _other_tower(store: FeatureStore, foreign: str, given: BackboneFile | None) -> BackboneFile:
    """Return the other tower by what the cache notes, or the file of the store's own says."""
    space, own, pair = store.provenance.space, given, find_pair(store.provenance.space)
    if pair is None and own is None:
        with suppress(InputError):
            own = find_space(space, store.provenance.source)
    if pair is None and own is not None:
        pair = pair_of(own)
    if pair is None or relation(space, pair.other(space), pair) != "paired":
        raise InputError(_no_pair(store, foreign))
    found = find_by_fingerprint(pair.other(space))
    if found is None:
        raise InputError(_not_here(store, foreign, pair))
    return found


def _no_pair(store: FeatureStore, foreign: str) -> str:
    """Return why a store cannot be asked with the other kind, and what to do."""
    stored = store.provenance
    own, other = _KINDS[stored.modality]
    ask = "a picture" if stored.modality == "picture" else "`text`, a .txt file"
    said = (
        f"{store.called} holds {own}, and its backbone {stored.source} takes {own}: ask with {ask}, a .npy or an `id`, "
    )
    if stored.source.startswith(_REDUCED):
        return f"{said}not with {foreign}: a PCA is of one tower alone. Search the store that was reduced."
    return (
        f"{said}not with {foreign}. {other.capitalize()} can only ask one tower of a pair: {_export_of(stored)} makes "
        "both; of one that was made elsewhere, the other's file is given as `backbone`."
    )


def _not_here(store: FeatureStore, foreign: str, pair: Pair) -> str:
    stored = store.provenance
    own, other = _KINDS[stored.modality]
    return (
        f"{store.called} holds {own}, and {foreign} asks it through its pair's tower of {other} (space "
        f"{pair.other(stored.space)[:12]}), which is not in the cache. Give that file as `backbone`, or make it: "
        f"{_export_of(stored)}."
    )


def _export_of(stored: Provenance) -> str:
    """Return the command that makes both towers."""
    source = stored.source.partition("#")[0] if stored.source.startswith("hf:") else "hf:ORG/NAME"
    return f"`fxengine export {source} -o NAME`"
