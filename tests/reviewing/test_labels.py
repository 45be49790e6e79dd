"""A journal loses no answer, and `labels.csv` is what a dict of the answers would be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from fxengine import FeatureStore, InputError, probe
from fxengine.collect.table import read_table
from fxengine.probing.targets import load_targets
from fxengine.reviewing.labels import LOG, TABLE, Labels, checked_name
from tests.stores import write_store

# Ids as files may be called: what a spreadsheet takes for a formula, quotes, line ends, commas, spaces.
ODD = ["=1+1.jpg", "@x", "-a", "+b", 'a"b', "a,b", "a\nb", " c ", "ä/ö", "x\\\\y", "<script>", "10", "a/./b"]
ANSWERS = st.lists(
    st.one_of(
        st.none(),  # undo
        st.tuples(
            st.lists(st.integers(0, len(ODD) - 1), min_size=1, max_size=4, unique=True),
            st.sampled_from(["cat", "dog", "7", "wild cat", None]),
        ),
    ),
    max_size=20,
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return write_store(tmp_path_factory.mktemp("odd") / "s", np.eye(len(ODD), 8) + 1, ids=ODD)


def ids_of(store: FeatureStore) -> list[str]:
    ids: list[str] = store.rows(["id"])["id"].to_pylist()
    return ids


@settings(max_examples=30, deadline=None)
@given(answers=ANSWERS)
def test_any_answers_and_undos_give_what_a_dict_would(
    odd: FeatureStore, answers: list[tuple[list[int], str | None] | None]
) -> None:
    ids = ids_of(odd)
    states: list[dict[str, str]] = [{}]
    with tempfile.TemporaryDirectory() as name:
        labels = Labels(odd, Path(name))
        for each in answers:
            if each is None:
                labels.undo()
                states = states[:-1] or [{}]
            else:
                labels.answer(*each)
                changed = {ids[place]: each[1] for place in each[0]}
                merged = {**states[-1], **changed}
                states.append({key: label for key, label in merged.items() if label is not None})
        again = Labels(odd, Path(name))
        assert labels.given == again.given == states[-1]
        if not answers:
            assert not [*Path(name).iterdir()]
        elif states[-1]:
            found = load_targets(odd, Path(name) / TABLE)
            names = [found.problem.names[i] for i in found.problem.y]
            assert dict(zip(found.ids, names, strict=True)) == states[-1]
            cells = read_table(Path(name) / TABLE)[0]["id"].to_pylist()
            assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


@pytest.mark.slow
def test_a_kill_between_two_answers_loses_none(odd: FeatureStore, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from fxengine import FeatureStore;"
        "from fxengine.reviewing.labels import Labels;"
        f"labels = Labels(FeatureStore.open({str(odd.path)!r}), Path({str(tmp_path / 'r')!r}))\n"
        "while True:\n for i in range(13):\n  labels.answer([i], f'n{i}'); print(i, flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(7)]
    process.send_signal(signal.SIGKILL)
    said += [int(line) for line in process.stdout.read().split()]
    process.wait()
    labels = Labels(odd, tmp_path / "r")
    ids = ids_of(odd)
    assert {ids[i]: f"n{i}" for i in said}.items() <= labels.given.items()
    assert labels.damaged <= 1


def test_a_damaged_line_is_left_out_and_the_next_answer_is_not_lost_to_it(odd: FeatureStore, tmp_path: Path) -> None:
    labels = Labels(odd, tmp_path)
    labels.answer([0, 1], "cat")
    labels.answer([2], "dog")
    content = (tmp_path / LOG).read_bytes()
    (tmp_path / LOG).write_bytes(content[:-9])
    again = Labels(odd, tmp_path)
    assert (again.damaged, [*again.given.values()]) == (1, ["cat", "cat"])
    again.answer([3], "bird")
    assert [*Labels(odd, tmp_path).given.values()] == ["cat", "cat", "bird"]
    lines = (tmp_path / LOG).read_text().splitlines()
    assert [set(json.loads(line)) for line in (lines[0], lines[-1])] == [
        {"time", "answer", "row", "id", "content_hash", "label", "foretold"}
    ] * 2


def test_two_processes_add_to_one_journal(odd: FeatureStore, tmp_path: Path) -> None:
    one, other = Labels(odd, tmp_path), Labels(odd, tmp_path)
    one.answer([0], "cat")
    other.answer([1], "dog")
    one.answer([2], "cat")
    assert one.undo() == [ids_of(odd)[2]]
    assert other.refresh()
    assert (
        one.given
        == other.given
        == Labels(odd, tmp_path).given
        == dict(zip(ids_of(odd)[:2], ["cat", "dog"], strict=True))
    )


def test_what_is_foretold_counts_once_and_before_the_answer(odd: FeatureStore, tmp_path: Path) -> None:
    labels = Labels(odd, tmp_path)
    labels.answer([0], "cat")
    assert labels.running().interval is None
    labels.answer([1, 2, 3], "cat", {1: "cat", 2: "dog", 3: "cat"})
    labels.answer([2], "dog", {2: "dog"})  # the second answer about a row proves nothing
    labels.answer([4], "cat", {4: "cat"})
    labels.undo()
    running = labels.running()
    assert (running.right, running.counted) == (2, 3)
    judge = binomtest(2, 3).proportion_ci(method="exact")
    assert running.interval is not None
    np.testing.assert_allclose((running.interval.low, running.interval.high), (judge.low, judge.high), rtol=1e-9)


def test_a_renamed_file_keeps_its_label_and_another_one_of_its_number_gets_none(tmp_path: Path) -> None:
    vectors = np.eye(3, 4) + 1
    store = write_store(tmp_path / "s", vectors, ids=["a", "b", "c"], hashes=["A", "B", "C"])
    labels = Labels(store)
    labels.answer([0], "cat")
    labels.answer([1], "dog")
    assert labels.folder == tmp_path / "s.review"
    renamed = write_store(tmp_path / "s", vectors, ids=["a2", "c2", "d"], hashes=["A", "other", "D"])
    assert Labels(renamed).given == {"a2": "cat", "b": "dog"}
    assert Labels(renamed).places()[0].tolist() == [0]


@pytest.mark.parametrize(
    "name", ["", "  ", "NA", "null", "nan", "1.5", "1e3", "inf", "=1+1", "@x", "+x", "-x", "x" * 1001, "a\x00"]
)
def test_a_name_that_would_be_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot be a label"):
        checked_name(name)


@pytest.mark.parametrize(
    ("given", "name"), [(" cat ", "cat"), ("wild\n cat", "wild cat"), ("-1", "-1"), ("007", "007")]
)
def test_a_name_is_kept_as_it_is_read(given: str, name: str) -> None:
    assert checked_name(given) == name


def hostile_link(folder: Path, secret: Path) -> None:
    (folder / LOG).symlink_to(secret)


def hostile_hard_link(folder: Path, secret: Path) -> None:
    (folder / LOG).hardlink_to(secret)


def hostile_pipe(folder: Path, secret: Path) -> None:
    os.mkfifo(folder / LOG)


def hostile_folder(folder: Path, secret: Path) -> None:
    folder.rmdir()
    folder.symlink_to(secret.parent / "elsewhere")
    (secret.parent / "elsewhere").mkdir()
    (secret.parent / "elsewhere" / LOG).write_text("")


@pytest.mark.parametrize("make", [hostile_link, hostile_hard_link, hostile_pipe, hostile_folder])
def test_a_journal_that_leads_elsewhere_is_refused(odd: FeatureStore, tmp_path: Path, make: object) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "r"
    secret.write_text("mine")
    folder.mkdir()
    assert callable(make)
    make(folder, secret)
    with pytest.raises(InputError, match=r"link|no file"):
        Labels(odd, folder)
    assert secret.read_text() == "mine"
    assert not [*(tmp_path.glob("elsewhere/labels.csv"))]


@pytest.mark.parametrize(
    "line",
    ["[]", "null", "x", "[" * 99_999, '{"answer": 1}', '{"answer": 1, "id": "\\ud800", "row": 1}', '{"undo": "1"}',
     '{"answer": 1, "id": "a", "row": 1e99}', '{"answer": 1, "id": "a", "row": 18446744073709551616}',
     '{"answer": 1, "id": "a", "row": 1, "label": "=x"}', '{"answer": 1, "id": "a", "row": true, "label": "x"}',
     '{"answer": 1, "id": "a", "row": 1, "label": 5}', '{"answer": 1, "id": "a", "row": 0, "label": "x"}',
     '{"answer": 1, "id": "a", "row": 0, "content_hash": null, "foretold": null}',
     '{"answer": %s, "id": "a", "row": 0, "content_hash": null, "label": "x", "foretold": null}' % ("9" * 4300)],
)  # fmt: skip
def test_a_line_that_says_something_else_is_left_out(odd: FeatureStore, tmp_path: Path, line: str) -> None:
    (tmp_path / LOG).write_text(f"{line}\n")
    labels = Labels(odd, tmp_path)
    assert (labels.given, labels.damaged) == ({}, 1)


def test_the_table_is_read_as_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(2, 8) * 9, 20, axis=0)
    store = write_store(tmp_path / "s", centres + rng.normal(size=(40, 8)))
    labels = Labels(store)
    labels.answer(range(15), "cat")
    labels.answer(range(20, 35), "dog")
    assert "10 of 40 rows have no label" in " ".join(
        probe(store.path, labels=labels.folder / TABLE, head="ridge").notes
    )
    found = load_targets(store, labels.folder / TABLE)
    assert (found.problem.names, np.bincount(found.problem.y).tolist()) == (("cat", "dog"), [15, 15])
