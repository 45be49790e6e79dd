from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine import FeatureStore, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.features.texts import texts_of
from fxengine.retrieval import same_text
from fxengine.retrieval.same_text import THRESHOLD, jaccard, normalized, same_text_pairs, verify_texts
from tests.texts import write_table

ROWS = {
    "a": "Don't waste your money here.",
    "b": "Don't waste your money here.",  # identical to a
    "c": "DON\u2019T waste -- your   money, here!!",  # the same text as a
    "d": "Don't waste your money here, ever.",  # near the same as a
    "e": "A lovely film of a lovely book.",
    "f": "!!!",
    "g": "! ! !",  # the same as f, which has no word
    "h": "???",
}
PAIRS = [("a", "b"), ("a", "c"), ("d", "a"), ("a", "e"), ("f", "g"), ("f", "h"), ("c", "b")]
SHINGLES = {"a": "don t waste your money here", "d": "don t waste your money here ever"}


def judged(a: str, b: str) -> float:
    """Return the Jaccard index of two texts by Python's sets."""
    first, second = ({text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in (a, b))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["Don't  WAIT!!", "don\u2019t wait", "\tDON'T\nwait…"], "don t wait"),
        (["Straße", "STRASSE"], "strasse"),
        (["\uff26ull\u3000\uff37idth", "full width"], "full width"),
        (["e\u0301te\u0301", "été", "ÉTÉ"], "été"),
        (["soft\u00adhyphen", "soft\u200dhyphen"], "softhyphen"),
        (["❤\ufe0f", "❤"], "❤"),
        (["C++ is more", "c++, is more."], "c++ is more"),
        (["!!!", "! ! !"], "!!!"),
        ([":-("], ":-("),
        (["", "  "], ""),
    ],
)
def test_what_is_the_same_text(texts: list[str], expected: str) -> None:
    assert [normalized(text) for text in texts] == [expected] * len(texts)


def test_what_is_not_the_same_text() -> None:
    different = ["कि", "के", "C", "C++", ":-)", ":-(", "été", "ete", "4.5", "45", "5 €", "5 $", "!", "?"]
    assert len({normalized(text) for text in different}) == len(different)


@pytest.mark.parametrize(
    "texts",
    [
        ["5 degrees", "-5 degrees", "\u22125 degrees", "5% degrees", "\u20135 degrees"],
        ["C", "C#", "C++", "C/"],
        ["1/2", "1:2", "1-2", "1.2", "1,2", "1 2", "12"],
        ["10\uff05 more", "10 more"],
        ["x = -1", "x = 1"],
    ],
)
def test_signs_of_numbers_count(texts: list[str]) -> None:
    assert len({normalized(text) for text in texts}) == len(texts)


def test_marks_around_numbers_do_not() -> None:
    assert {normalized(text) for text in ["It cost 10.", "it cost (10)!", "It cost: 10, ", '"It cost 10"']} == {
        "it cost 10"
    }


@settings(deadline=None)
@given(st.text(), st.sampled_from(" \t\n.,;!?-—'\"()\u3000"))
def test_normalizing_again_changes_nothing_nor_do_spaces_and_marks_about_a_word(text: str, between: str) -> None:
    found = normalized(text)
    assert normalized(found) == found
    assert normalized(f"  {text}\n") == found
    assert normalized(f"a{between} {text}") == f"a {found}".strip() or not any(map(str.isalnum, found))


@settings(deadline=None)
@given(st.text(alphabet="abcdé ", max_size=30), st.text(alphabet="abcdé ", max_size=30))
def test_jaccard_is_that_of_the_sets(a: str, b: str) -> None:
    assert jaccard(a, b) == jaccard(b, a) == judged(a, b)


def made(table: Path, net: BackboneFile) -> FeatureStore:
    """Return the store of a table's texts, beside it."""
    place = table.with_name("store")
    extract(table, place, backbone=net.path, precision="fp32", column="text", id_column="id")
    return FeatureStore.open(place)


@pytest.fixture
def store(tmp_path: Path, tiny_texts: BackboneFile) -> FeatureStore:
    """Rows whose texts only the table has."""
    table = write_table(tmp_path / "t.csv", [(key, text, "yes") for key, text in ROWS.items()])
    return made(table, tiny_texts)


def places_of(rows: pa.Table, pairs: list[tuple[str, str]]) -> np.ndarray:
    ids = rows["id"].to_pylist()
    return np.array([[ids.index(a), ids.index(b)] for a, b in pairs], np.int64)


@pytest.mark.parametrize("at_once", [32 << 20, 40, 1])
def test_what_pairs_are(store: FeatureStore, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(same_text, "_BYTES", at_once)
    rows = store.rows(["id", "content_hash", "size"])
    found = verify_texts(places_of(rows, PAIRS), rows, store)
    same, near = "same text", judged(SHINGLES["a"], SHINGLES["d"])
    assert found.kind.tolist() == ["identical", same, "near the same", "alike", same, "alike", same]
    assert THRESHOLD <= near < 1
    alike = judged(normalized(ROWS["a"]), normalized(ROWS["e"]))
    assert found.score.tolist() == pytest.approx([1, 1, near, alike, 1, 0, 1], abs=1e-6)
    assert [*map(tuple, same_text_pairs(rows, store))] == [*map(tuple, places_of(rows, [*PAIRS[:2], PAIRS[4]]))]


def test_a_text_that_cannot_be_read_any_more_is_unverified(store: FeatureStore, tmp_path: Path) -> None:
    rows = store.rows(["id", "content_hash", "size"])
    write_table(tmp_path / "t.csv", [(key, f"{text}{key == 'c'}", "yes") for key, text in ROWS.items() if key != "f"])
    pairs = places_of(rows, PAIRS)
    found = verify_texts(pairs, rows, store)
    gone = "unverified"
    assert found.kind.tolist() == ["identical", gone, gone, gone, gone, gone, gone]
    (tmp_path / "t.csv").unlink()
    assert verify_texts(pairs, rows, store).kind.tolist() == ["identical", *[gone] * 6]
    assert np.isnan(found.score).tolist() == [False, *[True] * 6]
    assert same_text_pairs(rows, store).tolist() == []
    assert verify_texts(np.empty((0, 2), np.int64), rows, store).kind.tolist() == []


def test_rows_without_a_hash_are_not_identical(store: FeatureStore) -> None:
    rows = store.rows(["id", "content_hash", "size"])
    rows = rows.set_column(1, "content_hash", pa.nulls(len(rows), pa.string()))
    assert verify_texts(places_of(rows, PAIRS[:1]), rows, store).kind.tolist() == ["same text"]


def test_texts_are_held_a_few_at_a_time(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, asked = store.rows(["id", "content_hash", "size"]), list[int]()
    pairs = np.array([[i, j] for i in range(8) for j in range(i)], np.int64)
    expected = verify_texts(pairs, rows, store)

    def noted(store: FeatureStore, ids: list[str]) -> dict[str, str]:
        asked.append(sum(len(ROWS[key]) for key in ids))
        return texts_of(store, ids)

    monkeypatch.setattr(same_text, "_BYTES", 60)
    monkeypatch.setattr(same_text, "texts_of", noted)
    assert verify_texts(pairs, rows, store).kind.tolist() == expected.kind.tolist()
    assert len(asked) > 8
    assert max(asked) <= 60 + 2 * 36  # what is asked for, and a pair more
    asked.clear()
    same_text_pairs(rows, store)
    assert max(asked) <= 60 + 36
    assert sum(asked) == sum(map(len, ROWS.values()))
