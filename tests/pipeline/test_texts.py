"""Tables of texts become stores, of the same bits whatever the order, threads, parts and stops; and their updates."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine import DeviceError, FeatureStore, InputError, Progress, StoreError, Summary, extract
from fxengine.backbones.cache import write_backbone
from fxengine.backbones.spec import BackboneFile
from fxengine.decode.text import preparer as text_preparer
from fxengine.execute import Way
from fxengine.execute.session import Session
from fxengine.features.parts import list_parts
from fxengine.pipeline.embed import Backbone
from fxengine.pipeline.precision import Choice
from tests.conftest import ROOT
from tests.texts import tiny_text_model, write_table

WORDS = ("good", "bad", "a", "b", "cat 7", "hello", "it was good .", "no", "x9 y8", "zzzz", "bad bad")
TEXTS = [f"{WORDS[i % 11]} {WORDS[i * i % 7]} {i}" if i % 3 else WORDS[i % 11] + str(i) for i in range(60)]
ROWS = [(f"t{i:02d}", text, "ab"[i % 2]) for i, text in enumerate(TEXTS)]
NAMED: dict[str, Any] = {"column": "text", "id_column": "id", "label_column": "label"}

Run = Callable[..., Summary]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "t.csv", ROWS)


@pytest.fixture
def run(tiny_texts: BackboneFile, tmp_path: Path) -> Run:
    """Extract a table into the store `s`, in fp32 and float32."""

    def extract_it(table: Path, **options: Any) -> Summary:
        return extract(table, tmp_path / "s", **{"backbone": tiny_texts.path, "dtype": "float32", **NAMED, **options})

    return extract_it


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only eight texts are made ready at once."""
    monkeypatch.setattr(text_preparer, "_TOKENS_A_ROW", (1 << 16) // 8)


def rows(store: Path) -> dict[str, dict[str, Any]]:
    """Return id -> every column of its row, the vector as bytes."""
    opened = FeatureStore.open(store)
    kept = ["text"] if "kept_text" in opened.groups else []
    found = {row["id"]: row for row in opened.rows([*opened.rows().column_names, *kept]).to_pylist()}
    for key, vector in zip(opened.ids(), opened.vectors(), strict=True):
        found[key]["feature"] = vector.tobytes()
    return found


def without(found: Mapping[str, dict[str, Any]], *names: str) -> dict[str, dict[str, Any]]:
    return {key: {name: value for name, value in row.items() if name not in names} for key, row in found.items()}


def counts(summary: Summary) -> dict[str, Any]:
    """Return what a summary counts, where it is not zero."""
    names = ("extracted", "unchanged", "changed", "widened", "moved", "relabelled", "missing", "pruned", "truncated")
    found = {name: getattr(summary, name) for name in names} | {"failed": summary.failed}
    return {name: value for name, value in found.items() if value}


def test_a_table_becomes_a_store(table: Path, run: Run, tmp_path: Path, tiny_texts: BackboneFile) -> None:
    summary = run(write_table(table, [*ROWS, ("t60", "a" * 40, "")]))
    assert counts(summary) == {"extracted": 61, "truncated": 1}
    assert (summary.modality, summary.max_tokens, summary.provider) == ("text", 16, "CPUExecutionProvider")
    store = FeatureStore.open(tmp_path / "s")
    assert store.ids() == [*(row[0] for row in ROWS), "t60"]
    assert store.labels() == [*(row[2] for row in ROWS), None]
    said = store.provenance
    assert (said.modality, said.groups, said.run) == ("text", ["text"], {"tokens": 128, "threads": 1})
    assert said.read_columns == {"text": "text", "id": "id", "label": "label"}
    assert said.decoder.startswith("tokenizers ")
    assert said.root == str(table)
    found = rows(tmp_path / "s")
    for key, text, _ in ROWS:
        row = found[key]
        assert row["content_hash"] == hashlib.sha256(text.encode()).hexdigest()
        assert row["size"] == len(text.encode())
        assert (row["width"], row["height"], row["error_code"], row["truncated"]) == (None, None, None, False)
    assert (found["t60"]["tokens"], found["t60"]["truncated"]) == (42, True)
    assert found["t00"]["tokens"] == 4  # [CLS] good ##0 [SEP] is none of its words: g ##o ##o ##d ##0
    net = Backbone.load(tiny_texts.path)
    np.testing.assert_allclose(store.vectors(), net.embed([*TEXTS, "a" * 40]), rtol=0, atol=1e-6)
    assert len({row["feature"] for row in found.values()}) == 61


@pytest.fixture(scope="module")
def reference(tiny_texts: BackboneFile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("reference")
    table = write_table(folder / "t.csv", ROWS)
    extract(table, folder / "s", backbone=tiny_texts.path, dtype="float32", decoders=1, **NAMED)
    return without(rows(folder / "s"), "row", "mtime_ns")


@settings(max_examples=12, deadline=None)
@given(
    order=st.permutations(range(60)),
    decoders=st.sampled_from([1, 3]),
    part_rows=st.integers(7, 70),
    window=st.integers(3, 70),
    stops=st.lists(st.integers(1, 4), max_size=2),
)
def test_no_order_thread_part_or_stop_changes_a_bit(
    order: Sequence[int], decoders: int, part_rows: int, window: int, stops: list[int],
    tiny_texts: BackboneFile, reference: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("any")
    table = write_table(folder / "t.csv", [ROWS[i] for i in order])

    def go(stop: int | None) -> Summary:
        told: list[Progress] = []
        return extract(
            table, folder / "s", backbone=tiny_texts.path, dtype="float32", decoders=decoders, part_rows=part_rows,
            progress=told.append, cancel=lambda: len(told) == stop, **NAMED,
        )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_preparer, "_TOKENS_A_ROW", (1 << 16) // window)
        done = sum(go(stop).extracted for stop in stops)
        assert done + go(None).extracted == 60
    assert without(rows(folder / "s"), "row", "mtime_ns") == reference
    assert sorted(row["row"] for row in rows(folder / "s").values()) == list(range(60))


@settings(max_examples=10, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30), min_size=2),
    turn=st.integers(1, 20),
)
def test_any_texts_in_any_order(
    texts: list[str], turn: int, tiny_texts: BackboneFile, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, found = tmp_path_factory.mktemp("any"), []
    pairs = [(f"{i:03d}", text, "") for i, text in enumerate(texts)]
    for name, each in (("one", pairs), ("two", [*pairs[turn % len(pairs) :], *pairs[: turn % len(pairs)]])):
        table = write_table(folder / f"{name}.csv", each)
        summary = extract(
            table, folder / name, backbone=tiny_texts.path, dtype="float32", column="text", id_column="id",
            keep_text=True,
        )  # fmt: skip
        assert summary.extracted + sum(summary.failed.values()) == len(texts)
        assert summary.failed.keys() <= {"empty"}
        found.append(without(rows(folder / name), "row", "mtime_ns"))
    assert found[0] == found[1]
    for (key, text, _), row in zip(pairs, found[0].values(), strict=True):
        blank = not text or text.isspace()
        assert (row["id"], row["error_code"], row["text"]) == ((key, "empty", None) if blank else (key, None, text))


def test_a_second_run_does_nothing(table: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(table)
    before = {path.name: path.read_bytes() for path in list_parts(tmp_path / "s")}
    monkeypatch.setattr("fxengine.pipeline.precision.open_session", None)  # any use of the model would now fail
    assert counts(run(table)) == {"unchanged": 60}
    os.utime(table, ns=(5, 5))
    assert counts(run(table)) == {"unchanged": 60}
    assert {path.name: path.read_bytes() for path in list_parts(tmp_path / "s")} == before


def test_only_what_was_edited_is_computed(table: Path, run: Run, tmp_path: Path, tiny_texts: BackboneFile) -> None:
    run(table, part_rows=16)
    before, kept = rows(tmp_path / "s"), {p.name: p.read_bytes() for p in list_parts(tmp_path / "s")}
    edited = [*ROWS]
    edited[3], edited[40] = ("t03", "quite other", "b"), ("t40", TEXTS[41], "a")
    assert counts(run(write_table(table, edited))) == {"extracted": 2, "changed": 2, "unchanged": 58}
    after = rows(tmp_path / "s")
    assert {key for key in after if after[key] != before[key]} == {"t03", "t40"}
    assert {key: row["row"] for key, row in after.items()} == {key: row["row"] for key, row in before.items()}
    assert after["t40"]["feature"] == before["t41"]["feature"]
    vector = np.frombuffer(after["t03"]["feature"], np.float32)
    np.testing.assert_allclose(vector, Backbone.load(tiny_texts.path).embed(["quite other"])[0], rtol=0, atol=1e-6)
    same = [name for name, data in kept.items() if (tmp_path / "s" / name).read_bytes() == data]
    assert len(same) == len(kept) - 2


def test_a_renamed_id_keeps_vector_and_number(
    table: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(table)
    before = rows(tmp_path / "s")
    renamed = [("u07", *ROWS[7][1:]) if row[0] == "t07" else row for row in ROWS]

    def fails(*_: object) -> None:
        raise AssertionError("nothing is to be computed")

    monkeypatch.setattr(Session, "run_rows", fails)
    assert counts(run(write_table(table, renamed))) == {"moved": 1, "unchanged": 59}
    after = rows(tmp_path / "s")
    assert after.keys() == before.keys() - {"t07"} | {"u07"}
    assert without(after, "id", "mtime_ns")["u07"] == without(before, "id", "mtime_ns")["t07"]


def test_rows_that_are_gone_are_told_and_pruned(table: Path, run: Run, tmp_path: Path) -> None:
    run(table)
    write_table(table, ROWS[:55])
    assert counts(run(table)) == {"missing": 5, "unchanged": 55}
    assert len(rows(tmp_path / "s")) == 60
    assert counts(run(table, prune=True)) == {"missing": 5, "pruned": 5, "unchanged": 55}
    write_table(table, ROWS[:20])
    with pytest.raises(InputError, match=r"would remove 35 of 55 rows.*`yes`"):
        run(table, prune=True)
    assert run(table, prune=True, yes=True).pruned == 35
    assert list(rows(tmp_path / "s")) == [row[0] for row in ROWS[:20]]
    write_table(table, ROWS[:21])
    run(table)
    assert rows(tmp_path / "s")["t20"]["row"] == 60


def test_only_labels_that_changed_are_written(
    table: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(table)
    before = rows(tmp_path / "s")
    monkeypatch.setattr("fxengine.pipeline.precision.open_session", None)
    write_table(table, [(key, text, "c" if key < "t10" else label) for key, text, label in ROWS])
    assert counts(run(table)) == {"unchanged": 60, "relabelled": 10}
    after = rows(tmp_path / "s")
    assert [row["label"] for row in after.values()][:12] == [*"c" * 10, "a", "b"]
    assert without(after, "label") == without(before, "label")
    assert counts(run(table, label_column=None)) == {"unchanged": 60}  # who names none leaves them
    assert rows(tmp_path / "s") == after


def test_errors_are_rows_and_are_not_tried_again(tmp_path: Path, run: Run) -> None:
    table = tmp_path / "t.jsonl"
    lines = ['"good"', '""', '" \\u3000"', "null", "7", '["good"]', '"' + "b" * 90 + '"', '"bad"']
    table.write_text(
        "\n".join(f'{{"id": "r{i}", "text": {text}}}' for i, text in enumerate(lines)) + '\n{"id": "r8"}\n'
    )
    options = {"label_column": None, "max_bytes": 80}
    summary = run(table, **options)
    assert counts(summary) == {"extracted": 2, "failed": {"empty": 4, "not_text": 2, "too_large": 1}}
    found = rows(tmp_path / "s")
    assert {key: row["error_code"] for key, row in found.items()} == {
        "r0": None, "r1": "empty", "r2": "empty", "r3": "empty", "r4": "not_text", "r5": "not_text",
        "r6": "too_large", "r7": None, "r8": "empty",
    }  # fmt: skip
    texts = {"r0": "good", "r1": "", "r2": " \u3000", "r6": "b" * 90, "r7": "bad"}
    assert {key: row["content_hash"] for key, row in found.items() if row["content_hash"]} == {
        key: hashlib.sha256(text.encode()).hexdigest() for key, text in texts.items()
    }
    assert found["r6"]["error"] == "90 bytes; `max_bytes` allows 80."
    assert [found[f"r{i}"]["size"] for i in range(9)] == [4, 0, 4, 0, 0, 0, 90, 3, 0]
    assert all("feature" not in row for row in found.values() if row["error_code"])
    assert counts(run(table, **options)) == {"unchanged": 9}
    again = run(table, **options, retry_failed=True)
    assert counts(again) == {"unchanged": 2, "failed": {"empty": 4, "not_text": 2, "too_large": 1}}
    assert rows(tmp_path / "s") == found
    assert counts(run(table, label_column=None, max_bytes=100, retry_failed=True)) == {
        "extracted": 1, "truncated": 1, "unchanged": 2, "failed": {"empty": 4, "not_text": 2},
    }  # fmt: skip
    table.write_text(table.read_text().replace('"r3", "text": null', '"r3", "text": "good"'))
    assert counts(run(table, label_column=None)) == {"extracted": 1, "changed": 1, "unchanged": 8}
    assert rows(tmp_path / "s")["r3"]["feature"] == found["r0"]["feature"]


def test_limit_takes_the_first_by_their_ids(table: Path, run: Run, tmp_path: Path) -> None:
    write_table(table, ROWS[::-1])
    assert counts(run(table, limit=7)) == {"extracted": 7}
    assert list(rows(tmp_path / "s")) == [row[0] for row in ROWS[:7]]
    assert counts(run(table, limit=3)) == {"unchanged": 3}
    assert counts(run(table)) == {"extracted": 53, "unchanged": 7}


def test_texts_are_kept_where_that_is_asked_for(table: Path, run: Run, tmp_path: Path) -> None:
    run(write_table(table, [*ROWS, ("t60", "", "")]))
    before = rows(tmp_path / "s")
    assert "text" not in before["t00"]
    assert counts(run(table, keep_text=True)) == {"extracted": 60, "widened": 60, "unchanged": 1}
    after = rows(tmp_path / "s")
    assert {key: row["text"] for key, row in after.items()} == {**{r[0]: r[1] for r in ROWS}, "t60": None}
    assert without(after, "text") == before
    assert counts(run(table, add_columns="kept_text")) == {"unchanged": 61}
    assert counts(run(table)) == {"unchanged": 61}
    assert counts(run(write_table(table, [("t00", "new", "a"), *ROWS[1:]]))) == {
        "extracted": 1, "changed": 1, "unchanged": 59, "missing": 1,
    }  # fmt: skip
    assert rows(tmp_path / "s")["t00"]["text"] == "new"
    renamed = write_table(table, [("v", "new", "a"), *ROWS[1:]])
    assert counts(run(renamed)) == {"moved": 1, "unchanged": 59, "missing": 1}
    assert (rows(tmp_path / "s")["v"]["text"], rows(tmp_path / "s")["v"]["tokens"]) == ("new", 5)


def test_texts_that_are_kept_are_none_too_large_for_a_row(table: Path, run: Run, tmp_path: Path) -> None:
    says = "A store keeps texts of up to 1000000 bytes: leave `max_bytes` or `keep_text` away"
    with pytest.raises(InputError, match=says):
        run(table, keep_text=True, max_bytes=1_000_001)
    run(table, keep_text=True)
    with pytest.raises(InputError, match=says):  # which it does from then on
        run(table, max_bytes=1_000_001)


def test_what_does_not_belong_into_a_store_is_refused(
    table: Path, run: Run, tmp_path: Path, tiny: BackboneFile, photos: Path
) -> None:
    run(table)
    before = {path.name: path.read_bytes() for path in list_parts(tmp_path / "s")}
    other = write_table(tmp_path / "other.csv", ROWS)
    with pytest.raises(StoreError, match=rf"was made from {table}, asked for {other}"):
        run(other)
    write_backbone(tiny_text_model(scale=2.0), tmp_path / "other.onnx")
    with pytest.raises(StoreError, match="holds features of another space"):
        run(table, backbone=tmp_path / "other.onnx")
    with pytest.raises(StoreError, match="holds features of another space"):
        extract(photos, tmp_path / "s", backbone=tiny.path)
    with pytest.raises(StoreError, match="stores float32, asked for float16"):
        run(table, dtype="float16")
    with pytest.raises(StoreError, match=r"has its texts from the column 'text' of .*, asked for the column 'label'"):
        run(table, column="label", label_column=None)
    with pytest.raises(StoreError, match=r"has its ids from the column 'id' of .*, asked for no column"):
        run(table, id_column=None)
    for option in ({"max_pixels": 9}, {"decode_on": "gpu"}):
        with pytest.raises(InputError, match="are about pictures, the backbone takes texts: leave them away"):
            run(table, **option)
    with pytest.raises(DeviceError, match="Nets of texts are not computed in int8"):
        run(write_table(table, [*ROWS, ("t60", "new", "a")]), precision="int8")
    assert {path.name: path.read_bytes() for path in list_parts(tmp_path / "s")} == before


def test_tokens_of_a_run_are_those_of_the_store(table: Path, run: Run, tmp_path: Path) -> None:
    run(write_table(table, ROWS[:30]), batch_size=40)
    write_table(table, ROWS)
    says = r"was computed in runs of 40 tokens, this run takes 128\. Leave `batch_size` away, or .*`allow_mixed_prec"
    with pytest.raises(StoreError, match=says):
        run(table, batch_size=128)
    assert run(table).extracted == 30
    assert [FeatureStore.open(tmp_path / "s").provenance.run] == [{"tokens": 40, "threads": 1}]
    assert run(write_table(table, [*ROWS, ("t60", "new", "a")]), batch_size=128, allow_mixed_precision=True).extracted


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_a_store_goes_on_by_its_runtime(
    precision: str, table: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(table, ROWS[:30])
    chosen = Choice(Way("openvino", "fp32", 2))
    with monkeypatch.context() as patch:
        patch.setattr("fxengine.pipeline.precision.recall", lambda *_: chosen)
        run(table)
    first = FeatureStore.open(tmp_path / "s").provenance.engine
    assert first.startswith("openvino ")
    write_table(table, ROWS)
    assert run(table, precision=precision).provider == "OpenVINO CPU"
    with monkeypatch.context() as patch:
        patch.setattr("fxengine.pipeline.precision.recall", lambda *_: chosen)
        extract(
            table,
            tmp_path / "whole",
            backbone=FeatureStore.open(tmp_path / "s").provenance.source,
            dtype="float32",
            **NAMED,
        )
    assert without(rows(tmp_path / "s"), "mtime_ns") == without(rows(tmp_path / "whole"), "mtime_ns")


def test_pictures_have_no_columns_and_texts_are_no_pictures(
    table: Path, tmp_path: Path, tiny: BackboneFile, photos: Path
) -> None:
    with pytest.raises(InputError, match=r"t\.csv holds texts, and tiny takes pictures: give a picture, or a folder"):
        extract(table, tmp_path / "p", backbone=tiny.path, column="text")
    with pytest.raises(InputError, match=r"There is no column group 'text' of pictures\. Available: none"):
        extract(photos, tmp_path / "p", backbone=tiny.path, add_columns="text")
    with pytest.raises(InputError, match=r"There is no column group 'kept_text' of pictures"):
        extract(photos, tmp_path / "p", backbone=tiny.path, keep_text=True)
    assert not list_parts(tmp_path / "p")


@pytest.mark.parametrize("option", ["column", "id_column", "label_column", "split_column"])
def test_a_column_is_named_by_a_text(option: str, table: Path, run: Run) -> None:
    with pytest.raises(InputError, match=rf"`{option}` must be the name of a column, a text\. Got 3\."):
        run(table, **{option: 3})


def test_a_table_finds_the_backbone_of_texts(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [("It was good.",), ("It was bad.",)], ["text"])
    summary = extract(table, tmp_path / "s")
    assert (summary.backbone, summary.extracted, summary.max_tokens) == ("minilm_l6", 2, 256)
    assert FeatureStore.open(tmp_path / "s").ids() == ["t.csv#000000000", "t.csv#000000001"]
    vectors = FeatureStore.open(tmp_path / "s").vectors().astype(np.float64)
    embedded = Backbone.load("minilm_l6").embed(["It was good.", "It was bad."])
    cosine = (vectors * embedded).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(embedded, axis=1)
    assert cosine.min() > 0.999999


def test_a_folder_of_nothing_but_txt_finds_it_too(tmp_path: Path, photos: Path) -> None:
    for name, text in {"good/a.txt": "It was good.", "bad/b.TXT": "It was bad."}.items():
        (tmp_path / "t" / name).parent.mkdir(parents=True)
        (tmp_path / "t" / name).write_text(text)
    assert extract(tmp_path / "t", tmp_path / "s").backbone == "minilm_l6"
    assert FeatureStore.open(tmp_path / "s").labels() == ["bad", "good"]
    (tmp_path / "t" / "photo.jpg").write_bytes(next(photos.rglob("*.jpg")).read_bytes())
    assert extract(tmp_path / "t", tmp_path / "p").failed == {"unsupported_format": 2}


def test_another_provider_goes_on_where_that_is_allowed(table: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(write_table(table, ROWS[:30]))
    opened = Session.__init__
    monkeypatch.setattr(Session, "__init__", lambda self, **said: opened(self, **{**said, "provider": "CUDA"}))
    with pytest.raises(StoreError, match=r"computed by CPUExecutionProvider, this run computes by CUDA\. Give its"):
        run(write_table(table, ROWS))
    assert run(table, allow_mixed_precision=True).extracted == 30


def test_values_too_large_for_float16_are_error_rows(table: Path, tmp_path: Path) -> None:
    write_backbone(tiny_text_model(scale=1e6), tmp_path / "large.onnx")
    summary = extract(table, tmp_path / "s", backbone=tmp_path / "large.onnx", **NAMED)
    assert counts(summary) == {"failed": {"bad_feature": 60}}


@pytest.mark.usefixtures("small_windows")
def test_windows_with_failed_rows_in_them(table: Path, run: Run, tmp_path: Path) -> None:
    mixed = [(key, "" if i % 3 == 0 or 16 <= i < 24 else text, label) for i, (key, text, label) in enumerate(ROWS)]
    fine = [row for row in mixed if row[1]]
    told: list[Progress] = []
    assert counts(run(write_table(table, mixed), progress=told.append)) == {
        "extracted": len(fine), "failed": {"empty": 60 - len(fine)},
    }  # fmt: skip
    assert [(each.done, each.total) for each in told] == [(min(60, 8 * i), 60) for i in range(1, 9)]
    found = rows(tmp_path / "s")
    alone = extract(
        write_table(tmp_path / "fine.csv", fine), tmp_path / "f", backbone=FeatureStore.open(tmp_path / "s").provenance
        .source, dtype="float32", **NAMED,
    )  # fmt: skip
    assert alone.extracted == len(fine)
    assert {key: row["feature"] for key, row in rows(tmp_path / "f").items()} == {
        key: row["feature"] for key, row in found.items() if row["error_code"] is None
    }


@pytest.mark.usefixtures("small_windows")
def test_a_runner_that_raises_ends_the_run_and_keeps_what_was_done(
    table: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, dict[str, Any]]
) -> None:
    calls, lock, stored, real = [0], threading.Lock(), threading.Event(), Session.run_rows

    def broken(self: Session, *args: Any) -> dict[str, np.ndarray]:
        with lock:
            calls[0] += 1
            late = calls[0] > 16
        # Not for ever: a late call may be the first batch's own, before which nothing is stored.
        if late and stored.wait(2):
            raise RuntimeError("the model fell over")
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "run_rows", broken)
        with pytest.raises(RuntimeError, match="the model fell over"):
            run(table, progress=lambda _: stored.set())
    done = len(rows(tmp_path / "s"))
    assert 8 <= done < 60
    assert done % 8 == 0
    assert counts(run(table)) == {"extracted": 60 - done, "unchanged": done}
    assert without(rows(tmp_path / "s"), "row", "mtime_ns") == reference


@pytest.mark.usefixtures("small_windows")
def test_ctrl_c_keeps_what_was_done(
    table: Path, run: Run, tmp_path: Path, reference: dict[str, dict[str, Any]]
) -> None:
    told: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        told.append(progress)
        if len(told) == 3:
            raise KeyboardInterrupt

    summary = run(table, progress=interrupt)
    assert (summary.interrupted, summary.extracted) == (True, 24)
    assert list(rows(tmp_path / "s")) == [row[0] for row in ROWS[:24]]
    assert counts(run(table)) == {"extracted": 36, "unchanged": 24}
    assert without(rows(tmp_path / "s"), "row", "mtime_ns") == reference


# Prints the peak of its memory in bytes once the store of a table is made.
MEMORY = """
import resource, sys
from fxengine import extract
summary = extract(sys.argv[1], sys.argv[2], backbone=sys.argv[3], column="text", decoders=2)
assert summary.extracted == int(sys.argv[4]), summary
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(tiny_texts: BackboneFile, tmp_path: Path) -> None:
    peaks = []
    for count in (3000, 30_000):
        table = write_table(tmp_path / f"{count}.csv", ((f"{WORDS[i % 11]} {i}",) for i in range(count)), ["text"])
        command = [sys.executable, "-c", MEMORY, str(table), str(tmp_path / f"s{count}"), str(tiny_texts.path)]
        done = subprocess.run([*command, str(count)], cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.1 * peaks[0], peaks
