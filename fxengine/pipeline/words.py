"""Turns a file of word vectors into a store of its words: a row a word, with the vector that a text of it alone gets.

Nothing is computed: the rows of the backbone's table are written in the order of the file, the most frequent first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from fxengine.backbones import load_backbone, load_for_space, source_name
from fxengine.backbones.options import ExportOptions, WordWeights
from fxengine.backbones.sources.from_vectors import weights_of
from fxengine.backbones.spec import BackboneFile
from fxengine.backbones.words.stream import find_place
from fxengine.backbones.words.vectors import WordVectors
from fxengine.collect.item import Item, escape_path, sha256_of, stamp
from fxengine.decode.limits import usual_limits
from fxengine.errors import InputError, one_of, path_of
from fxengine.features import parts
from fxengine.features.lock import locked
from fxengine.features.parts import Row
from fxengine.features.row_numbers import next_row, read_numbers
from fxengine.features.schema import FEATURE, Dtype, Provenance
from fxengine.features.write import PART_ROWS, PartWriter, check_fits, to_store_type
from fxengine.pipeline.plan import provenance_of
from fxengine.pipeline.run import undisturbed
from fxengine.pipeline.summary import Progress, Watch
from fxengine.storage import shown
from fxengine.store_files import place_of


@dataclass(frozen=True)
class Words:
    """A store of words.

    Attributes:
        store: its folder.
        backbone: name of the backbone of its feature space, `vectors:FILE` with the same options.
        words: how many it has.
        added: of these, how many were written now; 0 where all were there.
        failed: of these, how many have no vector, since a number in it is too large for the type of the store.
        dim: numbers of a vector.
        seconds: that it took.
        interrupted: whether it was stopped before its end; the same call goes on.
    """

    store: str
    backbone: str
    words: int
    added: int
    failed: int
    dim: int
    seconds: float
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def words(
    vectors: str | Path,
    store: str | Path,
    *,
    words: int | None = None,
    tokens: str = "words",
    word_weights: WordWeights | None = None,
    dtype: Dtype = "float16",
    progress: Callable[[Progress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Words:
    """Write a store whose ids are the words of a file of word vectors, or go on where that was interrupted.

    The feature space is that of `vectors:FILE` with the same options, so that texts find words. A row's number is its
    word's place in the file, from 0, so that a filter such as `row < 50000` keeps the most frequent ones.

    Args:
        vectors: the file, FILE#MEMBER of a .zip, or a folder of model2vec.
        store: folder of Parquet parts, made where it is not there, or a place in a bucket.
        words: only the first so many, the most frequent ones.
        tokens: how the words of a text that asks are found: "words" or "keras".
        word_weights: "sif" makes frequent words count less.
        dtype: type of the stored vectors, "float16" or "float32".
        progress: called after every part.
        cancel: asked after every part; True stops it cleanly.

    Raises:
        InputError: it is no file of word vectors, or an option cannot be used.
        StoreError: the store holds something else, such as the words of the file as it was before; or it is damaged,
            or cannot be written.
    """
    begin = time.perf_counter()
    what, folder = str(path_of("vectors", vectors)), place_of("store", store)
    one_of("dtype", dtype, get_args(Dtype))
    options = ExportOptions(tokens=tokens, word_weights=word_weights, words=words)
    with locked(folder) as ensure_held:
        parts.remove_leftovers(folder)
        there = parts.list_parts(folder)
        found = _backbone(what, options, there)
        table = _opened(what, words)
        made = _provenance(found, what, dtype)
        for path in there:
            check_fits(parts.read_provenance(path), made, folder)
        number = parts.next_part_number(there)
        writer = PartWriter(folder, made, next_row(there) if there else 0, PART_ROWS, number)
        file = find_place(what).path
        source = _Source(table, weights_of(len(table.words), options), file, stamp(os.stat(file))[1], dtype)
        done = _write(writer, source, _missing(there, len(table.words)), Watch(progress, cancel, ensure_held))
    return Words(
        store=shown(str(store)),
        backbone=found.facts.name,
        words=len(table.words),
        added=done.done,
        failed=done.failed,
        dim=made.dim,
        seconds=time.perf_counter() - begin,
        interrupted=done.done < done.total,
    )


def _opened(what: str, words: int | None) -> WordVectors:
    table = WordVectors.open(what, words=words)
    if len(set(table.words)) != len(table.words):  # ids of a tokenizer may share a token
        raise InputError(f"{what} has a token twice, and no id can stand twice in a store.")
    return table


def _backbone(what: str, options: ExportOptions, there: Sequence[Path]) -> BackboneFile:
    """Return the backbone of the words' feature space, and leave it in the cache, where queries find it."""
    source = f"vectors:{what}"
    if not there:
        return load_backbone(source, options)
    return load_for_space(source, parts.read_provenance(there[0]).space, options)


