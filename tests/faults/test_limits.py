"""Limits belong to a store: what was taken in within them stays, is checked and is mended within them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fxengine import FeatureStore, StoreError, extract
from fxengine.backbones import cache
from fxengine.backbones.spec import BackboneFile
from fxengine.decode.limits import Limits
from fxengine.features import parts
from fxengine.features.parts import list_parts, read_provenance
from fxengine.features.schema import FEATURE, FORMAT, METADATA_KEY
from fxengine.pipeline.embed import Backbone
from fxengine.repair.verify import verify
from tests.conftest import make_photo, run_cli, tiny_model

DEFAULT = {"max_pixels": 128_000_000, "max_bytes": 1_000_000_000}


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of 21 photos, taken in with a limit of 100,000 pixels; the largest has 60,000."""
    cache.keep(tiny_model(), "tiny-limits")
    make_photo(photos / "cats" / "large.png", 77, (300, 200))
    extract(photos, tmp_path / "s", backbone=tiny.path, limits=Limits(max_pixels=100_000), part_rows=6)
    return tmp_path / "s"


def forget_limits(store: Path) -> None:
    """Make the parts as they were before limits were recorded."""
    for path in list_parts(store):
        table = parts.read_part(path)
        metadata = replace(read_provenance(path), limits={}).to_metadata()
        parts.write_part(table.replace_schema_metadata(metadata), path, replace=True)


def swap_vectors(path: Path, *, of: str) -> str:
    """Give the first two rows, or `of` and the first one, each other's vectors."""
    table = parts.read_part(path)
    ids = table["id"].to_pylist()
    vectors = np.concatenate([parts.vector_matrix(c, 8) for c in table[FEATURE].chunks])
    at = ids.index(of)
    vectors[[0, at]] = vectors[[at, 0]]
    fresh = parts.vector_array(vectors, np.zeros(len(ids), bool), table[FEATURE].type)
    parts.write_part(table.set_column(11, FEATURE, fresh), path, replace=True)
    return str(ids[0])


def by_id(store: Path) -> dict[str, bytes]:
    opened = FeatureStore.open(store)
    return {key: vector.tobytes() for key, vector in zip(opened.ids(), opened.vectors(), strict=True)}


def large_part(store: Path) -> Path:
    return next(p for p in list_parts(store) if "cats/large.png" in parts.read_part(p, ["id"])["id"].to_pylist())


def test_a_part_says_its_limits_and_a_later_run_takes_them_over(store: Path, photos: Path, tiny: BackboneFile) -> None:
    assert {tuple(read_provenance(p).limits.items()) for p in list_parts(store)} == {
        (("max_bytes", 1_000_000_000), ("max_pixels", 100_000))
    }
    make_photo(photos / "cats" / "larger.png", 78, (400, 300))  # 120,000 pixels
    make_photo(photos / "cats" / "second.png", 79, (320, 200))
    summary = extract(photos, store, backbone=tiny.path)
    assert (summary.extracted, summary.failed) == (1, {"too_large": 1})
    raised = extract(photos, store, backbone=tiny.path, limits=Limits(max_pixels=120_000), retry_failed=True)
    assert (raised.extracted, raised.failed) == (1, {})
    # Two limits in one part: the wider one is what its rows were taken in with.
    part = next(p for p in list_parts(store) if "cats/larger.png" in parts.read_part(p, ["id"])["id"].to_pylist())
    assert read_provenance(part).limits["max_pixels"] == 120_000
    assert Backbone.for_store(read_provenance(part), tiny.path).limits == Limits(max_pixels=120_000)


