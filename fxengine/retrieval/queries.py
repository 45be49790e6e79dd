"""Turns what somebody asks for (pictures, texts, folders, ids, vector files) into vectors to search a store by."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.collect import collect
from fxengine.collect.item import unescape_path
from fxengine.collect.opened import is_archive, is_video
from fxengine.collect.remote import kind_of
from fxengine.collect.stored import stat_place
from fxengine.errors import InputError
from fxengine.features.read import FeatureStore
from fxengine.features.unit import unit_length
from fxengine.features.vector_file import read_vectors
from fxengine.pipeline.embed import Backbone, embed_files
from fxengine.pipeline.given_texts import SUFFIX, read_text, text_name
from fxengine.retrieval.other_tower import Towers
from fxengine.storage import WEB, absolute, is_remote, shown, split

_VECTORS = ".npy"
Modality = Literal["picture", "text"]


@dataclass(frozen=True)
class Words:
    """A text by itself in a sum, where a text alone names a file or a row."""

    text: str

    def __str__(self) -> str:
        return f'"{text_name(self.text)}"'


Term = str | Path | Words


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes:
        files: pictures, .txt files of a text each, folders or containers of them, or .npy files of raw vectors
            [n, dim]; each picture, text or vector is a query.
        texts: texts by themselves; each is a query.
        ids: rows of the store; each is a query, which does not find itself.
        plus: what one more query is the sum of, each at length 1: pictures, .txt files, or ids, see `ids_among`; words.
        minus: what is taken away from that sum.
    """

    files: tuple[Path, ...] = ()
    texts: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    plus: tuple[Term, ...] = ()
    minus: tuple[Term, ...] = ()

    @property
    def mixed(self) -> tuple[Term, ...]:
        """What is added and what is taken away."""
        return (*self.plus, *self.minus)


@dataclass(frozen=True)
class Sorted:
    """What is asked for, by what becomes of it.

    Attributes:
        asked: all of it.
        own: what the store holds.
        vectors: .npy files.
        files: pictures, and files of texts.
        terms: what is added up, of pictures and of texts, each once.
        known: what is added up and is an id.
        foreign: what is of the other kind than the store, in a word; None where nothing is.
    """

    asked: Asked
    own: Modality
    vectors: list[Path]
    files: dict[Modality, list[Path]]
    terms: dict[Modality, list[Term]]
    known: frozenset[str]
    foreign: str | None


