"""Photos in containers through everything that reads a row's input again, and through a run that is killed."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fxengine import FeatureStore, duplicates, extract, predict, search, verify
from fxengine.backbones.spec import BackboneFile
from fxengine.features.parts import list_parts
from fxengine.features.texts import texts_of
from fxengine.ui.pages.html import stored_inputs
from tests.conftest import PATIENCE
from tests.places import MAKERS, in_parquet, in_tar, in_zip, photos_in, tar_of

containers = pytest.mark.parametrize("name", sorted(MAKERS))
RUN = (
    "import sys; from fxengine import extract\n"
    "print('ready', flush=True)\n"
    "extract(sys.argv[1], sys.argv[2], backbone=sys.argv[3], part_rows=4, decoders=1, frames=sys.argv[4] or None)"
)


def vectors_by_id(store: Path) -> tuple[list[str], np.ndarray]:
    opened = FeatureStore.open(store)
    return opened.rows(["id"])["id"].to_pylist(), opened.vectors()


def goes_on_after_a_kill(inputs: Path, tmp_path: Path, backbone: BackboneFile, frames: str | None = None) -> None:
    """Kill a run once a part is there; the next one must come to the rows of one that nobody killed."""
    store, reference = tmp_path / "store", tmp_path / "reference"
    extract(inputs, reference, backbone=backbone.path, frames=frames, part_rows=4)
    command = [sys.executable, "-c", RUN, str(inputs), str(store), str(backbone.path), frames or ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + PATIENCE
        while not (store.exists() and list_parts(store)) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.002)
        process.kill()
    known = len(FeatureStore.open(store))
    assert known >= 4
    assert extract(inputs, store, backbone=backbone.path, part_rows=4).unchanged == known
    rows, expected = (FeatureStore.open(each).rows().to_pylist() for each in (store, reference))
    assert rows == expected
    np.testing.assert_array_equal(vectors_by_id(store)[1], vectors_by_id(reference)[1])


@containers
def test_rows_are_those_of_the_folder_and_are_read_again_everywhere(
    photos: Path, tmp_path: Path, tiny: BackboneFile, name: str
) -> None:
    path = MAKERS[name](photos, tmp_path / name)
    extract(photos, tmp_path / "folder", backbone=tiny.path)
    summary = extract(path, tmp_path / "store", backbone=tiny.path)
    assert (summary.extracted, summary.failed) == (20, {})
    _, expected = vectors_by_id(tmp_path / "folder")
    ids, vectors = vectors_by_id(tmp_path / "store")
    np.testing.assert_array_equal(vectors, expected)
    assert extract(path, tmp_path / "store", backbone=tiny.path).unchanged == 20

    report = verify(tmp_path / "store", sample=20, backbone=tiny.path)
    assert (report.sampled, report.changed, report.wrong) == (20, [], {})
    asked = search(tmp_path / "store", [tmp_path / ids[3]], backbone=tiny.path, k=1)
    assert asked.answers[0].neighbours[0].id == ids[3]
    answers = predict(path, backbone=tiny.path, top=1).predictions
    of_folder = predict(photos, backbone=tiny.path, top=1).predictions
    assert [p.probabilities for p in answers] == [p.probabilities for p in of_folder]

    drawn = stored_inputs(str(tmp_path / "store"), str(tmp_path), ids).draw(ids[5], "a photo")
    shown = re.search(r"base64,([^\"]+)", drawn)
    assert shown is not None
    original = np.asarray(Image.open(photos_in(photos)[5]).convert("RGB"), np.float64)
    thumbnail = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown[1]))), np.float64)
    assert np.abs(thumbnail - original).mean() < 12  # JPEG twice


@containers
def test_copies_in_a_container_are_proved_by_their_pixels(
    photos: Path, tmp_path: Path, tiny: BackboneFile, name: str
) -> None:
    first = photos_in(photos)[0]
    (first.parent / "copy.jpg").write_bytes(first.read_bytes())
    extract(MAKERS[name](photos, tmp_path / name), tmp_path / "store", backbone=tiny.path)
    found = duplicates(tmp_path / "store")
    assert found.kinds["identical"] == 1


def test_an_update_opens_containers_where_the_store_was_made_so(
    photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    box = tmp_path / "box"
    box.mkdir()
    in_tar(photos, box / "a.tar")
    extract(box, tmp_path / "store", backbone=tiny.path, containers=True)
    in_zip(photos / "cats", box / "b.zip")
    again = extract(box, tmp_path / "store", backbone=tiny.path)
    assert (again.unchanged, again.extracted, again.missing) == (20, 10, 0)
    assert FeatureStore.open(tmp_path / "store").provenance.containers
    (box / "a.tar").rename(box / "c.tar")
    moved = extract(box, tmp_path / "store", backbone=tiny.path)
    assert (moved.moved, moved.extracted, moved.missing) == (20, 0, 0)


def test_a_store_of_a_folder_is_as_before(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    in_parquet(photos, photos / "x.parquet")
    summary = extract(photos, tmp_path / "store", backbone=tiny.path)
    assert summary.failed == {"unsupported_format": 1}
    assert "containers" not in FeatureStore.open(tmp_path / "store").provenance.to_dict()


@containers
def test_a_killed_run_goes_on_to_the_rows_of_one_that_was_not(
    photos: Path, tmp_path: Path, tiny: BackboneFile, name: str
) -> None:
    goes_on_after_a_kill(MAKERS[name](photos, tmp_path / name), tmp_path, tiny)


@pytest.mark.parametrize("container", ["a.zip", "a.tar"])
@pytest.mark.parametrize("table", ["t.csv", "t.jsonl", "t.parquet"])
def test_a_table_of_texts_in_a_container_gives_the_rows_of_the_table(
    tmp_path: Path, tiny_texts: BackboneFile, container: str, table: str
) -> None:
    texts = [f"text number {i}" for i in range(5)]
    if table == "t.csv":
        (tmp_path / table).write_text("text\n" + "".join(f"{text}\n" for text in texts))
    elif table == "t.jsonl":
        (tmp_path / table).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    else:
        pq.write_table(pa.table({"text": texts}), tmp_path / table)
    if container == "a.zip":
        with zipfile.ZipFile(tmp_path / container, "w") as out:
            out.write(tmp_path / table, f"in/{table}")
    else:
        tar_of(tmp_path / container, [(f"in/{table}", (tmp_path / table).read_bytes())])
    inside, store = tmp_path / container / "in" / table, tmp_path / "store"
    extract(tmp_path / table, tmp_path / "plain", backbone=tiny_texts.path)
    assert extract(inside, store, backbone=tiny_texts.path).extracted == 5
    ids, vectors = vectors_by_id(store)
    expected = vectors_by_id(tmp_path / "plain")
    assert ids == expected[0]
    np.testing.assert_array_equal(vectors, expected[1])
    assert extract(inside, store, backbone=tiny_texts.path).unchanged == 5
    report = verify(store, sample=5, backbone=tiny_texts.path)
    assert (report.sampled, report.changed, report.wrong) == (5, [], {})
    assert texts_of(FeatureStore.open(store), ids) == dict(zip(ids, texts, strict=True))
