"""Stores in a bucket, served by moto: every command answers as on the folder that they were copied from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

import fxengine
from fxengine import FeatureStore, Index
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError, StoreError
from fxengine.features.parts import is_store, list_parts
from fxengine.heads.file import Head
from fxengine.serving.serve import open_for_page
from fxengine.storage import open_bucket
from fxengine.ui.cli import main
from tests.buckets import NAME, Served, served, watched
from tests.conftest import make_photo
from tests.serving.conftest import let_in
from tests.stores import write_store

PLACE = f"s3://{NAME}/store"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch, served(patch) as found:
        yield found


@pytest.fixture(scope="module")
def folder(bucket: Served, tiny: BackboneFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 24 photos in four parts, one photo damaged; the same lies at PLACE."""
    made = tmp_path_factory.mktemp("made")
    for i in range(24):
        make_photo(made / "photos" / ("cats" if i % 2 else "dogs") / f"{i:02d}.jpg", i)
    (made / "photos" / "cats" / "bad.jpg").write_bytes(b"none")
    fxengine.extract(made / "photos", made / "store", backbone=tiny.path, part_rows=7)
    bucket.put_folder(made / "store", "store/")
    return made / "store"


Say = Callable[[str | Path, Path], Any]


def _dumped(store: str | Path, out: Path) -> Any:
    fxengine.dump(store, out / "rows.parquet")
    return pq.read_table(out / "rows.parquet").to_pylist()


def _predicted(store: str | Path, out: Path) -> Any:
    fxengine.probe(store, out / "head.onnx", head="ridge")
    return [(each.id, each.labels, each.probabilities) for each in fxengine.predict(store, model=out / "head.onnx")]


def _reduced(store: str | Path, out: Path) -> Any:
    report = fxengine.pca(store, out / "pca.onnx", dim=3, reduced=out / "reduced")
    return report.variances.tolist(), FeatureStore.open(out / "reduced").vectors().tolist()


def _found(store: str | Path, out: Path) -> Any:
    photo = Path(FeatureStore.open(store).provenance.root) / "cats" / "01.jpg"
    report = fxengine.search(store, photo, id="dogs/02.jpg", where="width > 10", k=5)
    return report.table.to_pylist(), report.method


SAID: dict[str, Say] = {
    "search": _found,
    "predict": _predicted,
    "probe": lambda store, out: fxengine.probe(store, head="logistic", folds=3).scores,
    "compare": lambda store, out: [each.score.mean for each in fxengine.compare([store], head="ridge").candidates],
    "mislabeled": lambda store, out: fxengine.mislabeled(store, head="ridge", folds=3).table.to_pylist(),
    "pca": _reduced,
    "duplicates": lambda store, out: fxengine.duplicates(store, threshold=0.9).table.to_pylist(),
    "cluster": lambda store, out: fxengine.cluster(store, 3).table.to_pylist(),
    "map": lambda store, out: fxengine.map(store, k=4).table.to_pylist(),
    "advise": lambda store, out: fxengine.advise(store).to_dict(),
    "dump": _dumped,
    "verify": lambda store, out: fxengine.verify(store, sample=5).to_dict(),
    "info": lambda store, out: {**fxengine.info(store).to_dict(), "path": ""},
    "errors": lambda store, out: FeatureStore.open(store).errors(),
    "rows": lambda store, out: FeatureStore.open(store).rows().to_pylist(),
    "selection": lambda store, out: FeatureStore.open(store).select(label="cats").vectors(dtype="float32").tolist(),
}


@pytest.mark.parametrize("name", SAID)
def test_a_command_says_of_a_bucket_what_it_says_of_a_folder(folder: Path, tmp_path: Path, name: str) -> None:
    said = []
    stores: tuple[str | Path, ...] = (folder, PLACE)
    for number, store in enumerate(stores):
        (tmp_path / str(number)).mkdir()
        said.append(SAID[name](store, tmp_path / str(number)))
    here, there = (json.dumps(each, sort_keys=True, default=str).replace(str(folder), PLACE) for each in said)
    assert there == re.sub(r"/0/", "/1/", here) if name == "advise" else there == here


