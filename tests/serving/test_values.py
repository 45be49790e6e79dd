"""What the page is told, against the library's own functions."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fxengine
from fxengine import FeatureStore, extract
from fxengine.heads.file import Head
from fxengine.serving import places
from fxengine.serving.opened import Opened
from fxengine.serving.pictures import Thumbnails
from fxengine.serving.serve import open_for_page
from tests.conftest import make_photo
from tests.pairs import tiny_pair
from tests.serving.conftest import Person, let_in


def _unpacked(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:4], "little")
    return json.loads(content[4 : 4 + length]), content[4 + length :]


def test_the_store_is_told(person: Person, looked_at: Path) -> None:
    about = person.get("/api/about")
    assert (about["rows"], about["vectors"], about["dim"]) == (26, 25, 8)
    assert about["labels"] == [{"name": "cats", "rows": 14}, {"name": "dogs", "rows": 12}]
    assert about["head"] == {"classes": ["cats", "dogs"], "predicts": "classes"}
    assert about["reports"] == ["page.html"]
    assert (about["words"], about["pictures"]) == (False, True)


def test_windows_are_the_store_in_its_order(person: Person, looked_at: Path) -> None:
    table = FeatureStore.open(looked_at / "store").rows()
    found = [
        row for first in range(0, 26, 10) for row in person.get("/api/rows", **{"from": first, "count": 10})["rows"]
    ]
    assert [row["id"] for row in found] == table["id"].to_pylist()
    assert [row["row"] for row in found] == table["row"].to_pylist()
    assert [row["label"] for row in found] == table["label"].to_pylist()
    broken = next(row for row in found if row["id"] == "cats/broken.jpg")
    assert broken["error"]
    assert "answer" not in broken


def test_filters_leave_what_they_say(person: Person) -> None:
    assert person.get("/api/rows", label="dogs", count=0)["total"] == 12
    assert person.get("/api/rows", where="label == 'cats' and error_code is None", count=0)["total"] == 13
    assert person.get("/api/rows", text="CATS/0", count=0)["total"] == 5
    assert person.get("/api/rows", label="dogs", text="cats", count=0)["total"] == 0
    picked = person.post("/api/picked", {"rows": [3, 5, 5]})
    assert picked["rows"] == 2
    assert {row["row"] for row in person.get("/api/rows", picked=picked["picked"])["rows"]} == {3, 5}


def test_orders_are_those_of_the_library(person: Person, looked_at: Path) -> None:
    mapped = fxengine.map(looked_at / "store").table
    outliers = mapped.sort_by([("outlier", "descending")])["id"].to_pylist()
    assert [row["id"] for row in person.get("/api/rows", sort="outlier")["rows"]][:25] == outliers
    predicted = fxengine.predict(looked_at / "store", model=looked_at / "head.onnx")
    sure = {each.id: each.probabilities[0] for each in predicted if each.error is None}
    rows = person.get("/api/rows", sort="probability")["rows"]
    assert [row["probability"] for row in rows[:25]] == pytest.approx(sorted(sure.values(), reverse=True), abs=1e-6)
    assert {row["id"]: row["probability"] for row in rows[:25]} == pytest.approx(sure, abs=1e-6)
    doubtful = person.get("/api/rows", sort="doubt")["rows"]  # of two classes the least sure
    assert [row["probability"] for row in doubtful[:25]] == pytest.approx(sorted(sure.values()), abs=1e-6)
    assert doubtful[25]["id"] == "cats/broken.jpg"
    assert person.get("/api/rows", where="probability < 0.7 and answer == 'cats'", count=0)["total"] == sum(
        each.probabilities[0] < 0.7 and each.labels[0] == "cats" for each in predicted if each.error is None
    )


def test_a_row_is_told_whole(person: Person, looked_at: Path) -> None:
    store = FeatureStore.open(looked_at / "store")
    row = person.get("/api/row/7")
    assert row["columns"]["id"] == row["id"]
    assert (row["columns"]["width"], row["columns"]["height"]) == (600, 480)
    said = Head.load(looked_at / "head.onnx").answers(store.select(ids=[row["id"]]).vectors(dtype="float32"))[0]
    assert {each["name"]: each["value"] for each in row["answers"]} == pytest.approx(
        dict(zip(["cats", "dogs"], said.tolist(), strict=True)), abs=1e-6
    )
    near = fxengine.search(looked_at / "store", id=row["id"], k=12).answers[0].neighbours
    assert [each["id"] for each in row["neighbours"]] == [each.id for each in near]
    assert [each["score"] for each in row["neighbours"]] == pytest.approx([each.score for each in near], abs=1e-6)


def test_a_search_is_that_of_the_library(person: Person, looked_at: Path) -> None:
    store, photos = looked_at / "store", looked_at / "photos"
    ids = {row["row"]: row["id"] for row in person.get("/api/rows")["rows"]}
    content = (photos / "dogs" / "04.jpg").read_bytes()
    brought = person.client.post("/api/picture", content=content, headers=person.own()).json()["picture"]
    found = person.post("/api/search", {"plus": [{"picture": brought}]})
    wanted = fxengine.search(store, photos / "dogs" / "04.jpg", k=25).answers[0].neighbours
    assert [each["id"] for each in found["rows"]] == [each.id for each in wanted]
    assert found["rows"][0]["id"] == "dogs/04.jpg"
    assert (found["method"], found["searched"], found["metric"]) == ("exact", 25, "cosine")

    first, second = (next(row for row, key in ids.items() if key == name) for name in ("cats/01.jpg", "dogs/00.jpg"))
    mixed = person.post("/api/search", {"plus": [{"row": first}, {"picture": brought}], "minus": [{"row": second}]})
    wanted = fxengine.search(
        store, plus=["cats/01.jpg", photos / "dogs" / "04.jpg"], minus="dogs/00.jpg", k=23
    ).answers[0].neighbours  # fmt: skip
    assert [each["id"] for each in mixed["rows"]] == [each.id for each in wanted]
    assert [each["score"] for each in mixed["rows"]] == pytest.approx([each.score for each in wanted], abs=1e-5)

    among = person.post("/api/search", {"plus": [{"row": first}], "label": "dogs", "where": "width > 10"})
    wanted = fxengine.search(store, id="cats/01.jpg", k=12, where="label == 'dogs'").answers[0].neighbours
    assert [each["id"] for each in among["rows"]] == [each.id for each in wanted]
    assert among["searched"] == 12


def test_pictures_are_found_by_words_where_the_net_is_of_a_pair(tmp_path: Path) -> None:
    tiny_pair(tmp_path)
    for i in range(12):
        make_photo(tmp_path / "photos" / f"{i:02d}.png", i)
    extract(tmp_path / "photos", tmp_path / "store", backbone=tmp_path / "tiny.image.onnx")
    person = let_in(open_for_page(tmp_path / "store", backbone=tmp_path / "tiny.text.onnx"))
    about = person.get("/api/about")
    assert (about["words"], about["pictures"]) == (True, True)
    assert person.get("/api/search/ready") in ({"ready": True}, {"ready": False})
    found = person.post("/api/search", {"plus": [{"text": "good dog"}]})
    wanted = fxengine.search(tmp_path / "store", text="good dog", k=12, backbone=tmp_path / "tiny.text.onnx")
    assert [each["id"] for each in found["rows"]] == [each.id for each in wanted.answers[0].neighbours]
    mixed = person.post("/api/search", {"plus": [{"text": "good dog"}, {"row": 3}], "minus": [{"text": "bad cat"}]})
    assert len(mixed["rows"]) == 11
    assert 3 not in {each["row"] for each in mixed["rows"]}


def test_the_map_is_that_of_the_library(person: Person, looked_at: Path) -> None:
    table = fxengine.map(looked_at / "store").table
    header, body = _unpacked(person.get("/api/map/places"))
    assert (header["points"], header["rows"]) == (25, 25)
    rows = np.frombuffer(body, "<f8", 25).astype(int)
    xy = np.frombuffer(body, "<f4", offset=200).reshape(25, 2)
    np.testing.assert_array_equal(xy, np.stack([table["x"], table["y"]], axis=1))
    store = FeatureStore.open(looked_at / "store").rows(["row", "id"]).to_pydict()
    number = dict(zip(store["id"], store["row"], strict=True))
    assert rows.tolist() == [number[key] for key in table["id"].to_pylist()]
    said, values = _unpacked(person.get("/api/map/colours", by="label"))
    names = [said["names"][int(i)] for i in np.frombuffer(values, "<f4")]
    assert names == table["label"].to_pylist()
    _, values = _unpacked(person.get("/api/map/colours", by="outlier"))
    np.testing.assert_allclose(np.frombuffer(values, "<f4"), table["outlier"])
    said, values = _unpacked(person.get("/api/map/colours", by="cluster"))
    clusters = fxengine.cluster(looked_at / "store", 10).table["cluster"].to_numpy()
    assert [int(said["names"][int(i)].split()[1]) for i in np.frombuffer(values, "<f4")] == clusters.tolist()
    said, kept = _unpacked(person.get("/api/map/kept", label="dogs"))
    assert (said["kept"], sum(kept)) == (12, 12)
    assert [key for key, is_kept in zip(table["label"].to_pylist(), kept, strict=True) if is_kept] == ["dogs"] * 12


def test_a_loop_picks_what_lies_within(person: Person, looked_at: Path) -> None:
    table = fxengine.map(looked_at / "store").table
    x, y = np.asarray(table["x"]), np.asarray(table["y"])
    corners = [float(np.median(x)), -9.0, 9.0, -9.0, 9.0, 9.0, float(np.median(x)), 9.0]
    right = int((x > np.median(x)).sum())
    found = person.post("/api/map/lasso", {"corners": corners})
    assert found["rows"] in (right, right + 1)
    assert person.get("/api/rows", picked=found["picked"], count=0)["total"] == found["rows"]
    both = person.post("/api/map/lasso", {"corners": corners, "label": "dogs"})
    assert both["rows"] == person.get("/api/rows", picked=found["picked"], label="dogs", count=0)["total"]
    for bad in ([], [0, 0, 1, 1], [0, 0, 1, 1, 2], [0, 0, 1, 1, "x", 2], [0, 0, 1, 1, 1e300, 2]):
        assert person.client.post("/api/map/lasso", json={"corners": bad}, headers=person.own()).status_code == 400
    assert y.shape == (25,)


def test_what_lies_within_is_what_matplotlib_says() -> None:
    from matplotlib.path import Path as Polygon

    rng = np.random.default_rng(3)
    points, corners = rng.normal(size=(4000, 2)), rng.normal(size=(5, 2))
    corners = corners[np.argsort(np.arctan2(*(corners - corners.mean(axis=0)).T))]  # one that does not cross itself
    np.testing.assert_array_equal(places.within(points, corners), Polygon(corners).contains_points(points))


def test_above_the_most_a_sample_is_drawn_and_a_loop_picks_all(
    looked_at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST", 10)
    looking = let_in(open_for_page(looked_at / "store"))
    header, body = _unpacked(looking.get("/api/map/places"))
    assert (header["points"], header["rows"], len(body)) == (10, 25, 10 * 16)
    assert looking.post("/api/map/lasso", {"corners": [-9, -9, 9, -9, 9, 9, -9, 9]})["rows"] == 25


def test_pictures_are_encoded_anew_and_kept(person: Person, opened: Opened, looked_at: Path) -> None:
    path = looked_at / "photos" / "dogs" / "02.jpg"
    row = person.get("/api/rows", text="dogs/02")["rows"][0]["row"]
    shown = Image.open(io.BytesIO(person.get(f"/thumb/{row}")))
    assert (shown.format, shown.size) == ("JPEG", (240, 192))
    judge = Image.open(path).resize(shown.size, Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(shown, int) - np.asarray(judge, int)).mean() < 6
    large = Image.open(io.BytesIO(person.get(f"/picture/{row}")))
    assert large.size == (600, 480)
    path.rename(path.with_suffix(".away"))
    try:
        assert person.get(f"/thumb/{row}")  # what is kept is shown while a disk is away
        assert person.client.get(f"/picture/{row}").status_code == 404
    finally:
        path.with_suffix(".away").rename(path)


def test_thumbnails_on_disk_are_bounded(tmp_path: Path) -> None:
    kept = Thumbnails(tmp_path, 10_000)
    for i in range(50):
        kept.keep(f"{i}.jpg", bytes(998) + b"\xff\xd9")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
    assert kept.find("49.jpg") is not None
    (tmp_path / "49.jpg").write_bytes(bytes(100))
    assert kept.find("49.jpg") is None  # half written
