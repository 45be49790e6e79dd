"""A vocabulary with its rule: texts become the numbers of their known words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import compress, pairwise

import numpy as np

from fxengine.backbones.words.rule import RULES, Rule
from fxengine.backbones.words.together import numbers_of_ascii
from fxengine.errors import InputError

_REMEMBERED = 1 << 16  # different words that are not known as they are; different runs


class _Numbers(dict[str, int]):
    """Word -> its number; of a word that is only known in lower case that one's, of an unknown one -1."""

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__(zip(words, range(1 << 62), strict=False))
        self._others: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        number = self._others.get(word)
        if number is None:
            number = self.get(word.lower(), -1)
            if len(self._others) < _REMEMBERED:
                self._others[word] = number
        return number


class _Runs(dict[str, tuple[int, ...]]):
    """Piece of a text -> the numbers of its words; of texts that are taken apart by the rule "words"."""

    def __init__(self, rule: Rule, numbers: _Numbers) -> None:
        super().__init__()
        self._rule, self._numbers = rule, numbers

    def __missing__(self, run: str) -> tuple[int, ...]:
        if run.isalnum():  # one word by the rule "words", without looking, as most are
            number = self._numbers.get(run)
            found: tuple[int, ...] = (self._numbers.get(run.lower(), -1) if number is None else number,)
        else:
            found = tuple(map(self._numbers.__getitem__, self._rule.words(run)))
        if len(self) < _REMEMBERED:
            self[run] = found
        return found


@dataclass(frozen=True)
class Vocabulary:
    """Words that have a number each, from 0 on.

    Attributes:
        rule: how the words of a text are found.
        words: all different, in the order of their numbers; none holds a line's end.
    """

    rule: Rule
    words: Sequence[str]
    _numbers: _Numbers = field(init=False, repr=False, compare=False)
    _runs: _Runs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbers = _Numbers(self.words)
        if len(numbers) != len(self.words):
            raise InputError("A vocabulary has a word twice.")
        object.__setattr__(self, "_numbers", numbers)
        object.__setattr__(self, "_runs", _Runs(self.rule, numbers))

    def ids(self, text: str) -> tuple[list[int], int]:
        """Return the numbers of the known words of a text, in its order, and how many words it has, known or not."""
        numbers = [*map(self._numbers.__getitem__, self.rule.words(text))]
        known = [number for number in numbers if number >= 0] if -1 in numbers else numbers
        return known, len(numbers)

    def all_ids(self, texts: Sequence[str]) -> list[tuple[np.ndarray, int]]:
        """Return what `ids` returns for each of many texts, the numbers as int32."""
        quick = [text.isascii() for text in texts] if self.rule == RULES["words"] else []
        if not any(quick):
            return [self._ids(text) for text in texts]
        made = iter(self._ids_of_ascii([*compress(texts, quick)]))
        return [next(made) if is_quick else self._ids(text) for text, is_quick in zip(texts, quick, strict=True)]

    def _ids(self, text: str) -> tuple[np.ndarray, int]:
        known, count = self.ids(text)
        return np.array(known, np.int32), count

    def _ids_of_ascii(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, int]]:
        numbers, ends = numbers_of_ascii(texts, self._runs.__getitem__)
        is_known = numbers >= 0
        known, before = numbers[is_known], np.concatenate([[0], is_known.cumsum()])[ends].tolist()
        cut = [known[begin:end] for begin, end in pairwise(before)]
        return zip(cut, np.diff(ends).tolist(), strict=True)

    def number(self, word: str) -> int:
        """Return the number of a word, looked up as it is and then in lower case; -1 where it is not known."""
        return self._numbers[word]

    def to_bytes(self) -> bytes:
        """Return a line of JSON with the rule, then a line a word, all in UTF-8."""
        return "\n".join([json.dumps(asdict(self.rule), sort_keys=True), *self.words]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Vocabulary:
        """Rebuild one.

        Raises:
            InputError: it is none, or its rule is none of `RULES`: a pattern of somebody else's may take forever.
        """
        try:
            head, *words = data.decode().split("\n")
            rule = Rule(**json.loads(head))
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"This is no vocabulary: {error}") from error
        if rule not in RULES.values():
            raise InputError("This vocabulary's words are found by a rule that this version does not know.")
        return cls(rule, words)
