"""Tells of two texts whether they are one: equal, the same but for spaces, case and marks, or nearly the same.

Vectors say "alike"; only the words say "the same".
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fxengine.features.read import FeatureStore
from fxengine.features.texts import texts_of
from fxengine.retrieval.kinds import ALIKE, IDENTICAL, NEAR_THE_SAME, SAME_TEXT, UNVERIFIED

# Least Jaccard of two texts that are nearly the same. Of 3,000 sentences of reviews, the 13 pairs from it on say
# the same in other words ("Good price.", "Good prices."); below it stands "NOT WHAT I WANTED" (docs/search.md).
THRESHOLD = 0.7
_SHINGLE = 5  # characters
_FACTORS = np.random.default_rng(5).integers(1 << 63, 1 << 64, _SHINGLE, np.uint64) | np.uint64(1)  # of their hash
_BYTES, _ROWS = 16 << 20, 1 << 16  # texts that are held at once


@dataclass(frozen=True)
class SameText:
    """What pairs of texts are.

    Attributes:
        kind: n names of `fxengine.retrieval.kinds`, object.
        score: float32 [n], `jaccard`; 1 where identical or the same text, nan where unverified.
    """

    kind: np.ndarray
    score: np.ndarray


_SIGNS = frozenset("#%&/@\\\u2030")  # punctuation to Unicode, but a part of what is said: "C#", "10%", "and/or"
_BEFORE_DIGIT = re.compile(r"([^\w\s])(?=\d)")  # of a number, too: "-5", "3.5", "2:1"


class _Separators(dict[int, str | None]):
    """What each character becomes before words are taken: marks, spaces, controls a space; what is unseen nothing."""

    def __missing__(self, code: int) -> str | None:
        category = unicodedata.category(chr(code))
        unseen = category == "Cf" or 0xFE00 <= code <= 0xFE0F  # joiners, soft hyphens; how an emoji is drawn
        apart = category[0] in "PZ" or category == "Cc"
        counts = unicodedata.normalize("NFKC", chr(code)) in _SIGNS
        self[code] = None if unseen else " " if apart and not counts else chr(code)
        return self[code]


_SEPARATORS = _Separators()


def normalized(text: str) -> str:
    """Return the words of a text, one space between two; of one without words its marks, without spaces.

    Words are what stands between punctuation, spaces and controls (Unicode's categories P, Z and Cc), in Unicode's
    compatibility caseless form: letters, numbers, accents and symbols ("C++", "5 €", "C#", "10%", emojis) count, and so
    does a dash, point or other mark right before a digit ("-5", "3.5"); case, width and what is not seen do not. Two
    texts are the same text where this is equal. It is idempotent.
    """
    words = _apart(_folded(_apart(text)))  # folding makes marks, too: "(1)" of one sign
    return " ".join(words.split()) or "".join(_folded(text).split())


def _apart(text: str) -> str:
    """Return a text with a space for each mark that is no part of a word or a number."""
    pieces = _BEFORE_DIGIT.split(text)  # every second one is a mark before a digit
    kept = (
        mark if unicodedata.category(mark) in ("Pd", "Po") else mark.translate(_SEPARATORS) for mark in pieces[1::2]
    )
    rest = [piece.translate(_SEPARATORS) for piece in pieces[::2]]
    return rest[0] + "".join(mark + piece for mark, piece in zip(kept, rest[1:], strict=True))


def _folded(text: str) -> str:
    """Return the text in the form of The Unicode Standard, section 3.13, D146, put together again at the end."""
    if text.isascii():
        return text.casefold()
    folded = unicodedata.normalize("NFD", text)
    for form in ("NFKD", "NFKC"):
        folded = unicodedata.normalize(form, folded.casefold())
    return folded


def jaccard(a: str, b: str) -> float:
    """Return how many of the rows of 5 characters that one of two texts has, both have: 1 all, 0 none.

    A text of fewer than 5 characters is one such row.
    """
    return _overlap(_shingles(a), _shingles(b))


def _shingles(text: str) -> np.ndarray:
    """Return a number of 64 bits for each row of 5 characters, uint64, sorted, each once."""
    coded = text.ljust(_SHINGLE, "\0").encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(coded, np.uint32).astype(np.uint64)
    count = len(codes) - _SHINGLE + 1
    found = codes[:count] * _FACTORS[0]
    for i in range(1, _SHINGLE):
        found += codes[i : i + count] * _FACTORS[i]
    found.sort()
    once: np.ndarray = found[np.concatenate([[True], found[1:] != found[:-1]])]
    return once


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    both = np.sort(np.concatenate([first, second]))
    common = int(np.count_nonzero(both[1:] == both[:-1]))
    return common / (len(both) - common)


def verify_texts(pairs: np.ndarray, rows: pa.Table, store: FeatureStore) -> SameText:
    """Return what each pair is; texts are read from the store or its source, a few at a time.

    Args:
        pairs: int64 [n, 2], places in `rows`.
        rows: of the store, with `id`, `content_hash` and `size`.
        store: a store of texts.

    Raises:
        StoreError: a part is damaged.
    """
    pairs = pairs.reshape(-1, 2)
    hashes = (rows["content_hash"].take(pa.array(places)) for places in pairs.T)
    identical = np.asarray(pc.fill_null(pc.equal(*hashes), False))
    kind = np.where(identical, IDENTICAL, UNVERIFIED).astype(object)
    score = np.where(identical, 1, np.nan).astype(np.float32)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    unsure = order[~identical[order]]
    sizes = rows["size"].to_numpy()[pairs[unsure]].sum(axis=1)
    for chosen in _blocks(sizes, unsure):
        texts = _normalized_texts(np.unique(pairs[chosen]), rows, store)
        shingles = {place: _shingles(text) for place, text in texts.items()}
        for at, (a, b) in zip(chosen.tolist(), pairs[chosen].tolist(), strict=True):
            if a in texts and b in texts:
                score[at] = _overlap(shingles[a], shingles[b])
                kind[at] = SAME_TEXT if texts[a] == texts[b] else NEAR_THE_SAME if score[at] >= THRESHOLD else ALIKE
    return SameText(kind, score)


def same_text_pairs(rows: pa.Table, store: FeatureStore) -> np.ndarray:
    """Return the pairs whose normalized texts are equal, whatever their vectors: int64 [n, 2], places in `rows`.

    Each stands beside the first of its kind. Of a text 16 bytes are kept, so this takes what `_BYTES` of texts take,
    however many there are. Texts that cannot be read any more are in no pair.

    Args:
        rows: of the store, with `id` and `size`.
        store: a store of texts.

    Raises:
        StoreError: a part is damaged.
    """
    known, digests = np.zeros(len(rows), bool), np.zeros(len(rows), "V16")
    for chosen in _blocks(rows["size"].to_numpy(), np.arange(len(rows))):
        for place, text in _normalized_texts(chosen, rows, store).items():
            digests[place] = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            known[place] = True
    places = np.flatnonzero(known)
    _, first, inverse = np.unique(digests[places], return_index=True, return_inverse=True)
    earliest = places[first[inverse]]
    later = earliest != places
    return np.stack([earliest[later], places[later]], axis=1)


def _blocks(sizes: np.ndarray, places: np.ndarray) -> Iterator[np.ndarray]:
    """Yield `places` in runs whose sizes in bytes, int64 [n], sum up to about `_BYTES` at most."""
    block = np.cumsum(sizes) // _BYTES + np.arange(len(sizes)) // _ROWS
    yield from np.split(places, np.flatnonzero(np.diff(block)) + 1) if len(places) else ()


def _normalized_texts(places: np.ndarray, rows: pa.Table, store: FeatureStore) -> dict[int, str]:
    ids = rows["id"].take(pa.array(places)).to_pylist()
    found = texts_of(store, ids)
    return {place: normalized(found.pop(key)) for place, key in zip(places.tolist(), ids, strict=True) if key in found}
