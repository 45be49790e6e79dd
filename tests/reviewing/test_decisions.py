"""Decisions are remembered: what was decided does not come back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine import FeatureStore, InputError
from fxengine.reviewing.decisions import DUPLICATE, LABEL, LOG, TABLE, Choice, Decisions, hashes_of, open_groups
from tests.stores import write_store

IDS = ["a", "b", "c", "d", "=e"]
CHOICES = st.lists(
    st.one_of(
        st.none(),
        st.tuples(st.integers(0, 4), st.sampled_from(["keep", "drop", "different"]), st.integers(0, 4)),
    ),
    max_size=15,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_store(tmp_path_factory.mktemp("d") / "s", np.eye(5, 8) + 1, ids=sorted(IDS))


@settings(max_examples=30, deadline=None)
@given(choices=CHOICES)
def test_any_decisions_and_undos_give_what_a_dict_would(
    store: FeatureStore, choices: list[tuple[int, str, int] | None]
) -> None:
    ids = sorted(IDS)
    states: list[dict[object, str]] = [{}]
    with tempfile.TemporaryDirectory() as name:
        decisions = Decisions(store, Path(name))
        for each in choices:
            if each is None:
                decisions.undo()
                states = states[:-1] or [{}]
                continue
            place, decision, of = each
            if decision == "different" and place == of:
                with pytest.raises(InputError, match="not different"):
                    decisions.decide(DUPLICATE, [Choice(place, decision, of)])
                continue
            decisions.decide(DUPLICATE, [Choice(place, decision, of)])
            state, pair = dict(states[-1]), frozenset([ids[place], ids[of]])
            if decision == "different":
                state[pair] = decision
                state.pop(ids[place], None)
            else:
                state[ids[place]] = decision
                state.pop(pair, None)
            states.append(state)
        again = Decisions(store, Path(name))
        assert (again.taken, again.different) == (decisions.taken, decisions.different)
        wanted = states[-1]
        assert {key: entry["decision"] for (_, key), entry in again.taken.items()} == {
            key: value for key, value in wanted.items() if isinstance(key, str)
        }
        assert {frozenset([e["id"], e["of"]]) for e in again.different.values()} == {
            key for key in wanted if isinstance(key, frozenset)
        }


def table(*rows: tuple[int, str, str | None, str | None]) -> list[dict[str, object]]:
    """Return groups as `duplicates` gives them: group, id, kind, and the row that it was compared with."""
    names = ("group", "id", "kind", "of")
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_a_group_is_shown_until_it_is_decided_on(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", np.eye(5, 8) + 1, ids=["a", "b", "c", "d", "e"])
    found = table((0, "a", None, None), (0, "b", "same picture", "a"), (0, "c", "same scene", "a"),
                  (1, "d", None, None), (1, "e", "identical", "d"))  # fmt: skip
    hashes = hashes_of(store, ["a", "b", "c", "d", "e"])
    decisions = Decisions(store)

    def shown() -> list[list[str]]:
        return [[row["id"] for row in group] for group in open_groups(found, decisions, hashes)]

    assert shown() == [["a", "b", "c"], ["d", "e"]]
    decisions.decide(DUPLICATE, [Choice(2, "different", 0)])
    assert shown() == [["a", "b"], ["d", "e"]]
    decisions.decide(DUPLICATE, [Choice(1, "drop", 0)])
    assert shown() == [["d", "e"]]
    decisions.decide(DUPLICATE, [Choice(4, "keep", 3)])
    assert shown() == []
    assert decisions.undo() == ["e"]
    assert decisions.undo() == ["b"]
    assert shown() == [["a", "b"], ["d", "e"]]

    # By their contents: the same two files under other names, in a store that was made again, are still different.
    again = write_store(tmp_path / "s2", np.eye(3, 8) + 1, ids=["a", "x", "y"], hashes=["hash a", "hash c", "hash y"])
    same = Decisions(again, decisions.folder)
    other = table((0, "a", None, None), (0, "x", "same scene", "a"), (0, "y", "same scene", "a"))
    groups = open_groups(other, same, hashes_of(again, ["a", "x", "y"]))
    assert [[row["id"] for row in group] for group in groups] == [["a", "y"]]


@pytest.mark.parametrize(
    ("about", "choice", "words"),
    [
        (DUPLICATE, Choice(0, "accept"), "is no decision on a duplicate"),
        (LABEL, Choice(0, "drop"), "is no decision on a label"),
        ("nothing", Choice(0, "drop"), "is no decision on a nothing"),
        (DUPLICATE, Choice(0, "different"), "not different"),
        (LABEL, Choice(0, "accept", label="NA"), "cannot be a label"),
    ],
)
def test_what_cannot_be_decided_is_refused(
    store: FeatureStore, tmp_path: Path, about: str, choice: Choice, words: str
) -> None:
    decisions = Decisions(store, tmp_path / "r")
    with pytest.raises(InputError, match=words):
        decisions.decide(about, [choice])
    assert not (tmp_path / "r" / LOG).exists()


def test_a_hostile_journal_says_nothing(store: FeatureStore, tmp_path: Path) -> None:
    lines = [
        '{"answer": 1, "about": "duplicate", "id": "a", "row": 0, "decision": "explode"}',
        '{"answer": 1, "about": "duplicate", "id": "a", "row": 0, "decision": "different"}',
        '{"answer": 1, "about": "duplicate", "id": "a", "row": 0, "decision": "keep", "of": "\\ud800"}',
        '{"answer": 1, "about": ["duplicate"], "id": "a", "row": 0, "decision": "keep"}',
        '{"answer": 1, "about": "label", "id": "a", "row": 0, "decision": "accept", "label": "=cmd"}',
        '{"answer": 1, "about": "duplicate", "id": "a", "row": 0, "content_hash": "x", "decision": "drop"}',
    ]
    (tmp_path / LOG).write_text("\n".join(lines) + "\n")
    decisions = Decisions(store, tmp_path)
    assert (decisions.damaged, decisions.taken, decisions.different) == (6, {}, {})
    assert (tmp_path / TABLE).read_text().count("\n") == 1
