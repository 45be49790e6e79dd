"""What an extraction tells: how far it is, and in the end what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: inputs finished, failed ones included.
        failed: inputs that became error rows.
        total: inputs of this run.
        seconds: since the first input.
        workers: of a run over many, those that are at work; else 0.
        units_left: units of such a run that are not done.
    """

    done: int
    failed: int
    total: int
    seconds: float
    workers: int = 0
    units_left: int = 0


@dataclass(frozen=True)
class Watch:
    """Whom a run tells how far it is, and who may stop it.

    Attributes:
        progress: called again and again, or None.
        cancel: asked again and again; True stops the run cleanly.
        ensure_held: raises StoreLocked where the store is another process's by now, or None.
    """

    progress: Callable[[Progress], None] | None = None
    cancel: Callable[[], bool] | None = None
    ensure_held: Callable[[], None] | None = None

    def tell(self, progress: Progress) -> bool:
        """Say how far the run is; return whether it is to stop. Raises as `ensure_held`."""
        if self.ensure_held is not None:
            self.ensure_held()
        if self.progress is not None:
            self.progress(progress)
        return self.cancel is not None and self.cancel()


@dataclass
class Summary:
    """What a run did.

    Attributes:
        store: the store's folder.
        backbone: name of the backbone.
        provider: what ran the model.
        precision: what it computed in.
        extracted: rows that got a vector.
        failed: error code -> rows that got none, in this run.
        unchanged: rows that were left alone.
        changed: rows computed again because their input changed.
        widened: rows computed again because they lacked a group of further columns.
        moved: rows whose input was renamed, kept with their vector.
        relabelled: rows that only got another label or split.
        missing: rows whose input is not there any more.
        pruned: of these, rows that were removed.
        unreadable_folders: folders that could not be listed.
        absent: which pictures that a file of boxes names are not there, a sentence, or "".
        seconds: from the first listing to the last commit.
        compute_seconds: of these, while the pipeline ran.
        stage_share: stage -> its share of the threads' working time.
        bound_by: the stage that bound the run, or "" where nothing was computed.
        interrupted: whether it was stopped before its end.
        modality: what was embedded, "picture" or "text".
        truncated: texts of which the net took only the first `max_tokens` tokens.
        max_tokens: tokens that a net of texts takes, else 0.
        words: by word vectors, words of the texts that got a vector, else 0.
        known_words: of these, those that have a vector.
        workers: of a run over many, how many there were; else 0.
        units: units that they did.
        units_open: units whose rows are left open: why, in a sentence each.
        worker_deaths: workers that died, or hung and were ended.
    """

    store: str
    backbone: str
    provider: str = ""
    precision: str = ""
    extracted: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    unchanged: int = 0
    changed: int = 0
    widened: int = 0
    moved: int = 0
    relabelled: int = 0
    missing: int = 0
    pruned: int = 0
    unreadable_folders: list[str] = field(default_factory=list)
    absent: str = ""
    seconds: float = 0.0
    compute_seconds: float = 0.0
    stage_share: dict[str, float] = field(default_factory=dict)
    bound_by: str = ""
    interrupted: bool = False
    modality: str = "picture"
    truncated: int = 0
    max_tokens: int = 0
    words: int = 0
    known_words: int = 0
    workers: int = 0
    units: int = 0
    units_open: list[str] = field(default_factory=list)
    worker_deaths: int = 0

    def add(self, counts: Mapping[str, Any]) -> None:
        """Count rows that were stored elsewhere: name -> how many, of `failed` by error code."""
        for name, count in counts.items():
            if name == "failed":
                for code, more in count.items():
                    self.failed[code] = self.failed.get(code, 0) + more
            else:
                setattr(self, name, getattr(self, name) + count)

    @property
    def coverage(self) -> float | None:
        """The share of the words that have a vector; None where that does not count."""
        return self.known_words / self.words if self.words else None

    @property
    def images_per_second(self) -> float:
        """Inputs finished a second, failed ones included, while the pipeline ran."""
        return (self.extracted + sum(self.failed.values())) / self.compute_seconds if self.compute_seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON data."""
        rates = {"images_per_second": round(self.images_per_second, 2), "coverage": self.coverage}
        return {**asdict(self), **rates}