def test_vectors_are_those_of_the_folder_to_the_bit(folder: Path) -> None:
    here, there = FeatureStore.open(folder), FeatureStore.open(PLACE)
    assert repr(there).startswith(f"FeatureStore('{PLACE}': 25 rows")
    np.testing.assert_array_equal(there.vectors(), here.vectors())
    np.testing.assert_array_equal(there.vectors(mmap=True), here.vectors(mmap=True))
    np.testing.assert_array_equal(there.vectors(normalize=True), here.vectors(normalize=True))
    there.vectors()[:] = 0  # is the caller's own
    np.testing.assert_array_equal(there.vectors(), here.vectors())
    for mine, other in zip(here.batches(3), there.batches(3), strict=True):
        assert mine.keys == other.keys
        np.testing.assert_array_equal(mine.vectors, other.vectors)


def test_without_a_cache_vectors_come_out_of_the_parts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxengine.features.read.kind_folder", lambda kind: tmp_path / "none")
    here, there = FeatureStore.open(folder), FeatureStore.open(PLACE)
    np.testing.assert_array_equal(there.vectors(), here.vectors())
    parts = (np.concatenate([table.vectors for table in store.batches(3)]) for store in (here, there))
    np.testing.assert_array_equal(next(parts), next(parts))


def test_texts_that_a_store_keeps_are_read(bucket: Served, tiny_texts: BackboneFile, tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\na red car\na blue car\na green tree\n")
    fxengine.extract(tmp_path / "texts.csv", tmp_path / "texts", backbone=tiny_texts.path, add_columns=["kept_text"])
    bucket.put_folder(tmp_path / "texts", "texts/")
    (tmp_path / "texts.csv").unlink()
    there = fxengine.search(f"s3://{NAME}/texts", id="texts.csv#000000001")
    assert [near.text for near in there.answers[0].neighbours] == [
        near.text for near in fxengine.search(tmp_path / "texts", id="texts.csv#000000001").answers[0].neighbours
    ]
    assert there.answers[0].neighbours[0].text is not None


def test_an_index_and_a_head_lie_beside_the_store(
    bucket: Served, folder: Path, tiny: BackboneFile, tmp_path: Path
) -> None:
    report = fxengine.index(PLACE, factory="Flat")
    try:
        assert (report.done, report.folder) == ("built", f"{PLACE}/_index")
        here, there = Index.build(folder, factory="Flat"), Index.load(PLACE)
        assert there.fresh
        query = FeatureStore.open(folder).vectors()[:3]
        assert there.search(query, 4).ids == here.search(query, 4).ids
        assert fxengine.index(PLACE).done == "unchanged"
        assert fxengine.search(PLACE, id="cats/01.jpg").method.startswith("Flat")
        with watched(bucket) as seen:
            fxengine.search(PLACE, id="cats/01.jpg")
        assert {path for _, path, _ in seen if "_index/" in path} == {f"/{NAME}/store/_index/index.json"}

        old = names(bucket, "store/_index/")
        fxengine.index(PLACE, factory="IVF2,Flat", rebuild=True)
        assert set(old) < set(names(bucket, "store/_index/"))  # who has just read the former one reads on
        fxengine.index(PLACE, factory="HNSW8,Flat", rebuild=True)
        assert len(names(bucket, "store/_index/")) == 4  # two of the one, one of the other, whose rows are the same
        assert fxengine.search(PLACE, id="cats/01.jpg").method.startswith("HNSW8")

        for each in names(bucket, "store/_index/"):
            if each.endswith(".faiss"):
                bucket.delete(each)
        for path in (Path(os.environ["FXENGINE_CACHE"]) / "vectors").glob("*.copy"):
            path.unlink()
        with pytest.raises(StoreError, match=rf"^{PLACE}/_index/index.faiss is damaged.*index {PLACE} --rebuild"):
            fxengine.search(PLACE, id="cats/01.jpg")
    finally:
        for each in names(bucket, "store/_index/"):
            bucket.delete(each)


def test_an_index_that_was_copied_there_is_used(bucket: Served, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fxengine.index(folder, factory="Flat")
    bucket.put_folder(folder / "_index", "store/_index/")
    try:
        assert fxengine.search(PLACE, id="cats/01.jpg").method.startswith("Flat")
        monkeypatch.setenv("FXENGINE_CACHE", "/proc/nothing")  # which no error of a server is
        assert fxengine.search(PLACE, id="cats/01.jpg").method.startswith("Flat")
    finally:
        for each in names(bucket, "store/_index/"):
            bucket.delete(each)


def test_a_head_lies_in_a_bucket(bucket: Served, folder: Path, tiny: BackboneFile, tmp_path: Path) -> None:
    head, local = f"{PLACE}/heads/head.onnx", tmp_path / "head.onnx"
    assert fxengine.probe(PLACE, head, head="ridge").output == head
    fxengine.probe(folder, local, head="ridge")
    here, there = Head.load(local), Head.load(Path(head))
    assert there.facts.store == PLACE
    x = FeatureStore.open(folder).vectors()
    np.testing.assert_array_equal(here.answers(x), there.answers(x))
    assert len(fxengine.predict(PLACE, model=head)) == 25
    bundled = fxengine.bundle(tiny.path, head, tmp_path / "bundle.onnx")  # finds its store again
    assert bundled.agreement is not None
    with pytest.raises(InputError, match=rf"There is no head file {PLACE}/none.onnx"):
        fxengine.predict(PLACE, model=f"{PLACE}/none.onnx")


def test_a_page_shows_it_and_keeps_answers_where_it_is_told(folder: Path, tmp_path: Path) -> None:
    page = let_in(open_for_page(PLACE))
    assert page.get("/api/about")["store"] == PLACE
    asked = page.client.get("/api/label")
    assert (asked.status_code, asked.json()["error"]) == (
        400,
        f"{PLACE} lies in a bucket: name a folder for what is answered, as `review`.",
    )
    page = let_in(open_for_page(PLACE, review=tmp_path / "answers"))
    assert page.get("/api/label")["labelled"] == 0
    page.post("/api/label/answer", {"rows": [0, 1], "label": "mine"})
    assert "mine" in (tmp_path / "answers" / "labels.csv").read_text()
    ranking = page.get("/api/suspects")["rows"]
    page.post(
        "/api/decide",
        {"about": "label", "choices": [{"row": ranking[0]["row"], "decision": "accept", "label": "birds"}]},
    )
    applied = fxengine.apply(PLACE, tmp_path / "answers" / "decisions.csv")
    assert applied.corrected == tmp_path / "answers" / "corrected.csv"
    assert f"{ranking[0]['id']},birds" in applied.corrected.read_text()


def test_of_two_that_index_at_once_one_is_told(folder: Path, bucket: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    late, early = Index.build(PLACE, factory="Flat"), Index.build(PLACE, factory="Flat", metric="l2")
    write = faiss.write_index

    def interrupted(*given: Any) -> None:
        monkeypatch.undo()
        early.save()
        write(*given)

    monkeypatch.setattr(faiss, "write_index", interrupted)
    with pytest.raises(StoreError, match=rf"Cannot write the index {PLACE}/_index: Another process wrote it meanwhile"):
        late.save()
    assert Index.load(PLACE).metric == "l2"
    for each in names(bucket, "store/_index/"):
        bucket.delete(each)


def test_a_store_without_a_vector_is_read(bucket: Served, tmp_path: Path) -> None:
    write_store(tmp_path / "s", np.zeros((2, 4)), failed=(0, 1))
    bucket.put_folder(tmp_path / "s", "failed/")
    opened = FeatureStore.open(f"s3://{NAME}/failed")
    assert (len(opened), opened.vectors().shape, list(opened.batches())) == (2, (0, 4), [])


@pytest.fixture(scope="module")
def large(bucket: Served, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store of three parts of 1,024 rows, 0.5 MB of vectors each."""
    made = tmp_path_factory.mktemp("large")
    for part in range(3):
        x = np.random.default_rng(part).normal(size=(1024, 128)).astype(np.float32)
        rows = list(range(part * 1024, part * 1024 + 1024))
        write_store(made / "s", x, ids=[f"{row:06d}" for row in rows], rows=rows, part=part, dtype="float32")
    bucket.put_folder(made / "s", "large/")
    return f"s3://{NAME}/large"


def test_opening_takes_few_requests_and_a_second_search_no_vectors(bucket: Served, large: str) -> None:
    with watched(bucket) as seen:
        FeatureStore.open(large)
    assert len(seen) <= 2 * 3 + 2
    with watched(bucket) as first:
        answers = fxengine.search(large, id="000005").answers
    whole = [path for method, path, asked in first if "part-" in path and not asked]
    assert len(whole) == 3  # each part once
    with watched(bucket) as second:
        assert fxengine.search(large, id="000005").answers == answers
    ranges = [asked for _, path, asked in second if "part-" in path]
    assert all(ranges)
    assert sum(map(length, ranges)) < 1_000_000  # of over 1.5 MB of vectors
    assert len(second) <= 5 * 3 + 5  # a part's footer twice and its row groups, and listings


def length(asked: str) -> int:
    begin, end = re.fullmatch(r"bytes=(\d*)-(\d*)", asked).groups()  # type: ignore[union-attr]
    return int(end) - int(begin) + 1 if begin else int(end)


def test_a_copy_is_made_anew_where_the_store_has_changed(bucket: Served, large: str, tmp_path: Path) -> None:
    opened = FeatureStore.open(large)
    before = opened.vectors()
    x = np.random.default_rng(9).normal(size=(1024, 128)).astype(np.float32)
    write_store(tmp_path, x, ids=[f"{row:06d}" for row in range(1024)], dtype="float32")
    old = bucket.client.get_object(Bucket=NAME, Key="large/part-000000.parquet")["Body"].read()
    bucket.put("large/part-000000.parquet", (tmp_path / "part-000000.parquet").read_bytes())
    try:
        with pytest.raises(StoreError, match=rf"{large} was changed since it was opened: open it again"):
            opened.vectors()
        np.testing.assert_array_equal(FeatureStore.open(large).vectors()[:1024], x)
        assert not np.array_equal(before[:1024], x)
    finally:
        bucket.put("large/part-000000.parquet", old)


def test_a_part_that_changes_while_it_is_read_is_no_damage(
    bucket: Served, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "large/part-000001.parquet"
    content = bucket.client.get_object(Bucket=NAME, Key=key)["Body"].read()
    opened, kind = FeatureStore.open(large), type(open_bucket("s3", NAME))
    tail = kind.tail

    def changing(self: Any, asked: str, most: int) -> Any:
        found = tail(self, asked, most)
        if asked == key:
            bucket.put(key, content + b" ")
        return found

    monkeypatch.setattr(kind, "tail", changing)
    with pytest.raises(StoreError, match=r"part-000001.parquet cannot be read: it was written anew meanwhile\. Run"):
        opened.rows()
    bucket.put(key, content)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is damaged (it is empty)"), (b"PAR1 no part", "is damaged ("), (b"x" * 100_000, "is damaged (")],
)
def test_a_damaged_part_is_named(bucket: Served, large: str, content: bytes, said: str) -> None:
    bucket.put("large/part-000007.parquet", content)
    try:
        with pytest.raises(StoreError, match=re.escape(f"{large}/part-000007.parquet {said}")) as error:
            FeatureStore.open(large)
        assert "Copy the store to a folder" in str(error.value)
        assert list(fxengine.verify(large).bad_parts) == ["part-000007.parquet"]
    finally:
        bucket.delete("large/part-000007.parquet")


def test_what_cannot_be_opened_is_said(folder: Path, tmp_path: Path) -> None:
    refused = {
        "s3://no-such-bucket/store": (StoreError, "cannot be listed: there is no bucket s3://no-such-bucket"),
        f"s3://{NAME}/nothing": (StoreError, f"s3://{NAME}/nothing is no feature store: it has no part"),
        "s3://": (InputError, "s3:// names no bucket"),
        "https://example.org/store": (InputError, "https://example.org/store is no store: one lies in a folder"),
        "s3://name:secret@bucket/store": (InputError, "holds a name or a password"),
        "s3://..": (InputError, "s3:// names no bucket"),
        f"s3://{NAME}/a/../../another/store": (InputError, f"leaves {NAME} by its '..'"),
        "gcs://name:secret@bucket/store": (InputError, "What is given as gcs:// is no store"),
        "S3://bucket/store": (InputError, "in a bucket (s3://, gs://, az://)"),
    }
    for place, (kind, said) in refused.items():
        with pytest.raises(kind, match=re.escape(said)) as error:
            FeatureStore.open(place)
        assert "secret" not in str(error.value)
    with pytest.raises(InputError, match="lies in a bucket, where no part is made anew"):
        fxengine.verify(PLACE, repair=True)


@pytest.mark.parametrize("may_list", [False, True])
def test_no_rights_are_said(folder: Path, bucket: Served, monkeypatch: pytest.MonkeyPatch, may_list: bool) -> None:
    app = bucket.server.app

    def answer(environ: Any, start: Any) -> Any:
        if may_list and "list-type" in environ["QUERY_STRING"]:
            return app(environ, start)
        start("403 FORBIDDEN", [("Content-Type", "application/xml")])
        return [b"<Error><Code>AccessDenied</Code></Error>"]

    monkeypatch.setattr(bucket.server, "app", answer)
    with pytest.raises(StoreError, match="the server refuses these credentials") as error:
        FeatureStore.open(PLACE)
    assert "Set credentials that may read it: AWS_PROFILE" in str(error.value)


def test_a_network_that_ends_is_said(folder: Path, bucket: Served, large: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = FeatureStore.open(large)
    opened.rows()
    monkeypatch.setattr("fxengine.storage._RETRIES", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    open_bucket.cache_clear()
    try:
        for call in (opened.vectors, lambda: FeatureStore.open(large)):
            with pytest.raises(
                StoreError, match=r"cannot be listed: the server cannot be reached\. Look at the network"
            ):
                call()
    finally:
        open_bucket.cache_clear()


def test_a_folder_of_many_pictures_is_told_from_a_store_by_one_request(bucket: Served, folder: Path) -> None:
    bucket.put("pictures/a.jpg", b"x")
    bucket.put("pictures/z.jpg", b"x")
    with watched(bucket) as seen:
        assert not is_store(Path(f"s3:/{NAME}/pictures"))
    assert len(seen) == 1
    assert is_store(Path(f"s3:/{NAME}/store"))
    assert len(list_parts(Path(f"s3:/{NAME}/store"))) == 4


def test_the_command_line_writes_it_as_people_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", PLACE, "--id", "cats/01.jpg", "-k", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (
        said["answers"][0]["neighbours"][0]["id"]
        == fxengine.search(folder, id="cats/01.jpg").answers[0].neighbours[0].id
    )
    assert main(["info", PLACE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == PLACE
    assert main(["cluster", f"s3://{NAME}/nothing", "-k", "2"]) == 1
    assert f"s3://{NAME}/nothing is no feature store" in capsys.readouterr().err


def names(bucket: Served, prefix: str) -> list[str]:
    found = bucket.client.list_objects_v2(Bucket=NAME, Prefix=prefix)
    return [each["Key"] for each in found.get("Contents", ())]
