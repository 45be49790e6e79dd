"""Turns what somebody asks for (pictures, texts, folders, ids, vector files) into vectors of a store's space."""

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
from fxengine.pipeline.given_texts import SUFFIX, read_text, text_name

_VECTORS = ".npy"


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes:
        files: pictures (of a store of texts .txt files), folders of them, or .npy files of raw vectors [n, dim]; each
            picture, text or vector is a query.
        texts: texts by themselves; each is a query.
        ids: rows of the store; each is a query, which does not find itself.
        plus: pictures, or .txt files, that one more query is the sum of, each at length 1.
        minus: those that are taken away from that sum.
    """

    files: tuple[Path, ...] = ()
    texts: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    plus: tuple[Path, ...] = ()
    minus: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Queries:
    """Queries of one space.

    Attributes:
        names: n of them: path, id, a text itself in a line, shortened, or what it is put together from.
        vectors: float32 or float64 [n, dim], raw.
        own: the id that a query must not find, None where it may find all.
        pictures: file of each, None where it has none.
    """

    names: list[str]
    vectors: np.ndarray
    own: list[str | None]
    pictures: list[str | None]


def check_kinds(asked: Asked, store: FeatureStore) -> None:
    """Raise InputError where a store of pictures is asked with texts, or one of texts with anything else."""
    source, files = store.provenance.source, (*asked.files, *asked.plus, *asked.minus)
    if store.provenance.modality == "picture":
        texts = ["`text`"] * bool(asked.texts) + [str(path) for path in files if path.suffix.lower() == SUFFIX]
        if texts:
            raise InputError(
                f"{store.path} holds pictures, and its backbone {source} takes pictures: ask with a picture, a .npy or "
                f"an `id`, not with {texts[0]}."
            )
        return
    vectors = [path for path in asked.files if path.suffix.lower() == _VECTORS]
    for path in files:
        if path.suffix.lower() != SUFFIX and path not in vectors and not (path in asked.files and path.is_dir()):
            raise InputError(
                f"{store.path} holds texts, and its backbone {source} takes texts: ask with `text`, a {SUFFIX} file, a "
                f".npy or an `id`, not with {path}."
            )


def resolve(
    asked: Asked, store: FeatureStore, layer: str | None, backbone: str | Path | None = None, device: str = "auto"
) -> Queries:
    """Return the queries; the backbone is loaded only where a picture or a text is among them.

    Raises:
        InputError: nothing is asked for, a file is not there or is not of the store's kind, a vector is of another
            length, or the backbone of the store's space is not to be had.
        DecodeError: a picture cannot be decoded, or a text is empty.
        StoreError: the store has no vector of an id.
    """
    check_kinds(asked, store)
    dim, modality = store.provenance.dim_of(layer), store.provenance.modality
    vector_files = [path for path in asked.files if path.suffix.lower() == _VECTORS]
    files = [file for path in asked.files if path not in vector_files for file in _files(path, modality)]
    parts = [_from_file(path, dim) for path in vector_files]
    if files or asked.texts or asked.plus or asked.minus:
        net = Backbone.for_store(store.provenance, backbone, device)
        parts += _embedded(net, files, asked, layer)
    if asked.ids:
        vectors = store.select(ids=asked.ids).vectors(layer=layer, dtype="float32")
        root = Path(unescape_path(store.provenance.root))
        own = [str(root / unescape_path(key)) if modality == "picture" else None for key in asked.ids]
        parts.append(Queries(list(asked.ids), vectors, list(asked.ids), [*own]))
    if not parts:
        kinds = "a picture, a folder" if modality == "picture" else f"a `text`, a {SUFFIX} file, a folder"
        raise InputError(f"Nothing is asked for: name {kinds}, a .npy file of vectors, or an `id`.")
    return Queries(
        names=[name for part in parts for name in part.names],
        vectors=np.concatenate([part.vectors for part in parts]),
        own=[own for part in parts for own in part.own],
        pictures=[picture for part in parts for picture in part.pictures],
    )


def _embedded(net: Backbone, files: Sequence[Path], asked: Asked, layer: str | None) -> list[Queries]:
    """Return the queries that a backbone is needed for."""
    parts = []
    if files:
        names = [str(path) for path in files]
        pictures: list[str | None] = [*names] if net.file.recipe.modality == "picture" else _none(names)
        parts.append(Queries(names, _vectors_of(net, files, layer), _none(names), pictures))
    if asked.texts:
        vectors, none = net.embed(asked.texts, layer=layer), _none(asked.texts)
        parts.append(Queries([*map(text_name, asked.texts)], vectors, none, none))
    if asked.plus or asked.minus:
        parts.append(_mixed(asked, _vectors_of(net, [*asked.plus, *asked.minus], layer)))
    return parts


def _vectors_of(net: Backbone, files: Sequence[Path], layer: str | None) -> np.ndarray:
    """Return raw vectors of pictures, or of the texts of .txt files, float32 [n, dim]."""
    if net.file.recipe.modality == "picture":
        return embed_files(net, files, layer)
    return net.embed((read_text(path, net.limits.max_bytes) for path in files), layer=layer)


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


def _files(path: Path, modality: str) -> Sequence[Path]:
    if not path.is_dir():
        return [path]
    found = [Path(item.source) for item in collect(path, modality=modality)]
    if not found:
        raise InputError(f"The folder {path} holds no {'picture' if modality == 'picture' else f'{SUFFIX} file'}.")
    return found
