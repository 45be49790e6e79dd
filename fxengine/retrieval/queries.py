"""Turns what somebody asks for (pictures, folders, ids, vector files) into vectors of a store's space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fxengine.collect import collect
from fxengine.collect.item import unescape_path
from fxengine.errors import InputError
from fxengine.features.read import FeatureStore
from fxengine.features.unit import unit_length
from fxengine.features.vector_file import read_vectors
from fxengine.pipeline.embed import Backbone, embed_files

_VECTORS = ".npy"


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes:
        files: pictures, folders of pictures, or .npy files of raw vectors [n, dim]; each picture or vector is a query.
        ids: rows of the store; each is a query, which does not find itself.
        plus: pictures that one more query is the sum of, each at length 1.
        minus: pictures that are taken away from that sum.
    """

    files: tuple[Path, ...] = ()
    ids: tuple[str, ...] = ()
    plus: tuple[Path, ...] = ()
    minus: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Queries:
    """Queries of one space.

    Attributes:
        names: n of them: path, id, or what it is put together from.
        vectors: float32 or float64 [n, dim], raw.
        own: the id that a query must not find, None where it may find all.
        pictures: file of each, None where it has none.
    """

    names: list[str]
    vectors: np.ndarray
    own: list[str | None]
    pictures: list[str | None]


def resolve(
    asked: Asked, store: FeatureStore, layer: str | None, backbone: str | Path | None = None, device: str = "auto"
) -> Queries:
    """Return the queries; the backbone is loaded only where a picture is among them.

    Raises:
        InputError: nothing is asked for, a file is not there, a vector is of another length, or the backbone of the
            store's space is not to be had.
        DecodeError: a picture cannot be decoded.
        StoreError: the store has no vector of an id.
    """
    dim = store.provenance.dim_of(layer)
    vector_files = [path for path in asked.files if path.suffix.lower() == _VECTORS]
    pictures = [picture for path in asked.files if path not in vector_files for picture in _pictures(path)]
    parts = [_from_file(path, dim) for path in vector_files]
    if pictures or asked.plus or asked.minus:
        net = Backbone.for_store(store.provenance, backbone, device)
        names: list[str | None] = [str(path) for path in pictures]
        parts.append(
            Queries([str(path) for path in pictures], embed_files(net, pictures, layer), _none(pictures), names)
        )
        if asked.plus or asked.minus:
            parts.append(_mixed(asked, embed_files(net, [*asked.plus, *asked.minus], layer)))
    if asked.ids:
        vectors = store.select(ids=asked.ids).vectors(layer=layer, dtype="float32")
        root = Path(unescape_path(store.provenance.root))
        own = [str(root / unescape_path(key)) for key in asked.ids]
        parts.append(Queries(list(asked.ids), vectors, list(asked.ids), [*own]))
    if not parts:
        raise InputError("Nothing is asked for: name a picture, a folder, a .npy file of vectors, or an `id`.")
    return Queries(
        names=[name for part in parts for name in part.names],
        vectors=np.concatenate([part.vectors for part in parts]),
        own=[own for part in parts for own in part.own],
        pictures=[picture for part in parts for picture in part.pictures],
    )


def _from_file(path: Path, dim: int) -> Queries:
    vectors = read_vectors(path, dim)
    return Queries([f"{path}[{i}]" for i in range(len(vectors))], vectors, _none(vectors), _none(vectors))


def _mixed(asked: Asked, embedded: np.ndarray) -> Queries:
    """Return one query: the sum of what is wanted less what is not, each at length 1 before."""
    unit = unit_length(embedded)
    total = unit[: len(asked.plus)].sum(axis=0) - unit[len(asked.plus) :].sum(axis=0)
    name = " ".join([*(f"+{path}" for path in asked.plus), *(f"-{path}" for path in asked.minus)])
    return Queries([name], total[None], [None], [None])


def _none(like: Sequence[object] | np.ndarray) -> list[str | None]:
    return [None] * len(like)


def _pictures(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return [path]
    found = [Path(item.source) for item in collect(path)]
    if not found:
        raise InputError(f"The folder {path} holds no picture.")
    return found
