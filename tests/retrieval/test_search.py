from __future__ import annotations

import io
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from fxengine import FeatureStore, InputError, StoreError, extract
from fxengine.backbones import cache
from fxengine.backbones.cache import write_backbone
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import DecodeError
from fxengine.neighbours.index_store import index
from fxengine.pipeline.embed import Backbone
from fxengine.retrieval.search import search
from tests.conftest import make_photo, tiny_model


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> Path:
    extract(photos, tmp_path / "store", backbone=tiny.path)
    return tmp_path / "store"


def test_a_stored_picture_finds_itself_first(store: Path, photos: Path, tiny: BackboneFile) -> None:
    report = search(store, photos / "cats" / "03.jpg", k=4, backbone=tiny.path)
    near = report.answers[0].neighbours
    assert (near[0].id, near[0].label) == ("cats/03.jpg", "cats")
    assert near[0].score == pytest.approx(1, abs=1e-3)
    opened = FeatureStore.open(store)
    unit = opened.vectors(normalize=True, dtype="float64")
    ids = opened.ids()
    assert [n.id for n in near] == [ids[i] for i in np.argsort(-(unit @ unit[ids.index("cats/03.jpg")]))[:4]]
    assert (report.rows, report.method, report.warning, report.root) == (20, "exact", None, str(photos))
    assert min(report.open_ms, report.embed_ms, report.search_ms) > 0


def test_every_kind_of_query(store: Path, photos: Path, tiny: BackboneFile, tmp_path: Path) -> None:
    opened = FeatureStore.open(store)
    ids, vectors = opened.ids(), opened.vectors(dtype="float32")
    np.save(tmp_path / "v.npy", vectors[:2])
    report = search(
        store,
        [photos / "cats", str(tmp_path / "v.npy")],
        id="dogs/04.jpg",
        plus=photos / "cats/01.jpg",
        k=3,
        backbone=tiny.path,
    )
    first = {answer.query: answer.neighbours[0].id for answer in report.answers}
    assert len(report.answers) == 10 + 2 + 1 + 1
    assert first[str(photos / "cats/07.jpg")] == "cats/07.jpg"
    assert first[f"{tmp_path / 'v.npy'}[1]"] == ids[1]
    assert first[f"+{photos / 'cats/01.jpg'}"] == "cats/01.jpg"
    by_id = report.answers[-1]
    assert (by_id.query, len(by_id.neighbours)) == ("dogs/04.jpg", 3)
    assert "dogs/04.jpg" not in {n.id for n in by_id.neighbours}
    pictures = [answer.picture for answer in report.answers]
    assert pictures[-1] == str(photos / "dogs/04.jpg")
    assert sum(picture is None for picture in pictures) == 3
    assert report.table.num_rows == 14 * 3


def test_plus_and_minus_are_sums_of_unit_vectors(store: Path, photos: Path, tiny: BackboneFile) -> None:
    paths = [photos / "cats/01.jpg", photos / "dogs/02.jpg", photos / "dogs/04.jpg"]
    unit = Backbone.load(tiny.path).embed(paths)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    wanted = unit[0] + unit[1] - unit[2]
    opened = FeatureStore.open(store)
    scores = opened.vectors(normalize=True) @ (wanted / np.linalg.norm(wanted))
    report = search(store, plus=paths[:2], minus=paths[2], k=5, backbone=tiny.path)
    near = report.answers[0].neighbours
    assert [n.id for n in near] == [opened.ids()[i] for i in np.argsort(-scores)[:5]]
    np.testing.assert_allclose([n.score for n in near], np.sort(scores)[::-1][:5], atol=1e-3)


def test_filter_and_least_score_leave_out_the_rest(store: Path, photos: Path, tiny: BackboneFile) -> None:
    query = photos / "cats/03.jpg"
    report = search(store, query, where="label == 'dogs' and width >= 60", backbone=tiny.path)
    assert (report.rows, len(report.answers[0].neighbours)) == (10, 10)
    assert {n.label for n in report.answers[0].neighbours} == {"dogs"}
    everything = search(store, query, k=20, backbone=tiny.path).answers[0].neighbours
    least = everything[4].score
    some = search(store, query, k=20, min_score=least, backbone=tiny.path).answers[0].neighbours
    assert [n.id for n in some] == [n.id for n in everything[:5]]


