"""What inputs are said to be, as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("labels", pa.list_(pa.string())),
        ("probabilities", pa.list_(pa.float32())),
        ("error", pa.string()),
        ("values", pa.list_(pa.float32())),
    ]
)


SPANS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("text", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("error", pa.string()),
    ]
)


@dataclass(frozen=True)
class Span:
    """A stretch of a text that a net has a name for.

    Attributes:
        start: the number of its first character, from 0, so that `text[start:end]` is the span.
        end: the number of the character behind its last one.
        text: what stands there.
        label: what it is said to be.
        score: the mean probability of that over its words, between 0 and 1.
    """

    start: int
    end: int
    text: str
    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """What one input is said to be.

    Attributes:
        id: path relative to the folder, the id of a table's row, the store's id, or a text itself, shortened.
        labels: the k most probable classes, the most probable first (of a head of numbers, the targets' names); empty
            where it failed.
        probabilities: as many, between 0 and 1; empty for a head of numbers.
        error: why it failed, or None.
        values: as many, of a head of numbers.
        text: the beginning of an input that is a text; None of a picture, of a row of a store, and where it failed.
        spans: of a text, where they were asked for, in the order in which they stand there.
        truncated: whether the net took only the first tokens of a text.
    """

    id: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    error: str | None = None
    values: tuple[float, ...] = ()
    text: str | None = field(default=None, compare=False)
    spans: tuple[Span, ...] = ()
    truncated: bool = field(default=False, compare=False)

    def row(self) -> dict[str, object]:
        """Return the row of `SCHEMA`: the lists, and label and probability of the most probable class by themselves."""
        return {
            "id": self.id,
            "label": self.labels[0] if self.labels else None,
            "probability": self.probabilities[0] if self.probabilities else None,
            "labels": list(self.labels),
            "probabilities": list(self.probabilities),
            "error": self.error,
            "values": list(self.values),
        }

    def span_rows(self) -> list[dict[str, object]]:
        """Return the rows of `SPANS_SCHEMA`: one a span, and one with the error where it failed."""
        if self.error is not None:
            return [{**dict.fromkeys(SPANS_SCHEMA.names), "id": self.id, "error": self.error}]
        return [{"id": self.id, **vars(span), "error": None} for span in self.spans]


@dataclass(frozen=True)
class Counts:
    """What predictions add up to.

    Attributes:
        count: how many there are.
        failed: how many have an error.
        truncated: how many are of a text of which the net took only the first tokens.
        spans: how many spans they have.
    """

    count: int = 0
    failed: int = 0
    truncated: int = 0
    spans: int = 0

    def plus(self, predictions: Sequence[Prediction]) -> Counts:
        """Return the counts with those of further ones."""
        return Counts(
            self.count + len(predictions),
            self.failed + sum(each.error is not None for each in predictions),
            self.truncated + sum(each.truncated for each in predictions),
            self.spans + sum(len(each.spans) for each in predictions),
        )


@dataclass(frozen=True)
class Predictions:
    """What many inputs are said to be; iterating over it gives the predictions.

    Attributes:
        predictions: one an input, by id (of texts by themselves, in their order), or one a row of a store, failed rows
            last; empty where they were written to a file instead.
        count: how many there are, here or in the file.
        failed: how many of them have an error.
        output: the file that they were written to, or None.
        truncated: how many are of a text of which the net took only the first tokens.
        spans: how many spans were found in texts; None where they were not asked for.
    """

    predictions: tuple[Prediction, ...]
    count: int
    failed: int
    output: str | None = None
    truncated: int = 0
    spans: int | None = None

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def table(self) -> pa.Table:
        """A row a prediction: id, label, probability, labels, probabilities, error, values; of spans a row a span: id,
        start, end, text, label, score, and error, with a row for each text that failed.
        """
        if self.spans is not None:
            return pa.Table.from_pylist(self._span_rows(), SPANS_SCHEMA)
        return pa.Table.from_pylist([prediction.row() for prediction in self.predictions], SCHEMA)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data, without the texts; spans are the rows of the table."""
        if self.spans is not None:
            return {**vars(self), "predictions": self._span_rows()}
        # Not by asdict, which copies every number: it would take longer than the answers.
        rows = [{**vars(prediction)} for prediction in self.predictions]
        for row in rows:
            del row["text"], row["spans"], row["truncated"]
        return {**vars(self), "predictions": rows}

    def _span_rows(self) -> list[dict[str, object]]:
        return [row for each in self.predictions for row in each.span_rows()]
