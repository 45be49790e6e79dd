"""Tables of labels, joined with a store by id."""

from __future__ import annotations

import json
import shutil
import time
import unicodedata
from collections.abc import Callable
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fxengine import FeatureStore, InputError, StoreError, extract
from fxengine.probing.compare import compare
from fxengine.probing.joined import MISSING, join
from fxengine.probing.mislabeled import mislabeled
from fxengine.probing.probe import probe
from fxengine.probing.targets import Labelled, load_targets
from fxengine.train import advise as advise_module
from fxengine.train.advise import advise
from fxengine.ui.pages.mislabeled import mislabeled_page
from fxengine.ui.pages.probe import probe_page
from tests.conftest import SHARED, run_cli
from tests.stores import write_store

NUMBERS = range(4001, 4031)
IDS = [f"cats/cat.{i}.jpg" for i in NUMBERS] + [f"dogs/dog.{i}.jpg" for i in NUMBERS]


def store_of(folder: Path, ids: list[str], root: str = "/data/photos") -> FeatureStore:
    """Write vectors that tell the first half of the rows from the second."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1, (len(ids), 8)) + np.where(np.arange(len(ids)) < len(ids) / 2, 4, -4)[:, None]
    return write_store(folder, vectors.astype(np.float32), ids=ids, root=root)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return store_of(tmp_path / "store", IDS)


def write(tmp_path: Path, columns: dict[str, list[Any]], suffix: str = ".csv") -> Path:
    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        pd.DataFrame(columns).to_csv(path, index=False)
    return path


def labels_of(labelled: Labelled) -> dict[str, str]:
    names = labelled.problem.names
    return {key: names[i] for key, i in zip(labelled.ids, labelled.problem.y, strict=True)}


def told(unknown: int, labels: int, without: int, rows: int) -> str:
    return f"{unknown} of {labels} labels match no row; {without} of {rows} rows have no label."


@pytest.mark.parametrize(
    ("name", "classes", "rows", "said"),
    [
        ("empty_text", ("cat", "dog"), 40, told(0, 40, 20, 60)),
        ("NA_text", ("cat", "dog"), 40, told(0, 40, 20, 60)),
        ("leading0", ("001", "002"), 60, told(0, 60, 0, 60)),
        ("pandas_float", ("1", "2"), 59, told(0, 59, 1, 60)),
        ("latin1", ("böse", "süß"), 60, told(0, 60, 0, 60)),
        ("dot_half", ("cat", "dog"), 60, told(0, 60, 0, 60)),
        ("filename_hf", ("cat", "dog"), 60, told(0, 60, 0, 60)),
    ],
)
def test_the_reported_files(
    name: str, classes: tuple[str, ...], rows: int, said: str, shared_data: Callable[[str], Path], store: FeatureStore
) -> None:
    path = shared_data("reports") / f"{name}.csv"
    report = probe(store.path, labels=path, near=2)
    assert (tuple(report.per_class), report.rows) == (classes, rows)
    assert report.score.mean == 1.0  # cats are told from dogs, so that every label came to its own row
    assert report.notes[0] == f"{path} and {store.path}: {said}"
    assert [note.partition(" is ")[2][:9] for note in report.notes[1:]] == (["not UTF-8"] if name == "latin1" else [])


def test_ids_of_digits_stay_ids(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    labels = shared_data("reports") / "digits.csv"
    store = store_of(tmp_path / "s", [f"{i:04d}.jpg" for i in range(1, 21)])
    found = load_targets(store, labels)
    assert labels_of(found) == {f"{i:04d}.jpg": "cat" if i < 10 else "dog" for i in (1, 2, 3, 4, 11, 12, 13, 14)}
    assert found.notes == (
        f"{labels} and {store.path}: {told(0, 8, 12, 20)}",
        f"8 ids of {labels} were matched without the suffix of the file's name.",
    )
    bare = load_targets(store_of(tmp_path / "bare", ["0001", "0002", "0011", "0012", "1"]), labels)
    assert bare.ids == ["0001", "0002", "0011", "0012"]
    assert "4 of 8 labels match no row, such as '0003'; 1 of 5 rows have no label." in bare.notes[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["empty_text", "NA_text", "latin1", "dot_half", "pandas_float"])
def test_the_reported_files_on_real_photos(name: str, shared_data: Callable[[str], Path], real_store: Path) -> None:
    assert probe(real_store, labels=shared_data("reports") / f"{name}.csv").score.mean >= 0.975


@pytest.fixture(scope="module")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (SHARED / "cats_dogs").exists():
        pytest.skip("the real photos are not here")
    folder = tmp_path_factory.mktemp("real")
    for kind in ("cats", "dogs"):
        (folder / "photos" / kind).mkdir(parents=True)
        some = sorted((SHARED / "cats_dogs").rglob(f"{kind}/*.jpg"))[:30]
        for path, number in zip(some, NUMBERS, strict=True):
            shutil.copyfile(path, folder / "photos" / kind / f"{kind[:-1]}.{number}.jpg")
    extract(folder / "photos", folder / "store")
    return folder / "store"


@pytest.mark.parametrize("mark", [*MISSING, " ", " NA "])
def test_missing_marks_are_no_class(mark: str, store: FeatureStore, tmp_path: Path) -> None:
    rows = [f'"{key}","{mark if i % 3 == 0 else key[:3]}"' for i, key in enumerate(IDS)]
    (tmp_path / "t.csv").write_text("id,label\n" + "\n".join(rows))
    found = load_targets(store, tmp_path / "t.csv")
    assert labels_of(found) == {key: key[:3] for i, key in enumerate(IDS) if i % 3}
    assert found.notes[0].endswith(told(0, 40, 20, 60))


def test_an_empty_text_or_nan_of_a_parquet_is_missing_and_its_text_na_is_not(
    store: FeatureStore, tmp_path: Path
) -> None:
    columns: dict[str, list[Any]] = {
        "id": IDS[:6],
        "text": ["a", "", None, "NA", " ", "b "],
        "float": [1.0, 2.0, float("nan"), None, 2.0, 1.0],
        "price": [1.5, 2.0, float("nan"), None, 2.0, 1.0],
    }
    path = write(tmp_path, columns, ".parquet")
    assert labels_of(load_targets(store, f"{path}:text")) == {IDS[0]: "a", IDS[3]: "NA", IDS[5]: "b"}
    assert labels_of(load_targets(store, f"{path}:float")) == {IDS[0]: "1", IDS[1]: "2", IDS[4]: "2", IDS[5]: "1"}
    numbers = load_targets(store, f"{path}:price")
    assert (numbers.problem.kind, numbers.problem.y.ravel().tolist()) == ("numbers", [1.5, 2.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("cells", "kind", "found"),
    [
        (["1", "2", "2"], "classes", ["1", "2", "2"]),
        (["1.0", "2.0", ""], "classes", ["1", "2"]),
        (["1.", "-2.00", "10", ""], "classes", ["1", "-2", "10"]),
        (["1.0", "2.0", "2.0"], "numbers", [1.0, 2.0, 2.0]),
        (["001", "01", "1"], "classes", ["001", "01", "1"]),
        (["1", "2", "x1"], "classes", ["1", "2", "x1"]),
        (["1.0", "2.0", "v1.0"], "classes", ["1.0", "2.0", "v1.0"]),
        (["1.0", "2.5", ""], "numbers", [1.0, 2.5]),
        (["1e-3", "+2", ".5"], "numbers", [0.001, 2.0, 0.5]),
        (["1e3", "2e3", "12"], "numbers", [1000.0, 2000.0, 12.0]),
        (["True", "False", "True"], "classes", ["True", "False", "True"]),
        (["2024-01-01", "1/2", "0x10"], "classes", ["2024-01-01", "1/2", "0x10"]),
        (["123456789012345678901", "1", "1"], "classes", ["123456789012345678901", "1", "1"]),
    ],
)
def test_what_a_column_of_a_csv_is(
    cells: list[str], kind: str, found: list[Any], store: FeatureStore, tmp_path: Path
) -> None:
    labelled = load_targets(store, write(tmp_path, {"id": IDS[: len(cells)], "label": cells}))
    problem = labelled.problem
    assert problem.kind == kind
    assert (problem.y.ravel().tolist() if kind == "numbers" else [problem.names[i] for i in problem.y]) == found


def test_a_kind_that_is_asked_for(store: FeatureStore, tmp_path: Path) -> None:
    path = write(tmp_path, {"id": IDS[:3], "n": ["1.0", "2.0", "007"], "f": ["0.50", "0.5", "1"]})
    assert load_targets(store, f"{path}:n", "numbers").problem.y.ravel().tolist() == [1.0, 2.0, 7.0]
    assert load_targets(store, f"{path}:f", "classes").problem.names == ("0.5", "0.50", "1")
    path = write(tmp_path, {"id": IDS[:3], "n": ["1", "2", "1,5"]})
    with pytest.raises(InputError, match="column 'n' has values that are no numbers, such as '1,5'"):
        load_targets(store, path, "numbers")
    path = write(tmp_path, {"id": IDS[:3], "n": ["1.5", "2", "inf"]})
    with pytest.raises(InputError, match="column 'n' has values that are not finite"):
        load_targets(store, path)
    path = write(tmp_path, {"id": IDS[:3], "n": ["1.5", "2", "-1e308"]})
    with pytest.raises(InputError, match=r"column 'n' has values beyond 1e\+30, whose squares"):
        load_targets(store, path)


def test_several_labels_of_a_csv(store: FeatureStore, tmp_path: Path) -> None:
    path = write(tmp_path, {"id": IDS[:4], "a": ["1", "0", "1", ""], "b": ["True", "false", "TRUE", "true"]})
    problem = load_targets(store, f"{path}:a,b").problem
    assert (problem.kind, problem.y.tolist()) == ("labels", [[1, 1], [0, 0], [1, 1]])
    path = write(tmp_path, {"id": IDS[:3], "a": ["1.0", "0.0", "1.0"], "b": ["3", "4", "5"]})
    problem = load_targets(store, f"{path}:a,b").problem
    assert (problem.kind, problem.y.tolist()) == ("numbers", [[1, 3], [0, 4], [1, 5]])


@pytest.mark.parametrize(
    "change",
    [
        lambda key: f"./{key}",
        lambda key: key.replace("/", "//"),
        lambda key: key.replace("/", "/./"),
        lambda key: key.replace("/", "/x/../"),
        lambda key: key.replace("/", "\\"),
        lambda key: f".\\{key}".replace("/", "\\"),
        lambda key: f" {key} ",
        lambda key: f"/data/photos/{key}",
        lambda key: unicodedata.normalize("NFD", key),
        lambda key: unicodedata.normalize("NFC", key),
        lambda key: key[:-4],
        lambda key: f"./{unicodedata.normalize('NFC', key)[:-4]}",
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_way_to_write_an_id(change: Callable[[str], str], suffix: str, tmp_path: Path) -> None:
    ids = sorted(["a/x.jpg", "a/y.jpg", unicodedata.normalize("NFD", "b/é.jpg"), "b/日本.jpg", "c/ü ö.jpg"])
    store = store_of(tmp_path / "s", ids)
    found = load_targets(store, write(tmp_path, {"id": [change(key) for key in ids], "label": ids}, suffix))
    assert labels_of(found) == {key: key for key in ids}
    assert found.notes[0].endswith(told(0, 5, 0, 5))


def test_names_that_are_not_utf8_match_as_they_are_stored_and_as_windows_1252(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", ["back\\\\slash.jpg", "caf\\xe9.jpg"])
    for keys in (["back\\\\slash.jpg", "caf\\xe9.jpg"], ["back\\slash.jpg", "café.jpg"]):
        content = "id,label\n" + "".join(f"{key},{i}\n" for i, key in enumerate(keys))
        (tmp_path / "t.csv").write_bytes(content.encode("cp1252"))
        assert labels_of(load_targets(store, tmp_path / "t.csv")) == {"back\\\\slash.jpg": "0", "caf\\xe9.jpg": "1"}


def test_an_exact_id_goes_before_other_spellings_and_what_fits_two_rows_fits_none(tmp_path: Path) -> None:
    composed, parts = unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg")
    store = store_of(tmp_path / "s", sorted([composed, parts, "x.jpg", "x.png", "y.jpg"]))
    columns = {"id": [parts, composed, "x", "y"], "label": ["nfd", "nfc", "x", "y"]}
    found = load_targets(store, write(tmp_path, columns))
    assert labels_of(found) == {parts: "nfd", composed: "nfc", "y.jpg": "y"}
    assert "1 of 4 labels match no row, such as 'x'; 2 of 5 rows have no label." in found.notes[0]
    found = load_targets(store, write(tmp_path, {"id": [f"./{composed}", "y.jpg"], "label": ["nfc", "y"]}))
    assert labels_of(found) == {"y.jpg": "y"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["a.jpg", "b.jpg", "a.jpg"], r"t\.csv has the id 'a\.jpg' more than once\."),
        (["a.jpg", "b.jpg", "./a.jpg"], r"has the id 'a\.jpg' more than once, here as '\./a\.jpg'"),
        (["./a.jpg", "b.jpg", ".//a.jpg"], r"has the id 'a\.jpg' more than once, here as '\.//a\.jpg'"),
        (["a.jpg", "b.jpg", "a"], r"has the id 'a\.jpg' more than once, here as 'a'"),
    ],
)
def test_two_labels_of_one_row_are_refused(keys: list[str], said: str, tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", ["a.jpg", "b.jpg"])
    with pytest.raises(InputError, match=said):
        load_targets(store, write(tmp_path, {"id": keys, "label": list("xyz")}))


def test_the_columns_that_hold_ids_and_labels(tmp_path: Path, store: FeatureStore) -> None:
    animals = [key[:3] for key in IDS]
    tables: list[tuple[dict[str, list[Any]], str]] = [
        ({"label": animals, "File_Name": IDS}, ""),
        ({"id": list(range(60)), "file_name": IDS, "species": animals}, ""),
        ({"file": ["x"] * 60, "id": IDS, "label": animals}, ""),
        ({"image": animals, "path": IDS}, ":image"),
        ({"photo": IDS, "x,y": animals}, ":x,y"),
        ({"label": animals, "photo": IDS}, ""),
        ({"": list(range(60)), "photo": IDS, "label": animals}, ""),
        ({"id": IDS, "species": animals, "": [""] * 60}, ""),
        ({"n": list(range(60)), "image_path": IDS, "Label": animals}, ""),
    ]
    for columns, wanted in tables:
        found = load_targets(store, f"{write(tmp_path, columns)}{wanted}")
        assert labels_of(found) == dict(zip(IDS, animals, strict=True))


def test_a_table_of_two_columns_is_not_cut_to_its_first_without_a_word(tmp_path: Path, store: FeatureStore) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["id,width,height", *(f"{key},{i}.5,{2 * i}.5" for i, key in enumerate(IDS))]))
    found = load_targets(store, path)
    assert found.problem.names == ("width",)
    assert found.notes[1:] == (
        f"Of the columns of {path} 'width' alone was taken, not 'height': t.csv:width,height takes several.",
    )
    for asked in (f"{path}:width", f"{path}:width,height"):
        assert len(load_targets(store, asked).notes) == 1


def test_labels_without_a_header_lose_no_row(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", ["0001", "0002", "0003"])
    (tmp_path / "t.csv").write_text("0001;x\n0002;y\n0003;x\n")
    found = load_targets(store, tmp_path / "t.csv")
    assert labels_of(found) == {"0001": "x", "0002": "y", "0003": "x"}
    assert found.notes[1] == f"{tmp_path}/t.csv has no header: its first line is taken for a row."
    assert labels_of(load_targets(store, f"{tmp_path}/t.csv:2")) == labels_of(found)


@pytest.mark.parametrize(
    ("content", "labels", "said"),
    [
        ("id,label\n", "t.csv", r"t\.csv has no rows"),
        ("id,label\na.jpg,\nb.jpg,NA\n", "t.csv", r"has no label: every cell of 'label' is empty"),
        ("id,label,label\na.jpg,x,y\n", "t.csv", r"^2 columns of .*t\.csv are called 'label'"),
        ("id,id,label\na.jpg,x,y\n", "t.csv", r"^2 columns of .*t\.csv are called 'id'"),
        ("id|label\na.jpg|x\n", "t.csv", r"has no column but 'id\|label': one with labels is needed"),
        ("id,label\na.jpg,x,y\n", "t.csv", r"line 2 has 3 fields parted by ',', the first one has 2 fields"),
        ("id,label\nc.png,x\n,y\n", "t.csv", r"^No id of .* is an id of .*s\. It has 'c.png', the store has 'a.jpg'\."),
    ],
)
def test_files_that_cannot_be_used(content: str, labels: str, said: str, tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", ["a.jpg", "b.jpg"])
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=said):
        load_targets(store, f"{tmp_path}/{labels}")


def test_a_store_without_a_vector_takes_no_labels(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", np.ones((1, 4), np.float32), failed=(0,))
    with pytest.raises(StoreError, match=r"No row of .* has a vector"):
        load_targets(store, write(tmp_path, {"id": ["a"], "label": ["x"]}))


def test_lists_of_labels_are_refused(tmp_path: Path, store: FeatureStore) -> None:
    path = write(tmp_path, {"id": IDS, "tags": [["a"]] * 60}, ".parquet")
    with pytest.raises(InputError, match=r"The column 'tags' of .* holds list.*: one text or number a row is needed"):
        load_targets(store, path)


def test_a_class_of_one_whole_number_says_how_to_get_numbers(tmp_path: Path, store: FeatureStore) -> None:
    path = write(tmp_path, {"id": IDS, "age": [str(i) for i in range(60)]})
    with pytest.raises(StoreError, match="Whole numbers are classes unless `kind` says numbers"):
        probe(store.path, labels=path)


def partly(tmp_path: Path) -> Path:
    """Write labels of which two match no row, and which leave four rows without."""
    keys, animals = [*IDS[4:], "gone/1.jpg", "gone/2.jpg"], [*(key[:3] for key in IDS[4:]), "cat", "dog"]
    return write(tmp_path, {"id": keys, "label": animals})


SAID = "2 of 58 labels match no row, such as 'gone/1.jpg'; 4 of 60 rows have no label."


def test_every_report_tells_what_did_not_match(
    tmp_path: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = partly(tmp_path)
    notes = (f"{path} and {store.path}: {SAID}",)
    assert probe(store.path, labels=path).notes == notes
    assert compare([store.path, store.path], labels=path).notes == notes
    assert mislabeled(store.path, labels=path).notes == notes
    monkeypatch.setattr(advise_module, "_cost", lambda *_: None)
    assert advise(store.path, labels=str(path)).notes == notes
    other = store_of(tmp_path / "other", IDS[:10])
    both = probe(store.path, labels=path, test=other.path).notes
    assert both == (*notes, f"{path} and {other.path}: 52 of 58 labels match no row, such as 'cats/cat.4011.jpg'; "
                    "4 of 10 rows have no label.")  # fmt: skip


def test_the_pages_tell_what_did_not_match(tmp_path: Path, store: FeatureStore) -> None:
    path, page = partly(tmp_path), tmp_path / "page.html"
    page.write_text(probe_page(probe(store.path, labels=path)))
    assert escape(SAID) in page.read_text()
    page.write_text(mislabeled_page(mislabeled(store.path, labels=path)))
    assert escape(SAID) in page.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["probe", "compare", "mislabeled", "advise"])
def test_every_command_tells_what_did_not_match(command: str, tmp_path: Path, store: FeatureStore) -> None:
    path = partly(tmp_path)
    shown = run_cli(command, store.path, "--labels", path)
    assert f"{path} and {store.path}: {SAID}" in shown.stdout.splitlines(), shown.stderr
    data = json.loads(run_cli(command, store.path, "--labels", path, "--json").stdout)
    assert data["notes"] == [f"{path} and {store.path}: {SAID}"]


def test_the_stores_own_labels_say_how_many_rows_have_none(tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)
    some = write_store(tmp_path / "some", vectors, labels=["a", None, "b", "a"])
    assert load_targets(some).notes == (f"{some.path}: 1 of 4 rows have no label.",)
    assert load_targets(write_store(tmp_path / "all", vectors, labels=["a", "a", "b", "b"])).notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("written", [lambda i: f"c/{i:07d}.jpg", lambda i: f"{'./' * (i % 2)}c/{i:07d}.jpg"])
def test_a_million_labels_are_joined_in_seconds(written: Callable[[int], str], tmp_path: Path) -> None:
    n = 1_000_000
    store: Any = SimpleNamespace(called=str(tmp_path), provenance=SimpleNamespace(root="/data/photos"))
    (tmp_path / "t.csv").write_text("id,label\n" + "".join(f"{written(i)},{i % 7}\n" for i in range(n)))
    ids = pa.array([f"c/{i:07d}.jpg" for i in range(n)])
    begin = time.process_time()
    found = join(f"{tmp_path}/t.csv", ids, store)
    assert time.process_time() - begin < 30  # 1.3 and 2.1 s on two slow cores, however busy
    assert found.columns["label"].to_pylist() == [str(i % 7) for i in range(n)]


def test_the_column_of_ids_that_fits_most_is_taken(tmp_path: Path, store: FeatureStore) -> None:
    animals = [key[:3] for key in IDS]
    path = write(tmp_path, {"path": [IDS[3], *[f"x{i}" for i in range(59)]], "id": IDS, "label": animals})
    assert labels_of(load_targets(store, path)) == dict(zip(IDS, animals, strict=True))


def test_ids_may_be_what_is_told_apart(tmp_path: Path, store: FeatureStore) -> None:
    animals = [f"w_{key[:3]}" for key in IDS]
    assert labels_of(load_targets(store, write(tmp_path, {"Image": IDS, "Id": animals}))) == dict(
        zip(IDS, animals, strict=True)
    )


def test_a_table_without_header_may_spell_ids_otherwise(tmp_path: Path, store: FeatureStore) -> None:
    path = tmp_path / "t.csv"
    path.write_text("".join(f"./{key.removesuffix('.jpg')},{key[:3]}\n" for key in IDS))
    found = load_targets(store, path)
    assert len(found.ids) == len(IDS)
    assert any("has no header" in note for note in found.notes)
