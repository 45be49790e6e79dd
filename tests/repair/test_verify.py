"""Whose files a check of a store reads: those of folders that this user extracted from or named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from fxengine import InputError, extract
from fxengine import cache as kept
from fxengine.backbones import cache
from fxengine.backbones.spec import BackboneFile
from fxengine.features import parts
from fxengine.repair import inputs
from fxengine.repair.verify import verify
from fxengine.trust import was_named
from tests.conftest import make_photo, tiny_model
from tests.faults.test_parts import flip_in_vectors


@pytest.fixture
def received(photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of a user's, seen by another one; its second part is damaged."""
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "theirs"))
    extract(photos, tmp_path / "s", backbone=tiny.path, part_rows=10)
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "mine"))
    monkeypatch.setattr(kept, "_own", None)
    cache.keep(tiny_model(), "tiny-received")
    flip_in_vectors(parts.list_parts(tmp_path / "s")[1])
    return tmp_path / "s"


@pytest.mark.parametrize("asked", [{"sample": 3}, {"repair": True}])
def test_inputs_of_a_folder_that_nobody_named_are_not_read(
    received: Path, photos: Path, asked: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in received.iterdir()}
    monkeypatch.setattr(inputs, "stat_place", lambda *_: pytest.fail("an input was looked at"))
    said = f"The store says that its inputs lie in {photos}, from which you did not extract: .* as `pictures`"
    with pytest.raises(InputError, match=said):
        verify(received, **asked)  # type: ignore[arg-type]
    assert not was_named("root", str(photos))
    assert {path.name: path.read_bytes() for path in received.iterdir()} == before
    assert list(verify(received).bad_parts) == ["part-000001.parquet"]  # reads none of them


@pytest.mark.parametrize("named", [lambda photos: photos, lambda photos: photos.parent, lambda photos: photos / ".."])
def test_inputs_below_a_named_folder_are_read_from_then_on(
    received: Path, photos: Path, named: Callable[[Path], Path]
) -> None:
    report = verify(received, sample=20, repair=True, pictures=named(photos))
    assert report.repair is not None
    assert (report.sampled, report.repair.extracted) == (10, 10)
    assert verify(received, sample=20).fine


def test_ids_that_lead_elsewhere_are_not_followed(received: Path, photos: Path) -> None:
    secret = make_photo(photos.parent / "secret" / "private.jpg", 99)
    path, bad = parts.list_parts(received)
    bad.unlink()
    for key in ("../secret/private.jpg", f"{secret}", "cats/../../secret/private.jpg"):
        table = parts.read_part(path)
        ids = sorted([key, *table["id"].to_pylist()[1:]], key=str.encode)
        parts.write_part(table.set_column(1, table.schema.field(1), pa.array(ids)), path, replace=True)
        with pytest.raises(InputError, match=f"its inputs lie in {secret.parent}, from which"):
            verify(received, sample=20, pictures=photos)


def test_a_link_below_a_root_takes_no_id_out_of_it(received: Path, photos: Path) -> None:
    outside = photos.parent / "outside"
    shutil.copytree(photos / "cats", outside / "cats")
    make_photo(outside / "private.jpg", 99)
    (photos / "link").symlink_to(outside / "cats")
    path, bad = parts.list_parts(received)
    bad.unlink()
    table = parts.read_part(path)
    ids = sorted(["link/../private.jpg", *table["id"].to_pylist()[1:]], key=str.encode)
    parts.write_part(table.set_column(1, table.schema.field(1), pa.array(ids)), path, replace=True)
    report = verify(received, sample=20, pictures=photos)
    assert "link/../private.jpg" in report.changed  # PHOTOS/private.jpg, which is not there


def test_a_root_of_any_length_is_told_in_a_sentence(received: Path) -> None:
    path, bad = parts.list_parts(received)
    bad.unlink()
    hostile = replace(parts.read_provenance(path), root="/" + "x" * 1_000_000)
    parts.write_part(parts.read_part(path).replace_schema_metadata(hostile.to_metadata()), path, replace=True)
    with pytest.raises(InputError, match=r"`pictures`\.$") as raised:
        verify(received, sample=1)
    assert len(str(raised.value)) < 600


def test_what_names_no_folder_is_told(received: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no folder .*/nowhere, which `pictures` names"):
        verify(received, sample=1, pictures=tmp_path / "nowhere")
    assert not was_named("root", str(tmp_path / "nowhere"))