@dataclass(frozen=True)
class Queries:
    """Queries of one space, or of the two of a pair.

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


def ids_among(names: Sequence[Term], store: FeatureStore) -> frozenset[str]:
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
    return is_remote(name) or os.path.lexists(name) if "\0" not in name else False


def sort_out(asked: Asked, store: FeatureStore) -> Sorted:
    """Return what is asked for, by what becomes of it; nothing is embedded.

    Raises:
        InputError: a folder is empty, or a store of words has no such word.
    """
    own: Modality = "text" if store.provenance.modality == "text" else "picture"
    vectors = [path for path in asked.files if path.suffix.lower() == _VECTORS]
    files: dict[Modality, list[Path]] = {"picture": [], "text": []}
    foreign = None if own == "text" or not asked.texts else "`text`"
    for path in asked.files:
        if path not in vectors:
            kind, found = _files(path, own)
            files[kind] += found
            foreign = foreign or (str(path) if kind != own else None)
    known = ids_among(asked.mixed, store)
    terms: dict[Modality, list[Term]] = {"picture": [], "text": []}
    for term in dict.fromkeys(term for term in asked.mixed if term not in known):
        if not isinstance(term, Words) and is_remote(term):
            absolute(term)  # refused, where it holds what must not be said
        kind = _kind_of(term)
        if kind != own and store.provenance.of_words:
            raise InputError(f"{store.called} has no word {str(term)!r}, and it is no {SUFFIX} file.")
        terms[kind].append(term)
        foreign = foreign or (str(term) if kind != own else None)
    return Sorted(asked, own, vectors, files, terms, known, foreign)


def _kind_of(term: Term) -> Modality:
    return "text" if isinstance(term, Words) or Path(term).suffix.lower() == SUFFIX else "picture"


def _files(path: Path, own: Modality) -> tuple[Modality, list[Path]]:
    """Return what a path names: in a folder or container, for a store of texts, its .txt files, if any, else all."""
    if is_remote(path):
        path = Path(absolute(path))
        is_file = split(path)[0] == WEB or kind_of(str(path)) == "file"
        if not is_archive(path.name) and (is_file or stat_place("", str(path)).size >= 0):
            return _kind_of(path), [path]
    elif not (path.is_dir() or ((is_archive(path.name) or is_video(path.name)) and path.is_file())):
        return _kind_of(path), [path]
    found = [Path(item.source) for item in collect(path)]
    texts = [file for file in found if _kind_of(file) == "text"]
    if not found:
        raise InputError(f"The folder {shown(path)} holds no {'picture' if own == 'picture' else f'{SUFFIX} file'}.")
    return ("text", texts) if texts and (own == "text" or len(texts) == len(found)) else ("picture", found)


def resolve(wanted: Sorted, store: FeatureStore, layer: str | None, towers: Towers, device: str) -> Queries:
    """Return the queries; a backbone is loaded only where a picture or a text wants it.

    Args:
        wanted: what is asked for.
        store: the store that is searched.
        layer: a further layer's name.
        towers: what embeds what is of the store's kind, and what is of the other.
        device: what runs them.

    Raises:
        InputError: nothing is asked for, a file is not there, a vector is of another length, or the backbone of the
            store's space is not to be had.
        DecodeError: a picture cannot be decoded, or a text is empty.
        StoreError: the store has no vector of an id.
    """
    asked, known = wanted.asked, sorted(wanted.known)
    parts = [_from_file(path, store.provenance.dim_of(layer)) for path in wanted.vectors]
    made: dict[Term, np.ndarray] = dict(zip(known, _stored(store, known, layer), strict=True))
    kinds: tuple[Modality, Modality] = ("picture", "text")
    for kind in kinds if wanted.own == "picture" else reversed(kinds):
        texts = asked.texts if kind == "text" else ()
        if not (wanted.files[kind] or texts or wanted.terms[kind]):
            continue
        if kind == wanted.own:
            net, of_layer = Backbone.for_store(store.provenance, towers.own, device), layer
        else:
            assert towers.other is not None
            net, of_layer = Backbone.of(towers.other, device=device), None
        parts += _embedded(net, wanted.files[kind], texts, of_layer)
        made |= zip(wanted.terms[kind], _vectors_of(net, wanted.terms[kind], of_layer), strict=True)
    if asked.mixed:
        parts.append(_mixed(asked, made, wanted.known))
    if asked.ids:
        parts.append(_of_rows(asked.ids, store, layer))
    if not parts:
        kinds_of_own = "a picture, a folder" if wanted.own == "picture" else f"a `text`, a {SUFFIX} file, a folder"
        raise InputError(f"Nothing is asked for: name {kinds_of_own}, a .npy file of vectors, or an `id`.")
    return Queries(
        names=[name for part in parts for name in part.names],
        vectors=np.concatenate([part.vectors for part in parts]),
        own=[own for part in parts for own in part.own],
        pictures=[picture for part in parts for picture in part.pictures],
        without=[without for part in parts for without in part.without],
    )


def _of_rows(ids: Sequence[str], store: FeatureStore, layer: str | None) -> Queries:
    """Return the queries of rows, which do not find themselves."""
    root, pictures = Path(unescape_path(store.provenance.root)), store.provenance.modality == "picture"
    own = [str(root / unescape_path(key)) if pictures else None for key in ids]
    return Queries(list(ids), _stored(store, ids, layer), list(ids), [*own], [frozenset({key}) for key in ids])


def _embedded(net: Backbone, files: Sequence[Path], texts: Sequence[str], layer: str | None) -> list[Queries]:
    """Return the queries of files and texts."""
    parts = []
    if files:
        names = [*map(shown, files)]
        pictures: list[str | None] = [*map(str, files)] if net.file.recipe.modality == "picture" else _none(names)
        parts.append(Queries(names, _vectors_of(net, files, layer), _none(names), pictures, _all(names)))
    if texts:
        vectors, none = net.embed(texts, layer=layer), _none(texts)
        parts.append(Queries([*map(text_name, texts)], vectors, none, none, _all(none)))
    return parts


def _vectors_of(net: Backbone, terms: Sequence[Term], layer: str | None) -> np.ndarray:
    """Return raw vectors of pictures, or of texts and of those in .txt files, float32 [n, dim]."""
    if net.file.recipe.modality == "picture":
        return embed_files(net, [str(term) for term in terms], layer)
    most = net.limits.max_bytes
    texts = (term.text if isinstance(term, Words) else read_text(term, most) for term in terms)
    return net.embed(texts, layer=layer)


def _from_file(path: Path, dim: int) -> Queries:
    vectors = read_vectors(path, dim)
    none = _none(vectors)
    return Queries([f"{path}[{i}]" for i in range(len(vectors))], vectors, none, none, _all(none))


def _stored(store: FeatureStore, ids: Sequence[str], layer: str | None) -> np.ndarray:
    """Return the raw vectors of rows, float32 [n, dim]; raises StoreError where one has none."""
    if not ids:
        return np.empty((0, store.provenance.dim_of(layer)), np.float32)
    return store.select(ids=ids).vectors(layer=layer, dtype="float32")


def _mixed(asked: Asked, vectors: Mapping[Term, np.ndarray], ids: frozenset[str]) -> Queries:
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
