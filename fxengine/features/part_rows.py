"""The rows of a part that is being written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fxengine.features.parts import OpenPart, Row, Vectors, part_table
from fxengine.features.schema import Provenance


class PartRows:
    """The rows of a new part, collected row group by row group: one of them is in memory.

    Attributes:
        rows: how many came so far.
    """

    def __init__(self, path: Path, provenance: Provenance, group: int) -> None:
        """Begin with none; `group` is how many rows a row group has."""
        self.rows = 0
        self._path, self._provenance, self._group = path, provenance, group
        self._open: OpenPart | None = None
        self._waiting: list[Row] = []
        self._vectors = {n: np.zeros((group, dim), provenance.dtype) for n, dim in provenance.columns.items()}

    def extend(self, rows: Sequence[Row], vectors: Vectors) -> None:
        """Add rows with the vectors of the first of them, [n, dim]; raises StoreError where the disk is full."""
        begin = 0
        while begin < len(rows):
            there = len(self._waiting)
            end = begin + self._group - there
            taken = rows[begin:end]
            for name, matrix in vectors.items():
                values = matrix[begin:end]
                self._vectors[name][there : there + len(values)] = values
            self._waiting += taken
            self.rows += len(taken)
            if len(self._waiting) == self._group:
                self._write_group()
            begin = end

    def finished(self) -> OpenPart:
        """Return the part with every row in it, to be committed or created; raises StoreError."""
        if self._waiting or self._open is None:
            self._write_group()
        assert self._open is not None
        return self._open

    def discard(self) -> None:
        """Remove what was written."""
        if self._open is not None:
            self._open.discard()

    def _write_group(self) -> None:
        filled = {name: matrix[: len(self._waiting)] for name, matrix in self._vectors.items()}
        table = part_table(self._waiting, filled, self._provenance)
        if self._open is None:
            self._open = OpenPart(self._path, table.schema)
        self._open.write(table)
        self._waiting = []