def test_the_index_answers_while_it_is_true_to_the_store(store: Path, photos: Path, tiny: BackboneFile) -> None:
    query = photos / "cats/03.jpg"
    index(store)
    report = search(store, query, backbone=tiny.path)
    assert report.method.startswith("Flat, recall@10 100.0% (100.0% to 100.0%, 2 held-out rows)")
    assert search(store, query, metric="l2", backbone=tiny.path).warning == "The index is by cosine: searched exactly."
    make_photo(photos / "cats" / "new.jpg", 99)
    extract(photos, store, backbone=tiny.path)
    report = search(store, photos / "cats/new.jpg", backbone=tiny.path)
    assert report.warning is not None
    assert "has changed since it was indexed: searched exactly. `fxengine index" in report.warning
    assert (report.method, report.answers[0].neighbours[0].id) == ("exact", "cats/new.jpg")
    assert index(store).done == "updated"
    assert search(store, photos / "cats/new.jpg", backbone=tiny.path).warning is None


def test_the_backbone_of_the_space_comes_from_its_file_or_the_cache(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    store, model = tmp_path / "s", tmp_path / "model.onnx"
    write_backbone(tiny_model(), model)
    monkeypatch.chdir(tmp_path)
    extract(photos, store, backbone="model.onnx")
    monkeypatch.chdir(photos)
    query = photos / "cats" / "03.jpg"
    assert search(store, query, k=1).answers[0].neighbours[0].id == "cats/03.jpg"
    model.unlink()
    with pytest.raises(InputError, match=r"neither in the cache nor made by a fresh export.*`backbone`"):
        search(store, query)
    cache.keep(tiny_model(), "tiny-test")
    assert search(store, query, k=1).answers[0].neighbours[0].id == "cats/03.jpg"


def test_another_backbone_is_refused(store: Path, photos: Path, tmp_path: Path) -> None:
    write_backbone(tiny_model(scale=2.0), tmp_path / "other.onnx")
    with pytest.raises(InputError, match=r"makes features of space .*; asked for is"):
        search(store, photos / "cats" / "03.jpg", backbone=tmp_path / "other.onnx")


def test_what_cannot_be_searched(store: Path, photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.npy").write_text("no")
    np.save(tmp_path / "short.npy", np.ones((2, 3), np.float32))
    np.save(tmp_path / "nan.npy", np.full((1, 8), np.nan))
    with pytest.raises(DecodeError, match=r"bad\.jpg: The file is empty\."):
        search(store, tmp_path / "bad.jpg", backbone=tiny.path)
    for path, message in {
        "empty": "holds no picture",
        "no.npy": "is no .npy file of numbers",
        "short.npy": r"holds float32 \[2, 3\]; a query must be floating-point \[n, 8\]",
        "nan.npy": "not a finite number",
        "none.npy": "There is no file",
    }.items():
        with pytest.raises(InputError, match=message):
            search(store, tmp_path / path, backbone=tiny.path)
    with pytest.raises(InputError, match="Nothing is asked for"):
        search(store)
    with pytest.raises(StoreError, match=r"has no vector for 'cats/none.jpg'"):
        search(store, id="cats/none.jpg")
    for k, message in {
        0: r"`k` must be at least 1\. Got 0\.",
        21: r"`k` must be between 1 and 20, the rows of .* Got 21\.",
    }.items():
        with pytest.raises(InputError, match=message):
            search(store, id="cats/03.jpg", k=k)
    with pytest.raises(InputError, match=r"there is no column 'colour'. There is: row, id, label, split"):
        search(store, id="cats/03.jpg", where="colour == 'red'")
    with pytest.raises(InputError, match="leaves none of the 20 rows"):
        search(store, id="cats/03.jpg", where="width > 5000")
    with pytest.raises(StoreError, match="is no feature store"):
        search(photos, photos / "cats" / "03.jpg")


def test_embed_takes_every_kind_of_picture(photos: Path, tiny: BackboneFile) -> None:
    net = Backbone.load(tiny.path)
    path = photos / "cats" / "03.jpg"
    data = path.read_bytes()
    opened, from_memory, loaded = Image.open(path), Image.open(io.BytesIO(data)), Image.open(path)
    loaded.load()
    kinds = [path, str(path), data, bytearray(data), memoryview(data), opened, from_memory, loaded, np.asarray(loaded)]
    found = net.embed(kinds, batch_size=2)
    assert found.shape == (len(kinds), net.dim)
    assert found.dtype == np.float32
    for vector in found[1:-2]:
        np.testing.assert_array_equal(vector, found[0])
    for vector in found[-2:]:  # libjpeg-turbo by two ways
        np.testing.assert_allclose(vector, found[0], atol=2e-2)
    np.testing.assert_array_equal(net.embed(iter(kinds), batch_size=2), found)
    np.testing.assert_array_equal(net.embed({path: 1}), found[:1])
    np.testing.assert_array_equal(net.embed(np.stack([np.asarray(loaded)] * 3)), found[[-1] * 3])
    assert net.embed([]).shape == net.embed(iter(())).shape == (0, 8)
    for single in (path, str(path), data, loaded):
        with pytest.raises(InputError, match="takes a list"):
            net.embed(single)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"uint8 \[height, width, 3\]. Got float64 \[3, 3\]"):
        net.embed([np.ones((3, 3))])
    with pytest.raises(InputError, match=r"Got uint8 \[0, 4, 3\]"):
        net.embed([np.ones((0, 4, 3), np.uint8)])
    with pytest.raises(InputError, match="Got int"):
        net.embed([3])
    for size in (-1, "4"):
        with pytest.raises(InputError, match="`batch_size` must be "):
            net.embed([path], batch_size=size)  # type: ignore[arg-type]
    with pytest.raises(DecodeError, match=r"picture 2: The file is empty\."):
        net.embed(iter([path, path, b""]), batch_size=2)


def test_a_large_photo_gives_one_vector_whichever_way_it_comes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).resize((2400, 1800), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "large.jpg"
    pixels.save(path, quality=90, exif=exif)
    net = Backbone.load()
    loaded = Image.open(path)
    loaded.load()
    upright = np.asarray(ImageOps.exif_transpose(loaded))
    of_path, of_bytes, of_opened, of_loaded, of_array = net.embed(
        [path, path.read_bytes(), Image.open(path), loaded, upright]
    )
    np.testing.assert_array_equal(of_bytes, of_path)
    np.testing.assert_array_equal(of_opened, of_path)
    for other in (of_loaded, of_array):
        assert other @ of_path / np.linalg.norm(other) / np.linalg.norm(of_path) > 0.999


def test_a_changed_image_is_what_it_is_now(photos: Path, tiny: BackboneFile) -> None:
    net = Backbone.load(tiny.path)
    path = photos / "cats" / "03.jpg"
    changed = Image.open(path)
    changed.paste((255, 255, 255), (0, 0, *changed.size))
    white = np.full((50, 50, 3), 255, np.uint8)
    np.testing.assert_allclose(net.embed([changed])[0], net.embed([white])[0], atol=1e-5)
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(photos / "two.gif", save_all=True, append_images=frames[1:])
    second = Image.open(photos / "two.gif")
    second.seek(1)
    np.testing.assert_allclose(
        net.embed([second])[0], net.embed([np.full((40, 40, 3), (0, 0, 255), np.uint8)])[0], atol=1e-4
    )


def test_a_backbone_can_be_pickled(photos: Path, tiny: BackboneFile, tmp_path: Path) -> None:
    path = photos / "cats" / "03.jpg"
    extract(photos, tmp_path / "features", backbone=tiny.path, precision="fp32")
    of_store = FeatureStore.open(tmp_path / "features").provenance
    for net in (Backbone.load(tiny.path, batch_size=3), Backbone.for_store(of_store, tiny.path)):
        again = pickle.loads(pickle.dumps(net))
        assert again.file == net.file
        assert again.limits == net.limits
        np.testing.assert_array_equal(again.embed([path]), net.embed([path]))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(net.embed, [[path], [path]]))
    np.testing.assert_allclose(found[0], net.embed([path]), atol=1e-5)
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"query": None}, r"`query` must be a path \(text or pathlib\.Path\)\. Got None\."),
        ({"query": np.ones(8)}, r"`query` must be a path \(text or pathlib\.Path\)\. Got np\.float64\(1\.0\)\."),
        ({"plus": [5]}, r"`plus` must be a path .* Got 5\."),
        ({"id": 5}, r"`id` must be text or a list of texts\. Got 5\."),
        ({"k": "3"}, r"`k` must be a whole number\. Got '3'\."),
    ],
)
def test_what_no_query_can_be_is_said(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        search(tmp_path, **wrong)