def test_the_command_line_has_the_stores_limits_unless_told(store: Path, photos: Path, tiny: BackboneFile) -> None:
    make_photo(photos / "cats" / "larger.png", 78, (400, 300))
    options = ("-o", store, "--backbone", tiny.path, "--retry-failed", "--quiet")
    assert run_cli("extract", photos, *options).returncode == 0
    assert FeatureStore.open(store).error_counts() == {"too_large": 1}
    assert run_cli("extract", photos, *options, "--max-pixels", "200000").returncode == 0
    assert FeatureStore.open(store).error_counts() == {}
    # What is not given stays the store's.
    make_photo(photos / "cats" / "largest.png", 79, (500, 300))
    assert run_cli("extract", photos, *options, "--max-bytes", "900000000").returncode == 0
    assert FeatureStore.open(store).error_counts() == {}
    assert read_provenance(list_parts(store)[-1]).limits == {"max_pixels": 200_000, "max_bytes": 900_000_000}


def test_a_first_run_records_the_default(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    extract(photos, tmp_path / "plain", backbone=tiny.path)
    assert read_provenance(list_parts(tmp_path / "plain")[0]).limits == DEFAULT


@pytest.mark.parametrize("known", [True, False])
def test_a_photo_taken_in_with_a_raised_limit_is_right(
    store: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not known:
        forget_limits(store)
    # Today's default is lower than what the store was made with.
    monkeypatch.setattr(Limits.__init__, "__defaults__", (10_000, 1_000_000_000))
    report = verify(store, sample=100)
    assert (report.sampled, report.wrong, report.unchecked) == (21, {}, {})


@pytest.mark.parametrize("known", [True, False])
def test_a_repair_computes_it_again_within_the_stores_limits(
    store: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = by_id(store)
    other = swap_vectors(large_part(store), of="cats/large.png")
    if not known:
        forget_limits(store)
    monkeypatch.setattr(Limits.__init__, "__defaults__", (10_000, 1_000_000_000))
    report = verify(store, sample=100, repair=True)
    assert set(report.wrong) == {other, "cats/large.png"}
    opened = FeatureStore.open(store)
    assert opened.error_counts() == {}
    assert by_id(store) == before


def test_without_known_limits_no_vector_becomes_an_error(store: Path, photos: Path) -> None:
    """The rules of decoding may have been others, too: what does not decode today is told and kept."""
    path = photos / "cats" / "03.jpg"
    stored = FeatureStore.open(store).select(ids=["cats/03.jpg"]).vectors()
    path.write_bytes(path.read_bytes()[:400])
    part = next(p for p in list_parts(store) if "cats/03.jpg" in parts.read_part(p, ["id"])["id"].to_pylist())
    table = parts.read_part(part)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    ids, hashes = table["id"].to_pylist(), table["content_hash"].to_pylist()
    hashes[ids.index("cats/03.jpg")] = digest
    at = table.schema.get_field_index("content_hash")
    parts.write_part(table.set_column(at, "content_hash", pa.array(hashes)), part, replace=True)
    report = verify(store, sample=100)
    assert list(report.wrong) == ["cats/03.jpg"]
    assert report.wrong["cats/03.jpg"].startswith("Its input does not decode: ")
    forget_limits(store)
    report = verify(store, sample=100, repair=True)
    assert (report.wrong, list(report.unchecked), report.fine) == ({}, ["cats/03.jpg"], True)
    np.testing.assert_array_equal(FeatureStore.open(store).select(ids=["cats/03.jpg"]).vectors(), stored)


@pytest.mark.parametrize(
    "limits", [{"max_pixels": 5}, {"max_pixels": 0, "max_bytes": 1}, {"max_pixels": "9", "max_bytes": 1}]
)
def test_broken_limits_are_refused(store: Path, limits: dict[str, int]) -> None:
    path = list_parts(store)[0]
    table = parts.read_part(path)
    values = {"format": FORMAT, **read_provenance(path).to_dict(), "limits": limits}
    metadata = {METADATA_KEY: json.dumps(values).encode()}
    parts.write_part(table.replace_schema_metadata(metadata), path, replace=True)
    with pytest.raises(StoreError, match=r"part-000000\.parquet is damaged: 'limits(\.max_pixels)?' cannot be"):
        FeatureStore.open(store)
