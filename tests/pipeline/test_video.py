"""Frames of videos through everything that reads a row's input again, and through a run that is killed."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fxengine import Backbone, FeatureStore, duplicates, extract, predict, search, verify
from fxengine.backbones.spec import BackboneFile
from fxengine.decode.limits import Limits
from fxengine.errors import InputError
from fxengine.ui.pages.html import stored_inputs
from tests.pipeline.test_containers import goes_on_after_a_kill, vectors_by_id
from tests.places import in_tar
from tests.videos import every, frames_of, video_of

pytest.importorskip("av")


@pytest.fixture
def box(photos: Path, tmp_path: Path) -> Path:
    """A folder of two videos, the second of which a player turns."""
    folder = tmp_path / "box"
    folder.mkdir()
    video_of(photos, folder / "a.webm", every(24))
    video_of(photos, folder / "b.mp4", every(24), rotation=90)
    return folder


def test_rows_are_the_vectors_of_pyavs_frames_and_are_read_again_everywhere(
    box: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    path, store = box / "b.mp4", tmp_path / "store"
    summary = extract(path, store, backbone=tiny.path, frames="5/s")
    assert (summary.extracted, summary.failed) == (12, {})
    opened = FeatureStore.open(store)
    assert (opened.provenance.frames, opened.provenance.containers) == ("5/s", False)
    ids, vectors = vectors_by_id(store)
    assert ids == sorted((f"b.mp4#t={0.2 * n:.3f}" for n in range(12)), key=str.encode)
    rows = opened.rows(["width", "height", "size", "mtime_ns"]).to_pylist()
    stat = path.stat()
    assert {(*row.values(),) for row in rows} == {(64, 96, stat.st_size, stat.st_mtime_ns)}
    frames = [np.ascontiguousarray(pixels) for pixels in frames_of(path).values()][::2]
    np.testing.assert_allclose(vectors, Backbone.load(tiny.path).embed(frames), rtol=2e-3, atol=2e-3)
    assert extract(path, store, backbone=tiny.path).unchanged == 12  # by the store's own rule

    report = verify(store, sample=12, backbone=tiny.path)
    assert (report.sampled, report.changed, report.wrong) == (12, [], {})
    asked = search(store, [box / ids[3]], backbone=tiny.path, k=1)
    assert asked.answers[0].neighbours[0].id == ids[3]
    assert len(search(store, [path], backbone=tiny.path, k=1).answers) == 3  # its keyframes
    answers = predict(path, frames="5/s", backbone=tiny.path).predictions
    assert [answer.id for answer in answers] == ids
    drawn = re.search(r"base64,([^\"]+)", stored_inputs(str(store), str(box), ids).draw(ids[5], ""))
    assert drawn is not None
    thumbnail = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn[1]))), np.float64)
    assert np.abs(thumbnail - frames[5]).mean() < 12  # JPEG
    assert duplicates(store).kinds.get("unverified", 0) == 0


def test_a_frame_is_the_same_row_at_another_rate(box: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    store = tmp_path / "store"
    extract(box, store, backbone=tiny.path, frames="1/s")
    before = {row["id"]: row["row"] for row in FeatureStore.open(store).rows(["id", "row"]).to_pylist()}
    assert len(before) == 6
    more = extract(box, store, backbone=tiny.path, frames="every")
    assert (more.extracted, more.unchanged, more.missing) == (42, 6, 0)
    after = {row["id"]: row["row"] for row in FeatureStore.open(store).rows(["id", "row"]).to_pylist()}
    assert before.items() <= after.items()
    assert extract(box, store, backbone=tiny.path).unchanged == 48
    less = extract(box, store, backbone=tiny.path, frames="2/s", prune=True, yes=True)
    assert (less.unchanged, less.pruned) == (10, 38)


def test_a_video_that_is_renamed_keeps_its_vectors_without_being_decoded(
    box: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(box, tmp_path / "store", backbone=tiny.path, frames="every")
    (box / "a.webm").rename(box / "c.webm")
    monkeypatch.setattr("fxengine.collect.video.Video.read", None)
    moved = extract(box, tmp_path / "store", backbone=tiny.path)
    assert (moved.moved, moved.extracted, moved.missing) == (24, 0, 0)


def test_stores_of_today_keep_their_rows(photos: Path, box: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    in_tar(photos, box / "a.tar")
    assert extract(box, tmp_path / "files", backbone=tiny.path).failed == {"unsupported_format": 3}
    assert extract(box, tmp_path / "files", backbone=tiny.path).unchanged == 3
    assert "frames" not in FeatureStore.open(tmp_path / "files").provenance.to_dict()
    only = extract(box, tmp_path / "videos", backbone=tiny.path, frames="1/s")
    assert (only.extracted, only.failed) == (6, {"unsupported_format": 1})
    assert not FeatureStore.open(tmp_path / "videos").provenance.containers
    both = extract(box, tmp_path / "both", backbone=tiny.path, containers=True)
    assert (both.extracted, both.failed) == (26, {})
    assert FeatureStore.open(tmp_path / "both").provenance.frames == "keyframes"
    assert extract(box, tmp_path / "both", backbone=tiny.path).unchanged == 26


def test_a_store_with_containers_from_before_there_were_videos_goes_on_without(
    photos: Path, box: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_tar(photos, box / "a.tar")
    monkeypatch.setattr("fxengine.pipeline.job.usual_frames", lambda *_, **__: None)
    extract(box, tmp_path / "store", backbone=tiny.path, containers=True)
    monkeypatch.undo()
    again = extract(box, tmp_path / "store", backbone=tiny.path, containers=True)
    assert (again.unchanged, again.missing) == (22, 0)


def test_a_frame_over_the_limit_is_a_row(box: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    path = box / "a.webm"
    summary = extract(path, tmp_path / "store", backbone=tiny.path, limits=Limits(max_pixels=96 * 64 - 1))
    assert summary.failed == {"too_large": 3}
    assert {row["error"] for row in FeatureStore.open(tmp_path / "store").errors()} == {
        "96 x 64 pixels are 6144; `max_pixels` allows 6143."
    }
    (tmp_path / "boxes.csv").write_text("path,x,y,width,height\na.webm,0,0,20,20\n")
    with pytest.raises(InputError, match="`boxes` lie in pictures, `frames` in videos"):
        extract(box, tmp_path / "boxes", backbone=tiny.path, boxes=tmp_path / "boxes.csv", frames="1/s")


def test_a_killed_run_goes_on_to_the_rows_of_one_that_was_not(box: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    goes_on_after_a_kill(box, tmp_path, tiny, "every")
