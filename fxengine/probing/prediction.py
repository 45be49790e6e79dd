"""What inputs are said to be, as data."""

from __future__ import annotations

from collections.abc import Iterator
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
    """

    id: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    error: str | None = None
    values: tuple[float, ...] = ()
    text: str | None = field(default=None, compare=False)

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


@dataclass(frozen=True)
class Predictions:
    """What many inputs are said to be; iterating over it gives the predictions.

    Attributes:
        predictions: one an input, by id (of texts by themselves, in their order), or one a row of a store, failed rows
            last; empty where they were written to a file instead.
        count: how many there are, here or in the file.
        failed: how many of them have an error.
        output: the file that they were written to, or None.
    """

    predictions: tuple[Prediction, ...]
    count: int
    failed: int
    output: str | None = None

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def table(self) -> pa.Table:
        """A row a prediction: id, label, probability, labels, probabilities, error, values."""
        return pa.Table.from_pylist([prediction.row() for prediction in self.predictions], SCHEMA)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data, without the texts."""
        # Not by asdict, which copies every number: it would take longer than the answers.
        rows = [{**vars(prediction)} for prediction in self.predictions]
        for row in rows:
            del row["text"]
        return {**vars(self), "predictions": rows}
