"""The words of many ASCII texts at once, by Arrow's kernels: they are quick, and let go of Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_MARK = r"([^\w\s'])"


def numbers_of_ascii(texts: Sequence[str], numbers_in: Callable[[str], Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the words of ASCII texts, found by the rule "words".

    All that this rule looks at around a word lies within a run of letters, digits, underscores and apostrophes. So the
    texts are cut into such runs and the marks between them, and each different one of these is looked up once.

    Args:
        texts: ASCII.
        numbers_in: run or mark -> the numbers of the words in it.

    Returns:
        The numbers, int32 [words of all texts], and where the words of each text begin and the last ones end, int64
        [texts + 1].
    """
    apart = pc.replace_substring_regex(pa.array(texts, pa.string()), _MARK, r" \1 ")
    lists = pc.ascii_split_whitespace(apart)
    runs = lists.flatten().dictionary_encode()
    found = [*map(numbers_in, runs.dictionary.to_pylist())]
    counts = np.fromiter(map(len, found), np.int64, len(found))
    numbers = np.fromiter(chain.from_iterable(found), np.int32, counts.sum())
    which = runs.indices.to_numpy()
    taken = counts[which]
    ends = np.concatenate([[0], taken.cumsum()])
    if len(numbers) == len(found) == np.count_nonzero(counts):
        return numbers[which], ends[lists.offsets.to_numpy()]
    firsts = counts.cumsum() - counts
    places = np.repeat(firsts[which] - ends[:-1], taken) + np.arange(ends[-1])
    return numbers[places], ends[lists.offsets.to_numpy()]
