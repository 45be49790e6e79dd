"""Labelling and deciding through the server: what a person answers is on the disk, and what is hostile says nothing."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fxengine import FeatureStore, apply, mislabeled
from fxengine.serving.guard import TOKEN_HEADER
from fxengine.serving.serve import open_for_page
from tests.conftest import PATIENCE, take_signals
from tests.serving.conftest import Person, let_in


@pytest.fixture
def own(looked_at: Path, tmp_path: Path) -> Path:
    """A store of this test's own, whose answers are nobody else's; its pictures are everybody's."""
    shutil.copytree(looked_at / "store", tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def person(own: Path) -> Person:
    return let_in(open_for_page(own))


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def test_ten_answers_and_a_round(person: Person, own: Path) -> None:
    assert person.get("/api/label")["labelled"] == 0
    rows = person.get("/api/label/rows", count=500)
    assert rows["total"] == 25  # the damaged one is not asked for
    named = {row["row"]: row["label"] for row in rows["rows"]}
    assert "answer" not in rows["rows"][0]
    asked = [*named][:10]
    for i, row in enumerate(asked):
        state = person.post("/api/label/answer", {"rows": [row], "label": f" {named[row]} "})
        assert (state["labelled"], state["due"]) == (i + 1, i == 9)
    assert {each["name"] for each in state["names"]} == {"cats", "dogs"}
    assert state["learned"] is None
    state = person.post("/api/label/learn", {})
    assert state["learned"] == {"names": ["cats", "dogs"], "rows": 10}

    after = person.get("/api/label/rows", count=500)
    assert {row["row"] for row in after["rows"]} == set(named) - set(asked)
    likely = person.get("/api/label/rows", order="likely", name="dogs", count=500)["rows"]
    chances = [row["probability"] if row["answer"] == "dogs" else 1 - row["probability"] for row in likely]
    assert chances == sorted(chances, reverse=True)
    done = person.get("/api/label/rows", order="labelled", count=3)["rows"]
    assert [(row["row"], row["given"]) for row in done] == [(row, named[row]) for row in asked[:-4:-1]]
    assert person.get("/api/label/rows", order="different", label="dogs")["total"] == sum(
        name == "dogs" for row, name in named.items() if row not in asked
    )

    first = after["rows"][0]
    state = person.post("/api/label/answer", {"rows": [first["row"]], "label": first["answer"]})
    assert (state["right"], state["counted"]) == (1, 1)
    assert state["interval"][0] == pytest.approx(0.025)
    table = own.with_name("store.review") / "labels.csv"
    assert {line["id"]: line["label"] for line in cells(table)} == {
        **{row["id"]: row["label"] for row in rows["rows"] if row["row"] in asked}, first["id"]: first["answer"]
    }  # fmt: skip
    assert person.post("/api/label/undo", {})["undone"] == [{"id": first["id"], "given": None}]
    assert len(cells(table)) == 10
    again = let_in(open_for_page(own))
    assert again.get("/api/label")["learned"] == {"names": ["cats", "dogs"], "rows": 10}


def test_two_tabs_label_together(own: Path) -> None:
    one, other = let_in(open_for_page(own)), let_in(open_for_page(own))
    one.post("/api/label/answer", {"rows": [0, 1], "label": "cat"})
    other.post("/api/label/answer", {"rows": [2], "label": "dog"})
    assert one.get("/api/label")["labelled"] == other.get("/api/label")["labelled"] == 3
    one.post("/api/label/answer", {"rows": [0], "label": None})
    assert other.get("/api/label")["labelled"] == 2


@pytest.mark.parametrize(
    ("path", "data", "words"),
    [
        ("/api/label/answer", {"rows": [], "label": "cat"}, "Nothing is selected"),
        ("/api/label/answer", {"rows": [0], "label": "=1+1"}, "formula"),
        ("/api/label/answer", {"rows": [0], "label": "NA"}, "missing"),
        ("/api/label/answer", {"rows": [0], "label": "\ud800"}, "cannot be a label"),
        ("/api/label/answer", {"rows": [0], "label": 5}, "is a text"),
        ("/api/label/answer", {"rows": [0], "label": "x" * 3000}, "is a text"),
        ("/api/label/answer", {"rows": ["0"], "label": "cat"}, "must be a list"),
        ("/api/label/answer", {"rows": [999], "label": "cat"}, "no row 999"),
        ("/api/decide", {"about": "duplicate", "choices": []}, "what it is about"),
        ("/api/decide", {"about": "files", "choices": [{"row": 0, "decision": "drop"}]}, "no decision on a files"),
        ("/api/decide", {"about": "label", "choices": [{"row": 0, "decision": "drop"}]}, "no decision on a label"),
        ("/api/decide", {"about": "duplicate", "choices": [{"row": "../x", "decision": "drop"}]}, "a row and a word"),
        ("/api/decide", {"about": "duplicate", "choices": [{"row": 0, "decision": "drop", "of": 999}]}, "no row 999"),
        ("/api/decide", {"about": "duplicate", "choices": [{"row": 0, "decision": "different"}]}, "not different"),
        ("/api/decide", {"about": "label", "choices": [{"row": 0, "decision": "accept", "label": "@x"}]}, "cannot be"),
        ("/api/decide", {"about": "label", "choices": [{"row": 0, "decision": "accept", "label": ["x"]}]}, "is a text"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(person: Person, own: Path, path: str, data: object, words: str) -> None:
    headers = {**person.own(), "content-type": "application/json"}
    answer = person.client.post(path, content=json.dumps(data), headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    assert words in answer.json()["error"]
    assert not own.with_name("store.review").exists()


@pytest.mark.parametrize(
    ("path", "words"),
    [("/api/label/rows?order=sideways", "no order"), ("/api/label/rows?order=likely&name=x", "Nothing is learned")],
)
def test_an_order_that_is_none_is_a_sentence(person: Person, path: str, words: str) -> None:
    answer = person.client.get(path)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_nothing_is_answered_without_the_second_secret(person: Person) -> None:
    for path in ("/api/label/answer", "/api/label/undo", "/api/label/learn", "/api/decide", "/api/decide/undo"):
        assert person.client.post(path, json={"rows": [0], "label": "x"}).status_code == 403


def test_duplicates_are_decided_on_and_applied(looked_at: Path, own: Path, person: Person, tmp_path: Path) -> None:
    found = person.get("/api/duplicates")
    (group,) = [group["rows"] if isinstance(group, dict) else group for group in found["groups"]
                if any(row["kind"] == "identical" for row in group)]  # fmt: skip
    kept = next(row for row in group if row["kind"] is None)
    copy = next(row for row in group if row["kind"] == "identical")
    assert copy["of"] == kept["row"]
    assert {kept["id"], copy["id"]} == {"cats/01.jpg", "cats/<b onclick=alert(1)>.jpg"}
    choice = {"row": copy["row"], "decision": "drop", "of": kept["row"]}
    person.post("/api/decide", {"about": "duplicate", "choices": [choice]})
    assert person.get("/api/duplicates")["total"] == found["total"] - 1
    again = let_in(open_for_page(own))
    assert again.get("/api/duplicates")["total"] == found["total"] - 1
    assert person.post("/api/decide/undo", {})["undone"] == [copy["id"]]
    assert person.get("/api/duplicates")["total"] == found["total"]

    person.post("/api/decide/best", {})
    assert person.get("/api/duplicates")["total"] == 0
    table = own.with_name("store.review") / "decisions.csv"
    dropped = [line["id"] for line in cells(table) if line["decision"] == "drop"]
    assert dropped == [copy["id"]]
    assert apply(own, table, move=tmp_path / "aside", dry_run=True).done == (copy["id"],)
    assert len(person.post("/api/decide/undo", {})["undone"]) >= 1
    assert cells(table) == []


def test_suspects_are_those_of_mislabeled_until_they_are_decided_on(own: Path, person: Person) -> None:
    ranking = [row.id for row in mislabeled(own).rows]
    found = person.get("/api/suspects", count=500)
    assert [row["id"] for row in found["rows"]] == ranking
    first, second = found["rows"][:2]
    choices = [{"row": first["row"], "decision": "skip", "label": first["suggestion"]},
               {"row": second["row"], "decision": "accept", "label": second["suggestion"]}]  # fmt: skip
    person.post("/api/decide", {"about": "label", "choices": choices})
    left = person.get("/api/suspects", count=500)["rows"]
    assert [row["id"] for row in left] == [key for key in ranking if key not in (first["id"], second["id"])] + [
        first["id"]
    ]
    done = apply(own, own.with_name("store.review") / "decisions.csv")
    assert done.corrected is not None
    given = {line["id"]: line["label"] for line in cells(done.corrected)}
    store = FeatureStore.open(own)
    assert given == dict(zip(store.ids(), store.labels(), strict=True)) | {
        second["id"]: second["suggestion"], "cats/broken.jpg": "cats",
    }  # fmt: skip


@pytest.mark.slow
def test_a_kill_of_the_server_loses_no_answer(own: Path) -> None:
    command = [sys.executable, "-m", "fxengine", "serve", str(own)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=take_signals)
    assert process.stderr is not None
    process.stderr.readline()
    link = process.stderr.readline().strip()
    with httpx.Client(base_url=link.partition("/?")[0], timeout=PATIENCE) as client:
        client.get(link)
        page = client.get("/").text
        token = page.partition('name="fxengine-token" content="')[2].partition('"')[0]
        headers = {"origin": str(client.base_url).rstrip("/"), TOKEN_HEADER: token}
        for row in range(5):
            said = client.post("/api/label/answer", json={"rows": [row], "label": f"n{row}"}, headers=headers)
            assert said.json()["labelled"] == row + 1
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert [line["label"] for line in cells(own.with_name("store.review") / "labels.csv")] == [
        f"n{i}" for i in range(5)
    ]
    assert let_in(open_for_page(own)).get("/api/label")["labelled"] == 5
