"""From what a net says of the tokens of a text to spans: words, and what consecutive ones are called together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxengine.decode.text.tokenizer import Word
from fxengine.probing.prediction import Span

_OUTSIDE = "O"  # what words of no span are called


@dataclass(frozen=True)
class _Named:
    """A word with what it is said to be; `begins` where a span begins with it even behind one of the same name."""

    word: Word
    label: str
    score: float
    begins: bool


def spans_of(text: str, words: Sequence[Word], logits: np.ndarray, labels: Sequence[str]) -> tuple[Span, ...]:
    """Return the spans of a text.

    A word is what its first token is said to be. Words beside each other of one label are a span; where labels say how
    they begin (B-PER, I-PER), a word with a B- begins another one.

    Args:
        text: the text.
        words: its words, whose tokens may be fewer than the text has.
        logits: what the net says, float32 [tokens, labels].
        labels: the names of the labels.
    """
    groups: list[list[_Named]] = []
    for each in _named(words, logits, labels):
        if groups and each.label == groups[-1][-1].label and not each.begins:
            groups[-1].append(each)
        else:
            groups.append([each])
    spans = [_span(text, group) for group in groups if group[0].label != _OUTSIDE]
    return tuple(span for span in spans if span.text)  # RoBERTa's tokenizer has words that are a space


def _named(words: Sequence[Word], logits: np.ndarray, labels: Sequence[str]) -> list[_Named]:
    if not words:
        return []
    shares = softmax(logits[[word.token for word in words]])
    best = shares.argmax(axis=1)
    return [
        _Named(word, _without_scheme(labels[at]), float(row[at]), labels[at].startswith("B-"))
        for word, row, at in zip(words, shares, best, strict=True)
    ]


def _without_scheme(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label


def _span(text: str, group: Sequence[_Named]) -> Span:
    start, end = group[0].word.start, group[-1].word.end
    covered = text[start:end]
    start += len(covered) - len(covered.lstrip())  # some tokenizers count the space before a word to it
    covered = covered.strip()
    score = float(np.mean([each.score for each in group]))
    return Span(start, start + len(covered), covered, group[0].label, score)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities [n, classes] of logits [n, classes]."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
