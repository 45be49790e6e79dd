"""Turns what somebody asks for (pictures, texts, folders, ids, vector files) into vectors of a store's space."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
        plus: what one more query is the sum of, each at length 1: pictures, .txt files, or ids; see `ids_among`.
        minus: what is taken away from that sum.
    """

    files: tuple[Path, ...] = ()
    texts: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    plus: tuple[str | Path, ...] = ()
    minus: tuple[str | Path, ...] = ()

    @property
    def mixed(self) -> tuple[str | Path, ...]:
        """What is added and what is taken away."""
        return (*self.plus, *self.minus)


@dataclass(frozen=True)
class Queries:
    """Queries of one space.

    Attributes:
        names: n of them: path, id, a text itself in a line, shortened, or what it is put together from.
        vectors: float32 or float64 [n, dim], raw.
        own: the id of the row that asks, None where none does.
        without: the ids that a query must not find: those of the rows that it is made of.
        pictures: file of each, None where it has none.
    """

    names: list[str]
    vectors: np.ndarray
    own: list[str | None]
    pictures: list[str | None]
    without: list[frozenset[str]]


def ids_among(names: Sequence[str | Path], store: FeatureStore) -> frozenset[str]:
    """Return which of the names that are added up are ids of rows.

    In a store of words every text that is the id of a row is taken for that row; in any other store only one that is
    not the name of a file or a folder that is there. A `pathlib.Path` is a file in either.
    """
    asked = [name for name in names if isinstance(name, str) and (store.provenance.of_words or not _is_there(name))]
    if not asked:
        return frozenset()
    try:
        wanted = pa.array(set(asked), pa.string())
    except UnicodeEncodeError:  # the name of a file that is not UTF-8, which no id is
        return frozenset()
    ids = store.rows(["id"])["id"]
    return frozenset(ids.filter(pc.is_in(ids, wanted)).to_pylist())


def _is_there(name: str) -> bool:
    return os.path.lexists(name) if "\0" not in name else False


def check_kinds(asked: Asked, store: FeatureStore) -> None:
    """Raise InputError where a store of pictures is asked with texts, or one of texts with anything else."""
    source, ids = store.provenance.source, ids_among(asked.mixed, store)
    files = (*asked.files, *(Path(name) for name in asked.mixed if name not in ids))
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
            if store.provenance.of_words and path not in asked.files:
                raise InputError(f"{store.path} has no word {str(path)!r}, and it is no {SUFFIX} file.")
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
    known = ids_among(asked.mixed, store)
    unknown = list(dict.fromkeys(name for name in asked.mixed if name not in known))
    made: dict[str | Path, np.ndarray] = dict(zip(sorted(known), _stored(store, sorted(known), layer), strict=True))
    if files or asked.texts or unknown:
        net = Backbone.for_store(store.provenance, backbone, device)
        parts += _embedded(net, files, asked, layer)
        if unknown:
            made |= zip(unknown, _vectors_of(net, [Path(name) for name in unknown], layer), strict=True)
    if asked.mixed:
        parts.append(_mixed(asked, made, known))
    if asked.ids:
        root = Path(unescape_path(store.provenance.root))
        own = [str(root / unescape_path(key)) if modality == "picture" else None for key in asked.ids]
        without = [frozenset({key}) for key in asked.ids]
        vectors = _stored(store, asked.ids, layer)
        parts.append(Queries(list(asked.ids), vectors, list(asked.ids), [*own], without))
    if not parts:
        kinds = "a picture, a folder" if modality == "picture" else f"a `text`, a {SUFFIX} file, a folder"
        raise InputError(f"Nothing is asked for: name {kinds}, a .npy file of vectors, or an `id`.")
    return Queries(
        names=[name for part in parts for name in part.names],
        vectors=np.concatenate([part.vectors for part in parts]),
        own=[own for part in parts for own in part.own],
        pictures=[picture for part in parts for picture in part.pictures],
        without=[without for part in parts for without in part.without],
    )


def _embedded(net: Backbone, files: Sequence[Path], asked: Asked, layer: str | None) -> list[Queries]:
    """Return the queries of files and texts."""
    parts = []
    if files:
        names = [str(path) for path in files]
        pictures: list[str | None] = [*names] if net.file.recipe.modality == "picture" else _none(names)
        parts.append(Queries(names, _vectors_of(net, files, layer), _none(names), pictures, _all(names)))
    if asked.texts:
        vectors, none = net.embed(asked.texts, layer=layer), _none(asked.texts)
        parts.append(Queries([*map(text_name, asked.texts)], vectors, none, none, _all(none)))
    return parts


def _vectors_of(net: Backbone, files: Sequence[Path], layer: str | None) -> np.ndarray:
    """Return raw vectors of pictures, or of the texts of .txt files, float32 [n, dim]."""
    if net.file.recipe.modality == "picture":
        return embed_files(net, files, layer)
    return net.embed((read_text(path, net.limits.max_bytes) for path in files), layer=layer)


def _from_file(path: Path, dim: int) -> Queries:
    vectors = read_vectors(path, dim)
    none = _none(vectors)
    return Queries([f"{path}[{i}]" for i in range(len(vectors))], vectors, none, none, _all(none))


def _stored(store: FeatureStore, ids: Sequence[str], layer: str | None) -> np.ndarray:
    """Return the raw vectors of rows, float32 [n, dim]; raises StoreError where one has none."""
    if not ids:
        return np.empty((0, store.provenance.dim_of(layer)), np.float32)
    return store.select(ids=ids).vectors(layer=layer, dtype="float32")


def _mixed(asked: Asked, vectors: Mapping[str | Path, np.ndarray], ids: frozenset[str]) -> Queries:
    """Return one query: the sum of what is wanted less what is not, each at length 1 before; it finds none of them.

    Args:
        asked: what is asked for.
        vectors: name -> raw vector, float32 [dim], of all that is added or taken away.
        ids: which of the names are ids.
    """
    unit = unit_length(np.stack([vectors[name] for name in asked.mixed]))
    total = unit[: len(asked.plus)].sum(axis=0) - unit[len(asked.plus) :].sum(axis=0)
    name = " ".join([*(f"+{path}" for path in asked.plus), *(f"-{path}" for path in asked.minus)])
    return Queries([name], total[None], [None], [None], [ids])


def _all(like: Sequence[object]) -> list[frozenset[str]]:
    """Return that queries may find every row."""
    return [frozenset()] * len(like)


def _none(like: Sequence[object] | np.ndarray) -> list[str | None]:
    return [None] * len(like)


def _files(path: Path, modality: str) -> Sequence[Path]:
    if not path.is_dir():
        return [path]
    found = [Path(item.source) for item in collect(path, modality=modality)]
    if not found:
        raise InputError(f"The folder {path} holds no {'picture' if modality == 'picture' else f'{SUFFIX} file'}.")
    return found
