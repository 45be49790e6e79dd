"""What `serve` refuses before it serves anything, and stores that change under it."""

from __future__ import annotations

import csv
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fxengine import Index, InputError, StoreError, serve
from fxengine.serving.serve import open_for_page
from tests.serving.conftest import let_in
from tests.stores import write_store


def test_it_says_what_is_not_installed(looked_at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxengine.serving.serve.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"starlette and uvicorn is not installed: pip install 'fxengine\[web\]'"):
        serve(looked_at / "store")


def test_a_port_in_use_is_said(looked_at: Path) -> None:
    said = r"`port` \d+ of 127.0.0.1 cannot be listened on: Address already in use"
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(InputError, match=said):
        serve(looked_at / "store", port=other.getsockname()[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "example.org"])
def test_others_see_nothing_unless_it_is_said(looked_at: Path, host: str) -> None:
    with pytest.raises(InputError, match="can be reached from other machines"):
        serve(looked_at / "store", host=host)


def test_a_head_of_another_space_or_layer_is_refused(looked_at: Path, tmp_path: Path) -> None:
    write_store(tmp_path / "other", np.eye(8))
    with pytest.raises(StoreError, match="space"):
        open_for_page(tmp_path / "other", model=looked_at / "head.onnx")
    with pytest.raises(StoreError, match="no layer"):
        open_for_page(looked_at / "store", model=looked_at / "head.onnx", layer="middle")
    with pytest.raises(InputError, match="There is no head file"):
        open_for_page(looked_at / "store", model=looked_at / "none.onnx")


def test_reports_are_pages(looked_at: Path) -> None:
    assert open_for_page(looked_at / "store", reports=looked_at).reports == (looked_at / "page.html",)
    for bad in (looked_at / "head.onnx", looked_at / "photos", looked_at / "none.html"):
        with pytest.raises(InputError, match=r"is no \.html file"):
            open_for_page(looked_at / "store", reports=bad)


def test_a_folder_of_pictures_that_is_not_there_is_said(looked_at: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"):
        open_for_page(looked_at / "store", pictures=looked_at / "nowhere")


def test_a_store_that_changes_is_shown_as_it_was(tmp_path: Path) -> None:
    write_store(tmp_path / "store", np.eye(4), labels=["a", "b", "a", "b"])
    before, fresh = (let_in(open_for_page(tmp_path / "store")) for _ in range(2))
    near = before.get("/api/row/2")["neighbours"]
    fresh.get("/api/rows")
    write_store(tmp_path / "store", np.eye(6)[:, :4] + 1, labels=["a"] * 6)
    assert before.get("/api/rows")["total"] == 4
    assert before.get("/api/row/2")["neighbours"] == near
    answer = fresh.client.get("/api/row/2")  # which has yet to read the vectors
    assert (answer.status_code, "open it again" in answer.json()["error"]) == (400, True)
    assert let_in(open_for_page(tmp_path / "store")).get("/api/rows")["total"] == 6


def test_an_index_that_is_made_and_changed_meanwhile_changes_no_answer(tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).normal(size=(300, 8))
    store = write_store(tmp_path / "store", vectors)
    exactly = let_in(open_for_page(tmp_path / "store"))
    near = [row["id"] for row in exactly.get("/api/row/7")["neighbours"]]
    Index.build(store, factory="IVF2,Flat", recall=0.9).save()
    assert [row["id"] for row in exactly.get("/api/row/7")["neighbours"]] == near

    indexed = let_in(open_for_page(tmp_path / "store"))
    assert indexed.post("/api/search", {"plus": [{"row": 7}]})["method"] != "exact"
    near = [row["id"] for row in indexed.get("/api/row/7")["neighbours"]]
    Index.build(store, factory="IVF3,Flat", recall=0.9).save()
    assert [row["id"] for row in indexed.get("/api/row/7")["neighbours"]] == near
    shutil.rmtree(tmp_path / "store" / "_index")
    assert [row["id"] for row in indexed.get("/api/row/7")["neighbours"]] == near

    old = let_in(open_for_page(tmp_path / "store"))
    Index.build(store, factory="IVF2,Flat", recall=0.9).save()
    write_store(tmp_path / "store", vectors[:200])
    answer = old.client.get("/api/row/7")  # vectors and index are of another state than its rows
    assert (answer.status_code, "open it again" in answer.json()["error"]) == (400, True)
    fresh = let_in(open_for_page(tmp_path / "store"))
    found = fresh.post("/api/search", {"plus": [{"row": 7}]})
    assert (found["method"], found["searched"]) == ("exact", 200)
    assert "changed" in found["warning"]


def test_answers_outlive_a_store_that_is_computed_anew(tmp_path: Path) -> None:
    write_store(tmp_path / "store", np.eye(6), ids=[f"{i}.jpg" for i in range(6)])
    before = let_in(open_for_page(tmp_path / "store"))
    before.post("/api/label/answer", {"rows": [1], "label": "cat"})
    write_store(tmp_path / "store", np.eye(7), ids=[f"{i}.jpg" for i in range(7)])
    before.post("/api/label/answer", {"rows": [2], "label": "dog"})
    after = let_in(open_for_page(tmp_path / "store"))
    after.post("/api/label/answer", {"rows": [6], "label": "dog"})
    table = (tmp_path / "store.review" / "labels.csv").read_text().splitlines()
    assert table == ["id,label", "1.jpg,cat", "2.jpg,dog", "6.jpg,dog"]


def test_ids_and_labels_of_html_and_formulas_are_data(tmp_path: Path) -> None:
    ids = [
        "=cmd|' /C calc'!A0",
        "+1.jpg",
        "@SUM(A1).jpg",
        "<script>alert(1)</script>.jpg",
        '"><img src=x>.jpg',
        "\u202egpj.jpg",
    ]
    labels: list[str | None] = ["<b>", '"', "'", "</script>", "&amp;", "=1+1"]
    write_store(tmp_path / "store", np.eye(6), ids=ids, labels=labels)
    person = let_in(open_for_page(tmp_path / "store"))
    rows = person.get("/api/rows")["rows"]
    assert {row["id"]: row["label"] for row in rows} == dict(zip(ids, labels, strict=True))
    assert {each["name"] for each in person.get("/api/about")["labels"]} == set(labels)
    assert person.get("/api/rows", label="</script>")["rows"][0]["id"] == ids[3]
    person.post("/api/label/answer", {"rows": [*range(6)], "label": "<i>x</i>"})
    with (tmp_path / "store.review" / "labels.csv").open(newline="") as file:
        written = [line["id"] for line in csv.DictReader(file)]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in written)
    assert {cell.removeprefix("./") for cell in written} == set(ids)


def test_a_store_without_vectors_is_shown(tmp_path: Path) -> None:
    write_store(tmp_path / "store", np.eye(2), failed=(0, 1))
    person = let_in(open_for_page(tmp_path / "store"))
    assert person.get("/api/rows")["total"] == 2
    assert person.get("/api/row/0")["error"] == "damaged"
    assert person.client.get("/api/map/places").status_code == 400


def test_the_page_is_there_before_what_searches_is_imported() -> None:
    code = "import sys, fxengine.serving.serve, fxengine.serving.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"faiss", "scipy", "sklearn"} & set(done.stdout.split())