def _provenance(found: BackboneFile, what: str, dtype: Dtype) -> Provenance:
    root = find_place(what).path.absolute()  # as `source_name`: no link is resolved
    made = provenance_of(found, source_name(f"vectors:{what}"), root, dtype, usual_limits("text"))
    return replace(made, precision="fp32", of_words=True)


def _missing(there: Sequence[Path], count: int) -> np.ndarray:
    """Return the numbers, int64, of the words that no part has a row for."""
    known, _ = read_numbers(there)
    return np.setdiff1d(np.arange(count), known)


@dataclass(frozen=True)
class _Source:
    """What rows are made from.

    Attributes:
        table: the words and their vectors.
        weights: what these are multiplied with, [words]; None for nothing.
        file: where they are.
        mtime_ns: when that was changed.
        dtype: type of the stored vectors.
    """

    table: WordVectors
    weights: np.ndarray | None
    file: Path
    mtime_ns: int
    dtype: Dtype

    def rows(self, numbers: np.ndarray) -> tuple[list[Row], np.ndarray]:
        """Return the rows of the words of these numbers, in the order of their ids, and their vectors, [n, dim]."""
        words = [self.table.words[number] for number in numbers.tolist()]
        keys = [escape_path(word) for word in words]
        order = np.array(sorted(range(len(keys)), key=lambda at: keys[at].encode()))
        vectors = np.asarray(self.table.array[numbers[order]], np.float32)
        if self.weights is not None:
            vectors = vectors * self.weights[numbers[order], None]
        stored, bad = to_store_type({FEATURE: vectors}, self.dtype)
        is_zero = np.logical_not(vectors.any(axis=1))
        rows = []
        for at, zero, large in zip(order.tolist(), is_zero.tolist(), bad.tolist(), strict=True):
            text = words[at].encode()
            item = Item(keys[at], str(self.file), len(text), self.mtime_ns)
            code = "bad_feature" if zero or large else None
            reason = f"A number of it is too large for {self.dtype}." if large else "Its vector is zero."
            rows.append(Row(int(numbers[at]), item, sha256_of(text), None, None, code, reason if code else None))
        return rows, stored[FEATURE]


def _write(writer: PartWriter, source: _Source, numbers: np.ndarray, watch: Watch) -> Progress:
    """Write the rows of these numbers, a part at a time; return how far it came."""
    begin, done, failed = time.perf_counter(), 0, 0
    try:
        for start in range(0, len(numbers), writer.part_rows):
            block = numbers[start : start + writer.part_rows]
            with undisturbed():
                rows, vectors = source.rows(block)
                writer.extend(rows, {FEATURE: vectors})
                writer.commit()
            failed += sum(row.error_code is not None for row in rows)
            done += len(block)
            if watch.tell(Progress(done, failed, len(numbers), time.perf_counter() - begin)):
                break
    except KeyboardInterrupt:
        pass  # what was committed stays, and the next call goes on behind it
    return Progress(done, failed, len(numbers), time.perf_counter() - begin)
