"""The whole step on small photos: what lands in the store, and how a store is brought up to date."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fxengine import FeatureStore, InputError, Progress, StoreError, extract
from fxengine.backbones.cache import read_backbone, write_backbone
from fxengine.backbones.spec import METADATA_KEY, BackboneFile, Facts
from fxengine.collect.item import Item, Payload
from fxengine.collect.local import read_input
from fxengine.decode import Filled, Inputs, Opened, Preparer, Window, preparer_for
from fxengine.errors import DecodeError
from fxengine.execute import open_session
from fxengine.execute.session import Session
from fxengine.features.parts import list_parts
from fxengine.features.schema import COLUMN_GROUPS
from fxengine.pipeline.embed import Backbone
from fxengine.probing.predict import predict
from fxengine.probing.probe import probe
from fxengine.repair.verify import verify
from tests.conftest import PATIENCE, make_photo, tiny_model

# Batch size and thread count may change the last bits of a sum.
TOLERANCE = 2e-3


def rows(store: Path) -> dict[str, dict[str, Any]]:
    opened = FeatureStore.open(store)
    table = {row["id"]: row for row in opened.rows().to_pylist()}
    for key, vector in zip(opened.ids(), opened.vectors(), strict=True):
        table[key]["feature"] = vector
    return table


def same(a: dict[str, dict[str, Any]], b: dict[str, dict[str, Any]], *, but: tuple[str, ...] = ()) -> None:
    assert a.keys() == b.keys()
    for key in a:
        for name in a[key].keys() - {"feature", *but}:
            assert a[key][name] == b[key][name], (key, name)
        if "feature" in a[key]:
            np.testing.assert_allclose(a[key]["feature"], b[key]["feature"], atol=TOLERANCE)


def test_every_input_is_one_row_with_its_own_vector(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    (photos / "cats" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")  # a JPEG that ends in its header
    (photos / "dogs" / "empty.png").write_bytes(b"")
    (photos / "notes.txt").write_text("not a picture")
    summary = extract(photos, tmp_path / "s", backbone=tiny.path, dtype="float32")
    assert (summary.extracted, summary.failed) == (20, {"truncated": 1, "empty": 1, "unsupported_format": 1})
    assert summary.provider == "CPUExecutionProvider"
    store = FeatureStore.open(tmp_path / "s")
    assert len(store) == 23
    assert store.ids() == sorted(store.ids(), key=str.encode)
    assert [row["row"] for row in store.rows().to_pylist()] == list(range(23))
    expected = Backbone.load(tiny.path).embed([photos / key for key in store.ids()])
    np.testing.assert_allclose(store.vectors(), expected, atol=1e-5)
    assert np.abs(np.diff(expected, axis=0)).max(axis=1).min() > 1e-3  # no two photos look alike to the net
    assert store.labels() == [key.split("/")[0] for key in store.ids()]
    found = rows(tmp_path / "s")
    assert (found["cats/01.jpg"]["width"], found["cats/01.jpg"]["height"]) == (60, 48)
    assert found["cats/01.jpg"]["size"] == (photos / "cats" / "01.jpg").stat().st_size
    assert {e["id"]: e["error_code"] for e in store.errors()} == {
        "cats/broken.jpg": "truncated", "dogs/empty.png": "empty", "notes.txt": "unsupported_format",
    }  # fmt: skip


def test_a_second_run_does_nothing(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    extract(photos, tmp_path / "s", backbone=tiny.path)
    before = {p.name: p.read_bytes() for p in list_parts(tmp_path / "s")}
    summary = extract(photos, tmp_path / "s", backbone=tiny.path)
    assert (summary.extracted, summary.unchanged, summary.compute_seconds) == (0, 20, 0.0)
    assert {p.name: p.read_bytes() for p in list_parts(tmp_path / "s")} == before


def test_new_changed_renamed_and_missing_inputs(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path, part_rows=8)
    before = rows(store)
    make_photo(photos / "cats" / "new.jpg", 100)
    make_photo(photos / "cats" / "03.jpg", 101)
    (photos / "dogs" / "04.jpg").rename(photos / "dogs" / "renamed.jpg")
    (photos / "dogs" / "06.jpg").unlink()
    summary = extract(photos, store, backbone=tiny.path, part_rows=8)
    assert (summary.extracted, summary.changed, summary.moved, summary.missing, summary.unchanged) == (2, 1, 1, 1, 17)
    after = rows(store)
    assert after.keys() == (before.keys() | {"cats/new.jpg", "dogs/renamed.jpg"}) - {"dogs/04.jpg"}
    assert after["dogs/renamed.jpg"]["row"] == before["dogs/04.jpg"]["row"]
    np.testing.assert_array_equal(after["dogs/renamed.jpg"]["feature"], before["dogs/04.jpg"]["feature"])
    assert after["dogs/renamed.jpg"]["width"] == 60
    assert after["cats/03.jpg"]["row"] == before["cats/03.jpg"]["row"]
    assert np.abs(after["cats/03.jpg"]["feature"] - before["cats/03.jpg"]["feature"]).max() > 0.01
    assert after["cats/new.jpg"]["row"] == 20
    untouched = before.keys() - {"cats/03.jpg", "dogs/04.jpg"}
    same({k: before[k] for k in untouched}, {k: after[k] for k in untouched})
    fresh = rows_of_fresh_store(photos, tmp_path, tiny)
    same({k: after[k] for k in fresh}, fresh, but=("row",))


def rows_of_fresh_store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> dict[str, dict[str, Any]]:
    extract(photos, tmp_path / "fresh", backbone=tiny.path)
    return rows(tmp_path / "fresh")


def test_a_copy_of_an_input_that_is_still_there_is_computed(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    extract(photos, tmp_path / "s", backbone=tiny.path)
    shutil.copy(photos / "cats" / "01.jpg", photos / "cats" / "copy.jpg")
    summary = extract(photos, tmp_path / "s", backbone=tiny.path)
    assert (summary.extracted, summary.moved) == (1, 0)
    found = rows(tmp_path / "s")
    assert found["cats/copy.jpg"]["row"] == 20
    np.testing.assert_allclose(found["cats/copy.jpg"]["feature"], found["cats/01.jpg"]["feature"], atol=TOLERANCE)


def test_two_new_inputs_with_the_bytes_of_one_missing(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    extract(photos, tmp_path / "s", backbone=tiny.path)
    before = rows(tmp_path / "s")["cats/01.jpg"]
    shutil.copy(photos / "cats" / "01.jpg", photos / "cats" / "x.jpg")
    (photos / "cats" / "01.jpg").rename(photos / "cats" / "y.jpg")
    summary = extract(photos, tmp_path / "s", backbone=tiny.path)
    assert (summary.extracted, summary.moved, summary.missing) == (1, 1, 0)
    after = rows(tmp_path / "s")
    assert {after["cats/x.jpg"]["row"], after["cats/y.jpg"]["row"]} == {before["row"], 20}
    for key in ("cats/x.jpg", "cats/y.jpg"):
        np.testing.assert_array_equal(after[key]["feature"], before["feature"])


def test_prune_removes_rows_and_never_gives_a_number_twice(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    store = tmp_path / "s"
    make_photo(photos / "zzz.jpg", 50)
    extract(photos, store, backbone=tiny.path)
    (photos / "zzz.jpg").unlink()
    assert extract(photos, store, backbone=tiny.path).missing == 1
    assert "zzz.jpg" in rows(store)
    assert extract(photos, store, backbone=tiny.path, prune=True).pruned == 1
    assert "zzz.jpg" not in rows(store)
    make_photo(photos / "zzzz.jpg", 51)
    extract(photos, store, backbone=tiny.path)
    assert rows(store)["zzzz.jpg"]["row"] == 21


def test_prune_guards_against_a_share_that_is_not_mounted(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path)
    shutil.rmtree(photos / "cats")
    with pytest.raises(InputError, match=r"would remove 10 of 20 rows.*`yes`"):
        extract(photos, store, backbone=tiny.path, prune=True)
    assert len(rows(store)) == 20
    assert extract(photos, store, backbone=tiny.path, prune=True, yes=True).pruned == 10
    assert len(rows(store)) == 10


def test_labels_and_splits_follow_the_folders_without_the_model(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    shutil.rmtree(photos / "dogs")
    extract(photos, store, backbone=tiny.path)
    assert set(FeatureStore.open(store).labels()) == {None}
    before = rows(store)
    make_photo(photos / "ants" / "a.jpg", 200)
    extract(photos, store, backbone=tiny.path)
    assert set(FeatureStore.open(store).labels()) == {"ants", "cats"}
    (photos / "ants" / "a.jpg").unlink()
    monkeypatch.setattr("fxengine.pipeline.precision.open_session", None)  # any use of the model would now fail
    assert extract(photos, store, backbone=tiny.path).relabelled == 10
    after = rows(store)
    same({k: before[k] for k in before}, {k: after[k] for k in before})


def test_lasting_errors_are_tried_again_only_when_asked(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    store, bad = tmp_path / "s", photos / "cats" / "bad.jpg"
    bad.write_bytes(b"nothing")
    os.utime(bad, ns=(5, 5))
    extract(photos, store, backbone=tiny.path)
    good = make_photo(tmp_path / "good.jpg", 300).read_bytes()
    assert extract(photos, store, backbone=tiny.path).failed == {}
    assert extract(photos, store, backbone=tiny.path, retry_failed=True).failed == {"unsupported_format": 1}
    bad.write_bytes(good)
    summary = extract(photos, store, backbone=tiny.path)
    assert (summary.extracted, summary.changed) == (1, 1)
    assert "feature" in rows(store)["cats/bad.jpg"]


def test_transient_errors_are_tried_again_each_time(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    link = photos / "cats" / "link.jpg"
    link.symlink_to(tmp_path / "elsewhere.jpg")
    assert extract(photos, tmp_path / "s", backbone=tiny.path).failed == {"vanished": 1}
    assert extract(photos, tmp_path / "s", backbone=tiny.path).failed == {"vanished": 1}
    make_photo(tmp_path / "elsewhere.jpg", 301)
    assert extract(photos, tmp_path / "s", backbone=tiny.path).extracted == 1
    assert FeatureStore.open(tmp_path / "s").errors() == []


def test_another_space_root_or_type_is_refused_with_the_difference(
    photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path)
    write_backbone(tiny_model(scale=2.0), tmp_path / "other.onnx")
    other = read_backbone(tmp_path / "other.onnx")
    before = {p.name: p.read_bytes() for p in list_parts(store)}
    with pytest.raises(StoreError, match=f"another space.*{tiny.fingerprint[:12]}.*{other.fingerprint[:12]}"):
        extract(photos, store, backbone=other.path)
    with pytest.raises(StoreError, match=f"was made from {photos}, asked for {photos / 'cats'}"):
        extract(photos / "cats", store, backbone=tiny.path)
    with pytest.raises(StoreError, match="stores float16, asked for float32"):
        extract(photos, store, backbone=tiny.path, dtype="float32")
    assert {p.name: p.read_bytes() for p in list_parts(store)} == before


def test_another_precision_only_when_allowed(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path)
    make_photo(photos / "cats" / "new.jpg", 100)

    def half(*args: Any, **kwargs: Any) -> Session:
        session = open_session(*args, **kwargs)
        session.precision = "bf16"
        return session

    monkeypatch.setattr("fxengine.pipeline.precision.open_session", half)
    with pytest.raises(StoreError, match=r"computed in fp32, this run computes in bf16.*`allow_mixed_precision`"):
        extract(photos, store, backbone=tiny.path)
    assert extract(photos, store, backbone=tiny.path, allow_mixed_precision=True).extracted == 1
    assert FeatureStore.open(store).precisions == ("bf16", "fp32")


def test_values_too_large_for_float16_are_error_rows(photos: Path, tmp_path: Path) -> None:
    write_backbone(tiny_model(scale=1e6), tmp_path / "large.onnx")
    summary = extract(photos, tmp_path / "s", backbone=tmp_path / "large.onnx")
    assert summary.failed == {"bad_feature": 20}
    assert (
        "is too large for float16. Extract with `dtype` float32."
        in FeatureStore.open(tmp_path / "s").errors()[0]["error"]
    )
    assert extract(photos, tmp_path / "t", backbone=tmp_path / "large.onnx", dtype="float32").extracted == 20


def test_an_empty_folder_and_a_missing_one_are_clear_errors(tmp_path: Path, tiny: BackboneFile) -> None:
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    with pytest.raises(InputError, match=r"There is no file to extract from in .*empty"):
        extract(tmp_path / "empty", tmp_path / "s", backbone=tiny.path)
    with pytest.raises(InputError, match=r"There is no folder .*nowhere"):
        extract(tmp_path / "nowhere", tmp_path / "s", backbone=tiny.path)


def test_cancel_keeps_what_was_finished_and_the_next_run_goes_on(
    photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    seen: list[Progress] = []
    summary = extract(
        photos, tmp_path / "s", backbone=tiny.path, batch_size=4, progress=seen.append, cancel=lambda: len(seen) == 2
    )
    assert summary.interrupted
    assert [(p.done, p.failed, p.total) for p in seen] == [(4, 0, 20), (8, 0, 20)]
    assert len(rows(tmp_path / "s")) == 8
    assert extract(photos, tmp_path / "s", backbone=tiny.path).extracted == 12
    same(rows(tmp_path / "s"), rows_of_fresh_store(photos, tmp_path, tiny))


def test_limit_takes_the_first_and_calls_nothing_missing(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    assert extract(photos, tmp_path / "s", backbone=tiny.path, limit=7).extracted == 7
    summary = extract(photos, tmp_path / "s", backbone=tiny.path, limit=3)
    assert (summary.extracted, summary.unchanged, summary.missing) == (0, 3, 0)
    assert extract(photos, tmp_path / "s", backbone=tiny.path).extracted == 13


def test_a_failure_in_a_thread_reaches_the_caller_and_keeps_the_store(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    run = Session.run

    def broken(self: Session, inputs: Mapping[str, np.ndarray], outputs: Any = None) -> dict[str, np.ndarray]:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("the model fell over")
        return run(self, inputs, outputs)

    monkeypatch.setattr(Session, "run", broken)
    with pytest.raises(RuntimeError, match="the model fell over"):
        extract(photos, tmp_path / "s", backbone=tiny.path, batch_size=4)
    monkeypatch.setattr(Session, "run", run)
    extract(photos, tmp_path / "s", backbone=tiny.path)
    same(rows(tmp_path / "s"), rows_of_fresh_store(photos, tmp_path, tiny))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for i in range(30):
        make_photo(folder / ("ab"[i % 2]) / f"{i:02d}.png", i, (40 + i, 70 - i))
    (folder / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return folder


@pytest.fixture(scope="module")
def reference(many: Path, tiny: BackboneFile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    store = tmp_path_factory.mktemp("reference")
    extract(many, store, backbone=tiny.path, batch_size=1, decoders=1)
    return rows(store)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch_size=st.integers(1, 9),
    decoders=st.integers(1, 4),
    part_rows=st.integers(1, 40),
    stops=st.lists(st.integers(1, 6), max_size=3),
)
def test_no_batch_thread_part_or_stop_changes_a_row(
    many: Path, tiny: BackboneFile, reference: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory,
    batch_size: int, decoders: int, part_rows: int, stops: list[int],
) -> None:  # fmt: skip
    store = tmp_path_factory.mktemp("s")

    def run(cancel: Callable[[], bool] | None) -> None:
        extract(
            many,
            store,
            backbone=tiny.path,
            batch_size=batch_size,
            decoders=decoders,
            part_rows=part_rows,
            cancel=cancel,
        )

    for stop in stops:
        left = iter(range(stop))
        run(lambda left=left: next(left, None) is None)  # type: ignore[misc]
    run(None)
    same(rows(store), reference)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(30)))
def test_the_order_of_the_inputs_changes_no_vector(
    many: Path, tiny: BackboneFile, reference: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory,
    order: list[int],
) -> None:  # fmt: skip
    keys = [f"{'ab'[i % 2]}/{i:02d}.png" for i in order]
    found = Backbone.load(tiny.path).embed([many / key for key in keys])
    np.testing.assert_allclose(found, [reference[key]["feature"] for key in keys], atol=TOLERANCE)


def two_layers() -> onnx.ModelProto:
    """Return the tiny backbone with its first map's average as the further layer `early`."""
    model = tiny_model()
    model.graph.node.extend(
        [
            helper.make_node("GlobalMaxPool", ["relu"], ["early_map"]),
            helper.make_node("Flatten", ["early_map"], ["features@early"]),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("features@early", TensorProto.FLOAT, ["batch", 8]))
    facts = Facts.from_json(model.metadata_props[0].value)
    helper.set_model_props(model, {METADATA_KEY: replace(facts, layers=(("early", 8),)).to_json()})
    return model


def test_every_layer_is_a_column_of_one_pass(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    write_backbone(two_layers(), tmp_path / "two.onnx")
    store = tmp_path / "s"
    extract(photos, store, backbone=tmp_path / "two.onnx", part_rows=6)
    (photos / "cats" / "01.jpg").rename(photos / "cats" / "moved.jpg")
    make_photo(photos / "cats" / "03.jpg", 901)
    summary = extract(photos, store, backbone=tmp_path / "two.onnx", part_rows=6)
    assert (summary.moved, summary.changed) == (1, 1)
    opened = FeatureStore.open(store)
    net = Backbone.load(tmp_path / "two.onnx")
    paths = [photos / key for key in opened.ids()]
    for layer in (None, "early"):
        expected = net.embed(paths, layer=layer)
        np.testing.assert_allclose(opened.vectors(layer=layer), expected, atol=TOLERANCE)
        np.testing.assert_array_equal(opened.vectors(layer=layer, mmap=True), opened.vectors(layer=layer))
    assert not np.allclose(opened.vectors(), opened.vectors(layer="early"))
    assert opened.rows().column_names == FeatureStore.open(store).rows().column_names
    with pytest.raises(StoreError, match=r"has no layer 'late'. There is: 'early'."):
        opened.vectors(layer="late")
    with pytest.raises(InputError, match=r"has no layer 'late'. There is: early."):
        net.embed(paths[:1], layer="late")
    head = tmp_path / "head.onnx"
    probe(store, head, layer="early")
    from_store = {p.id: p.probabilities for p in predict(store, model=head, top=2)}
    from_photos = {p.id: p.probabilities for p in predict(photos, model=head, top=2)}
    for key, shares in from_photos.items():
        assert shares == pytest.approx(from_store[key], abs=0.02)
    assert verify(store, sample=100).fine


def test_inputs_that_are_only_absent_keep_their_vectors(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    share, links = tmp_path / "share", tmp_path / "links"
    photos.rename(share)
    links.mkdir()
    for path in sorted(share.rglob("*.jpg")):
        (links / path.name).symlink_to(path)
    extract(links, tmp_path / "s", backbone=tiny.path)
    before = rows(tmp_path / "s")
    share.rename(tmp_path / "unmounted")
    summary = extract(links, tmp_path / "s", backbone=tiny.path)
    assert (summary.missing, summary.failed) == (20, {})
    same(before, rows(tmp_path / "s"))


def test_a_copy_claims_no_row_of_a_file_that_a_filter_left_out(
    photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path)
    before = rows(store)
    shutil.copy(photos / "cats" / "01.jpg", photos / "cats" / "new.jpg")
    summary = extract(photos, store, backbone=tiny.path, include=("new*",))
    assert (summary.extracted, summary.moved) == (1, 0)
    after = rows(store)
    assert after["cats/new.jpg"]["row"] == 20
    np.testing.assert_array_equal(after["cats/new.jpg"]["feature"], before["cats/01.jpg"]["feature"])
    same(before, {key: after[key] for key in before})


def test_a_list_changes_no_label(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path)
    before = rows(store)
    make_photo(photos / "cats" / "01.jpg", 950)
    (tmp_path / "list.txt").write_text("cats/01.jpg\ncats/03.jpg\n")
    summary = extract(photos, store, backbone=tiny.path, listing=tmp_path / "list.txt")
    assert (summary.changed, summary.relabelled) == (1, 0)
    assert {k: v["label"] for k, v in rows(store).items()} == {k: v["label"] for k, v in before.items()}


# Has a Ctrl-C come while the first part is written. In a process of its own: pytest's were seen to end of it.
INTERRUPTED = """
import signal, sys
from fxengine import extract, files
flush, flushed = files._flush, []
def interrupted(file):
    if "part-" in file.name:
        flushed.append(file)
        if len(flushed) == 1:
            signal.raise_signal(signal.SIGINT)
    flush(file)
files._flush = interrupted
signal.signal(signal.SIGINT, signal.default_int_handler)
summary = extract(sys.argv[1], sys.argv[2], backbone=sys.argv[3], part_rows=8)
print(summary.interrupted, summary.extracted)
"""


def test_ctrl_c_while_a_part_is_written_loses_nothing(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    command = [sys.executable, "-c", INTERRUPTED, *map(str, (photos, tmp_path / "s", tiny.path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    interrupted, extracted = done.stdout.split()
    assert interrupted == "True"
    assert len(rows(tmp_path / "s")) == int(extracted) >= 8
    extract(photos, tmp_path / "s", backbone=tiny.path, part_rows=8)
    same(rows(tmp_path / "s"), rows_of_fresh_store(photos, tmp_path, tiny))


def test_a_run_can_be_stopped_while_it_looks_for_renames(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path)
    (photos / "cats" / "01.jpg").rename(photos / "cats" / "zz.jpg")
    shutil.copy(photos / "cats" / "zz.jpg", photos / "cats" / "0.jpg")
    (photos / "cats" / "0.jpg").write_bytes((photos / "cats" / "0.jpg").read_bytes()[:-1] + b"x")  # as long, another
    before = {p.name: p.read_bytes() for p in list_parts(store)}
    seen: list[Progress] = []
    assert extract(photos, store, backbone=tiny.path, progress=seen.append, cancel=lambda: True).interrupted
    assert [progress.done for progress in seen] == [0]

    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    assert extract(photos, store, backbone=tiny.path, progress=ctrl_c).interrupted
    assert {p.name: p.read_bytes() for p in list_parts(store)} == before
    (photos / "cats" / "03.jpg").rename(photos / "cats" / "0a.jpg")

    def after_two(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 3:
            raise KeyboardInterrupt

    summary = extract(photos, store, backbone=tiny.path, progress=after_two)  # 0.jpg and 0a.jpg were looked at
    assert (summary.moved, summary.extracted, summary.interrupted) == (1, 0, True)
    summary = extract(photos, store, backbone=tiny.path)
    assert (summary.moved, summary.extracted, summary.interrupted) == (1, 1, False)
    found = FeatureStore.open(store).rows(["row", "id"]).to_pylist()
    assert sorted(row["row"] for row in found) == list(range(21))


class Frames:
    """A listing that holds pixels, as one of a video would."""

    labelled = False

    def __init__(self, root: Path, frames: np.ndarray) -> None:
        self.root, self.frames, self.unreadable = root, frames, list[str]()

    def __iter__(self) -> Iterator[Item]:
        for number in range(len(self.frames)):
            yield Item(f"clip.mp4#t={number:03d}", str(number), self.frames[0].nbytes, 5)

    def count(self) -> int:
        return len(self.frames)

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        if item.source == "3":
            raise DecodeError("corrupt", "The stream is broken here.")
        return self.frames[int(item.source)], item


def test_a_listing_that_holds_pixels(tmp_path: Path, tiny: BackboneFile) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (7, 40, 50, 3), np.uint8)
    summary = extract(Frames(tmp_path, frames), tmp_path / "s", backbone=tiny.path, dtype="float32", batch_size=3)
    assert (summary.extracted, summary.failed) == (6, {"corrupt": 1})
    opened = FeatureStore.open(tmp_path / "s")
    found = {row["id"]: row for row in opened.rows().to_pylist()}
    assert (found["clip.mp4#t=000"]["width"], found["clip.mp4#t=000"]["height"]) == (50, 40)
    assert found["clip.mp4#t=006"]["content_hash"] == hashlib.sha256(frames[6].tobytes()).hexdigest()
    expected = Backbone.load(tiny.path).embed([frames[i] for i in range(7) if i != 3])
    np.testing.assert_allclose(opened.vectors(), expected, atol=1e-5)
    assert extract(Frames(tmp_path, frames), tmp_path / "s", backbone=tiny.path, dtype="float32").unchanged == 7


@dataclass(frozen=True)
class WithBrightness:
    """A preparer of pictures that also says how bright each is, for a column group of its own."""

    of: Preparer
    decoder: str = "brightness 1"

    def room(self, rows: int) -> Inputs:
        return self.of.room(rows)

    def example(self, batch_size: int) -> Inputs:
        return self.of.example(batch_size)

    def window(self, batch_size: int) -> Window:
        return self.of.window(batch_size)

    def open(self, payload: Payload) -> Opened:
        opened = self.of.open(payload)

        def fill(inputs: Inputs, row: int) -> Filled:
            filled = opened.fill(inputs, row)
            return filled._replace(further={"brightness": float(inputs["images"][row].mean())})

        return Opened(opened.cost, fill)

    def open_apart(self, payload: Payload) -> Opened:
        return self.open(payload)

    def payload_of(self, given: object) -> Any:
        return self.of.payload_of(given)


def _unreadable(key: str, read: Callable[[Item, int], tuple[bytes, Item]]) -> Callable[[Item, int], tuple[bytes, Item]]:
    def failing(item: Item, max_bytes: int) -> tuple[bytes, Item]:
        if item.key == key:
            raise DecodeError("io", "The disk failed.")
        return read(item, max_bytes)

    return failing


def test_a_store_is_given_a_column_group_later(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    (photos / "cats" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    extract(photos, store, backbone=tiny.path, part_rows=8)
    plain = {row["id"]: row["row"] for row in FeatureStore.open(store).rows().to_pylist()}
    with pytest.raises(InputError, match=r"There is no column group 'light'\. Available: none in this version\."):
        extract(photos, store, backbone=tiny.path, add_columns=["light"])
    monkeypatch.setitem(COLUMN_GROUPS, "light", (pa.field("brightness", pa.float32()),))
    made = preparer_for(tiny.recipe)
    monkeypatch.setattr("fxengine.pipeline.here.preparer_of", lambda *_, **__: WithBrightness(made))
    assert extract(photos, store, backbone=tiny.path).unchanged == 21  # nobody asked for the group
    monkeypatch.setattr("fxengine.collect.folder.read_input", _unreadable("dogs/04.jpg", read_input))
    summary = extract(photos, store, backbone=tiny.path, add_columns=["light"])
    assert (summary.widened, summary.unchanged, summary.changed, summary.failed) == (19, 2, 0, {})
    assert len(FeatureStore.open(store).ids()) == 20  # its vector is kept
    monkeypatch.setattr("fxengine.collect.folder.read_input", read_input)
    summary = extract(photos, store, backbone=tiny.path)
    assert (summary.widened, summary.unchanged, summary.changed) == (1, 20, 0)
    make_photo(photos / "cats" / "new.jpg", 100)
    assert extract(photos, store, backbone=tiny.path).extracted == 1  # the store keeps its groups unasked
    opened = FeatureStore.open(store)
    assert opened.groups == ("light",)
    found = {row["id"]: row for row in opened.rows(["row", "id", "brightness", "error_code"]).to_pylist()}
    assert {key: found[key]["row"] for key in plain} == plain
    for key, row in found.items():
        inputs = made.room(1)
        if row["error_code"] is None:
            made.open(made.payload_of(photos / key)).fill(inputs, 0)
            assert row["brightness"] == pytest.approx(inputs["images"].mean(), abs=1e-3)
        else:
            assert row["brightness"] is None
    assert extract(photos, store, backbone=tiny.path).unchanged == 22
    assert verify(store, sample=22).fine


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_pixel": 5}, r"There is no limit 'max_pixel'\. There is: max_pixels, max_bytes\."),
        ({"max_pixels": "5"}, r"`max_pixels` must be a positive whole number\. Got '5'\."),
        ({"max_bytes": 0}, r"`max_bytes` must be a positive whole number\. Got 0\."),
    ],
)
def test_limits_that_are_none_are_told(
    photos: Path, tmp_path: Path, tiny: BackboneFile, limits: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        extract(photos, tmp_path / "s", backbone=tiny.path, limits=limits)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"part_rows": 0}, r"`part_rows` must be at least 1\. Got 0\."),
        ({"limit": -1}, r"`limit` must be at least 1\. Got -1\."),
        ({"batch_size": 0}, r"`batch_size` must be at least 1\. Got 0\."),
        ({"decoders": 0}, r"`decoders` must be at least 1\. Got 0\."),
        ({"decode_on": "tpu"}, r"There is no `decode_on` 'tpu'\. .*There is: cpu, gpu\."),
        ({"dtype": "float64"}, r"There is no `dtype` 'float64'\. Did you mean float16\? There is: float16, float32\."),
        ({"device": "tpu"}, r"There is no `device` 'tpu'\. .*There is: auto, cpu, cuda, tensorrt\."),
        ({"precision": "fp8"}, r"There is no `precision` 'fp8'\."),
        ({"layers": [1]}, r"`layers` must be text or a list of texts\. Got 1\."),
        ({"include": None}, r"`include` must be text or a list of texts\. Got None\."),
        ({"inputs": ["a.jpg"]}, r"`inputs` must be a folder or a file .* Got an object of type list; several go into"),
        ({"inputs": None}, r"`inputs` must be a folder or a file .* Got None"),
        ({"store": None}, r"`store` must be a path \(text or pathlib\.Path\)\. Got None\."),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    photos: Path, tmp_path: Path, tiny: BackboneFile, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        extract(**{"inputs": photos, "store": tmp_path / "s", "backbone": tiny.path, **wrong})
    assert not (tmp_path / "s").exists()
