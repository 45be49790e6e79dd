"""Makes the index of a store, or brings the one that it has up to date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fxengine.errors import path_of
from fxengine.features.read import FeatureStore
from fxengine.features.vector_file import read_vectors
from fxengine.neighbours.choose import Wanted
from fxengine.neighbours.file import IndexFacts
from fxengine.neighbours.index import Index, index_folder, open_index
from fxengine.storage import shown


@dataclass(frozen=True)
class Wishes:
    """What a person asks of an index; None leaves it as it is, or to the default."""

    metric: str | None = None
    recall: float | None = None
    memory: int | None = None
    latency_ms: float | None = None
    factory: str | None = None

    def given(self) -> dict[str, Any]:
        """Return what is not left open."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class IndexReport:
    """What came of it.

    Attributes:
        folder: where the index is.
        done: "built", "updated" or "unchanged".
        rows: rows of the store that it finds.
        facts: what it is and how good.
        shortcomings: what was asked for and is not reached, a sentence each.
    """

    folder: str
    done: Literal["built", "updated", "unchanged"]
    rows: int
    facts: IndexFacts
    shortcomings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return asdict(self)


def index(
    store: str | Path,
    *,
    recall: float | None = None,
    memory: int | None = None,
    latency: float | None = None,
    metric: str | None = None,
    factory: str | None = None,
    queries: str | Path | None = None,
    rebuild: bool = False,
    layer: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> IndexReport:
    """Build the index of a store; where there is one and nothing else is asked of it, only what changed is done.

    Args:
        store: folder of a feature store.
        recall: share of the 10 exact neighbours to find; that of the index, else 0.95, unless given.
        memory: most memory of the index, in bytes.
        latency: longest time of a query, in milliseconds.
        metric: "cosine", "ip" or "l2"; that of the index, else cosine, unless given.
        factory: FAISS's name of an index, instead of one chosen.
        queries: .npy file of raw vectors [n, dim] to tune with; held-out rows unless given.
        rebuild: build anew whatever is there.
        layer: a further layer's name; the default one unless given.
        progress: called with a sentence at every step.

    Raises:
        InputError: a wish cannot be met.
        StoreError: the store has no vector, or its index is damaged or of another space.
    """
    given = Wishes(metric, recall, memory, latency, factory).given()
    Wanted(**given)  # says what cannot be before anything is read
    opened = FeatureStore.open(store)
    dim = opened.provenance.dim_of(layer)
    vectors = None if queries is None else read_vectors(path_of("queries", queries), dim)
    found = None if rebuild or queries is not None else open_index(opened, layer)
    done: Literal["built", "updated", "unchanged"]
    if found is None or found.facts is None or not given.items() <= asdict(found.facts.wanted).items():
        made, done = Index.build(opened, layer=layer, queries=vectors, progress=progress, **given), "built"
    elif found.fresh:
        made, done = found, "unchanged"
    else:
        made, done = found.update(progress=progress), "updated"
    folder = index_folder(opened, layer) if done == "unchanged" else made.save()
    assert made.facts is not None
    return IndexReport(shown(folder), done, len(made), made.facts, _shortcomings(made.facts))


def _shortcomings(facts: IndexFacts) -> list[str]:
    trial, wanted = facts.trial, facts.wanted
    found = []
    if trial.recall.low < wanted.recall and trial.recall.at_10 < 1:
        found.append(f"No index that was tried surely finds {wanted.recall:.1%}; this one came nearest.")
    if wanted.latency_ms is not None and trial.latency_ms > wanted.latency_ms:
        found.append(f"A query takes {trial.latency_ms:.2f} ms, longer than the {wanted.latency_ms:g} ms asked for.")
    if wanted.memory is not None and trial.megabytes * 1e6 > wanted.memory:
        found.append(f"It takes {trial.megabytes:.0f} MB, more than the {wanted.memory / 1e6:.0f} MB asked for.")
    return found
