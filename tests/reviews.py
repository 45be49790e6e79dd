"""Sixty short reviews in two classes, and the store that `tiny_text` makes of them."""

from __future__ import annotations

from pathlib import Path

from fxengine import FeatureStore, extract
from fxengine.backbones.spec import BackboneFile
from tests.texts import write_table

_THINGS = ("tent", "film", "pan", "shoe", "bag", "lamp")
REVIEWS = {f"r{i:02d}": f"{'good' if i % 2 else 'bad'} {_THINGS[i % 6]} no {i}" for i in range(60)}
LABELS = {key: text.split()[0] for key, text in REVIEWS.items()}


def write_reviews(path: Path, changed: dict[str, str] | None = None) -> Path:
    """Write them as a table with the columns id, text and label, some of them changed."""
    rows = {**REVIEWS, **(changed or {})}
    return write_table(path, [(key, text, LABELS[key]) for key, text in rows.items()])


def review_store(table: Path, folder: Path, net: BackboneFile, *, keep_text: bool = False, parts: int = 1) -> Path:
    """Extract them from a table into a store of so many parts; return its folder."""
    extract(
        table,
        folder,
        backbone=net.path,
        column="text",
        id_column="id",
        label_column="label",
        keep_text=keep_text,
        part_rows=-(-60 // parts),
        precision="fp32",
    )
    assert len(FeatureStore.open(folder)) == 60
    return folder
