"""What a check of a store found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from fxengine.pipeline.summary import Summary


@dataclass(frozen=True)
class VerifyReport:
    """What a check found.

    Attributes:
        parts: how many were checked.
        rows: how many readable rows they hold.
        bad_parts: part -> what is wrong with it.
        sampled: rows of the sample that were computed again, from an input that is as it was.
        changed: ids of those that were not, since their input is another now, or gone: nothing wrong with the store.
        wrong: id -> why its vector is not that of its input.
        unchecked: id -> why its input could not be computed again; the vector is kept.
        repair: summary of the run that mended the store, or None.
        lost: parts of which not even the ids could be read; their inputs got new row numbers.
        doubled: those of the bad parts that are whole, but share row numbers or ids with another.
    """

    parts: int = 0
    rows: int = 0
    bad_parts: dict[str, str] = field(default_factory=dict)
    sampled: int = 0
    changed: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)
    repair: Summary | None = None
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong, or everything was mended."""
        return not (self.bad_parts or self.wrong) or self.repair is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return {**asdict(self), "fine": self.fine}
