"""Boxes in pictures, one row each: as COCO, a table and YOLO say them, against Pillow's crop."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fxengine import Backbone, FeatureStore, duplicates, extract, predict, search, verify
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import collect
from fxengine.collect.boxes import BoxListing
from fxengine.collect.item import Crop
from fxengine.decode.limits import Limits
from fxengine.decode.picture import crop
from fxengine.errors import InputError
from fxengine.ui.pages.html import stored_inputs
from tests.places import in_zip

Boxes = Sequence[tuple[str, int, int, int, int, str]]

# (picture, x, y, width, height, label) in photos of 60 x 48 pixels
BOXES = [
    ("cats/01.jpg", 6, 6, 24, 12, "ear"),
    ("cats/01.jpg", 30, 12, 30, 36, "tail"),
    ("dogs/00.jpg", 0, 0, 60, 48, "all"),
]


def in_coco(photos: Path, boxes: Boxes) -> Path:
    names, labels = sorted({box[0] for box in boxes}), sorted({box[5] for box in boxes})
    facts = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(labels)],
        "annotations": [
            {"id": n, "image_id": names.index(box[0]), "bbox": box[1:5], "category_id": labels.index(box[5])}
            for n, box in enumerate(boxes)
        ],
    }
    path = photos.parent / "boxes.json"
    path.write_text(json.dumps(facts))
    return path


def in_csv(photos: Path, boxes: Boxes) -> Path:
    path = photos.parent / "boxes.csv"
    path.write_text("path,x,y,width,height,label\n" + "".join(",".join(map(str, box)) + "\n" for box in boxes))
    return path


def in_yolo(photos: Path, boxes: Boxes) -> Path:
    folder, labels = photos.parent / "labels", sorted({box[5] for box in boxes})
    (folder.parent / "data.yaml").write_text(
        "path: .\nnames:\n" + "".join(f"  {i}: {n}\n" for i, n in enumerate(labels))
    )
    for name, x, y, width, height, label in boxes:
        path = (folder / name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        centre = (x + width / 2) / 60, (y + height / 2) / 48
        with path.open("a") as out:
            out.write(f"{labels.index(label)} {centre[0]} {centre[1]} {width / 60} {height / 48}\n")
    return folder


WAYS: dict[str, Callable[[Path, Boxes], Path]] = {
    "coco": in_coco,
    "csv": in_csv,
    "yolo": in_yolo,
}
ways = pytest.mark.parametrize("way", sorted(WAYS))


@ways
def test_a_row_is_the_vector_of_the_crop(photos: Path, tmp_path: Path, tiny: BackboneFile, way: str) -> None:
    boxes, store = WAYS[way](photos, BOXES), tmp_path / "store"
    summary = extract(photos, store, backbone=tiny.path, boxes=boxes)
    assert (summary.extracted, summary.failed) == (3, {})
    rows = FeatureStore.open(store).rows(["id", "label", "width", "height"]).to_pylist()
    by_label = {row["label"]: row for row in rows}
    assert {label: (row["width"], row["height"]) for label, row in by_label.items()} == {
        "ear": (24, 12),
        "tail": (30, 36),
        "all": (60, 48),
    }
    if way != "yolo":
        assert by_label["ear"]["id"] == "cats/01.jpg#xywh=6,6,24,12"
    crops = []
    for name, x, y, width, height, _ in BOXES:
        pixels = np.asarray(Image.open(photos / name).convert("RGB"))
        crops.append(np.ascontiguousarray(pixels[y : y + height, x : x + width]))
    expected = Backbone.load(tiny.path).embed(crops)
    found = FeatureStore.open(store).select(ids=[by_label[box[5]]["id"] for box in BOXES]).vectors(dtype="float32")
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)

    assert extract(photos, store, backbone=tiny.path).unchanged == 3  # by the store's own boxes
    report = verify(store, sample=3, backbone=tiny.path)
    assert (report.sampled, report.changed, report.wrong) == (3, [], {})
    ids = [row["id"] for row in rows]
    assert search(store, [photos / ids[0]], backbone=tiny.path, k=1).answers[0].neighbours[0].id == ids[0]
    assert "base64," in stored_inputs(str(store), str(photos), ids).draw(ids[0], "")
    assert duplicates(store).kinds.get("identical", 0) == 0
    assert [p.id for p in predict(photos, backbone=tiny.path, boxes=boxes).predictions] == ids


def test_boxes_outside_empty_or_tiny_are_rows_with_a_reason(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    name = "cats/01.jpg"
    odd = [(name, 70, 0, 20, 20, "a"), (name, 5, 5, 0, 9, "b"), (name, 5, 5, 9, 30, "c"), (name, -5, -5, 30, 30, "d")]
    summary = extract(photos, tmp_path / "store", backbone=tiny.path, boxes=in_coco(photos, [*odd, *BOXES]))
    assert summary.failed == {"bad_box": 3}
    failed = {row["id"].rpartition("=")[2]: row["error"] for row in FeatureStore.open(tmp_path / "store").errors()}
    assert failed == {
        "70,0,20,20": "The box is outside of the picture, which is 60 x 48.",
        "5,5,0,9": "The box is empty.",
        "5,5,9,30": "The box has 9 x 30 pixels: under 10 tell nothing.",
    }


def test_margin_missing_pictures_and_a_container(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    boxes = in_csv(photos, [BOXES[0], ("cats/gone.jpg", 0, 0, 20, 20, "x")])
    listing = collect(photos, boxes=boxes, margin=0.5)
    (item,) = listing
    assert item.key == "cats/01.jpg#xywh=-6,0,48,24"
    assert isinstance(listing, BoxListing)
    assert listing.absent == f"1 picture that {boxes} names is not there: cats/gone.jpg"
    box = in_zip(photos, tmp_path / "a.zip")
    table = in_csv(photos, [("a.zip/cats/01.jpg", 6, 6, 24, 12, "ear")])
    assert extract(box, tmp_path / "store", backbone=tiny.path, boxes=table).extracted == 1
    assert FeatureStore.open(tmp_path / "store").provenance.containers


def test_a_picture_is_decoded_once_for_its_boxes(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, counted, decoded = (photos / "cats/01.jpg").read_bytes(), [0], crop._decoded

    def counting(given: bytes, limits: Limits) -> np.ndarray:
        counted[0] += 1
        return decoded(given, limits)

    monkeypatch.setattr(crop, "_decoded", counting)
    crop._pictures.clear()
    for region in ("0,0,20,20", "10,10,20,20", "percent:0,0,50,50"):
        crop.crop_of(Crop(bytes(bytearray(data)), region), Limits())
    assert counted == [1]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.json", "{}", "is no COCO file"),
        ("x.json", '{"images": [], "annotations": []}', "holds no boxes"),
        ("x.csv", "path,label\na.jpg,x\n", "needs the columns path, x, y, width and height"),
        ("x.csv", "path,x,y,w,h\na.jpg,1,2,nan,4\n", "Record 0 .* has no box"),
        ("gone.csv", None, "There is no file of boxes"),
    ],
)
def test_what_is_no_file_of_boxes_is_refused(
    photos: Path, tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        collect(photos, boxes=tmp_path / name)


def test_boxes_of_pictures_that_are_gone_are_named_and_pruned(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    boxes, store = in_csv(photos, [*BOXES, ("cats/03.jpg", 0, 0, 20, 20, "x")]), tmp_path / "store"
    with pytest.raises(InputError, match=r"no box to extract .*: 3 pictures that .* are not there: cats/01"):
        extract(photos / "dogs", tmp_path / "other", backbone=tiny.path, boxes=boxes)
    extract(photos, store, backbone=tiny.path, boxes=boxes)
    (photos / "cats" / "03.jpg").unlink()
    summary = extract(photos, store, backbone=tiny.path, prune=True, yes=True)
    assert (summary.pruned, summary.unchanged) == (1, 3)
    assert summary.absent == f"1 picture that {boxes} names is not there: cats/03.jpg"
    assert summary.unreadable_folders == []
