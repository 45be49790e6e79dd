"""Decisions act on this store's files alone, as they were, and can be taken back."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fxengine import FeatureStore, InputError, StoreError, apply, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect.table import read_table
from fxengine.probing.targets import load_targets
from fxengine.reviewing import moving
from fxengine.reviewing.decisions import DUPLICATE, LABEL, TABLE, Choice, Decisions
from fxengine.trust import name_pictures
from tests.conftest import make_photo, run_cli
from tests.stores import write_store


@pytest.fixture
def store(photos: Path, tmp_path: Path) -> Path:
    """A store of twenty photos and a copy of one; this user named their folder."""
    shutil.copy(photos / "cats" / "01.jpg", photos / "=copy.jpg")
    files = sorted(files_of(photos).items())
    ids, labels = [key for key, _ in files], [key.partition("/")[0] if "/" in key else None for key, _ in files]
    hashes = [hashlib.sha256(content).hexdigest() for _, content in files]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 8))
    write_store(tmp_path / "store", vectors, ids=ids, hashes=hashes, labels=labels, root=str(photos))
    name_pictures(photos)
    return tmp_path / "store"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def decided(store: Path, lines: list[dict[str, str]]) -> Path:
    path = store.parent / "mine.csv"
    names = [*dict.fromkeys(name for line in lines for name in line)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(lines)
    return path


def drop(*ids: str) -> list[dict[str, str]]:
    return [{"id": key, "decision": "drop"} for key in ids]


def test_what_was_decided_in_the_page_moves_and_comes_back(store: Path, photos: Path, tmp_path: Path) -> None:
    opened = FeatureStore.open(store)
    ids = opened.rows(["id"])["id"].to_pylist()
    place = {key: at for at, key in enumerate(ids)}
    decisions = Decisions(opened)
    decisions.decide(
        DUPLICATE, [Choice(place["=copy.jpg"], "drop", place["cats/01.jpg"]), Choice(place["cats/01.jpg"], "keep")]
    )
    before, aside = files_of(photos), tmp_path / "aside"
    table = decisions.folder / TABLE

    looked = apply(store, table, move=aside, dry_run=True)
    assert (looked.done, looked.acted, looked.undo) == (("=copy.jpg",), False, None)
    assert files_of(photos) == before
    assert not aside.exists()

    moved = apply(store, table, move=aside)
    assert (moved.done, dict(moved.skipped), moved.action) == (("=copy.jpg",), {}, "move")
    assert files_of(aside) == {"=copy.jpg": before["=copy.jpg"]}
    assert files_of(photos) == {key: content for key, content in before.items() if key != "=copy.jpg"}
    assert apply(store, table, move=aside).skipped == {"=copy.jpg": "It is not there."}

    assert moved.undo is not None
    assert apply(store, moved.undo, move=aside, dry_run=True).done == ("=copy.jpg",)
    assert apply(store, moved.undo, move=aside).done == ("=copy.jpg",)
    assert files_of(photos) == before
    assert files_of(aside) == {}
    assert apply(store, moved.undo, move=aside).skipped == {"=copy.jpg": "It is not there."}


@pytest.mark.slow
def test_deleting_wants_a_word_and_cannot_be_undone(store: Path, photos: Path) -> None:
    table = decided(store, drop("cats/03.jpg"))
    said = run_cli("apply", store, table)
    assert (said.returncode, "would be deleted: cats/03.jpg" in said.stdout, "--yes" in said.stdout) == (1, True, True)
    assert (photos / "cats" / "03.jpg").exists()
    done = apply(store, table, yes=True)
    assert done.done == ("cats/03.jpg",)
    assert not (photos / "cats" / "03.jpg").exists()
    assert len(files_of(photos)) == 20
    assert done.undo is not None
    assert apply(store, done.undo, move=store.parent).skipped == {"cats/03.jpg": "It was deleted for good."}


@pytest.mark.parametrize(
    "key", ["../secret", "/etc/hostname", "cats/../../secret", "cats/none.jpg", "a\x01b", "cats", "", "x" * 70_000]
)
def test_an_id_of_another_store_touches_nothing(store: Path, photos: Path, key: str) -> None:
    (photos.parent / "secret").write_text("mine")
    before = files_of(photos)
    found = apply(store, decided(store, drop(key)), yes=True)
    assert (found.done, dict(found.skipped)) == ((), {key: "The store has no such row."})
    assert files_of(photos) == before
    assert (photos.parent / "secret").read_text() == "mine"


def test_ids_of_a_hostile_store_lead_nowhere(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    content = hashlib.sha256(b"mine").hexdigest()
    ids = ["../secret", str(secret), "cats/../../secret", "cats//01.jpg", "."]
    hostile = write_store(tmp_path / "s", np.eye(5, 8) + 1, ids=ids, hashes=[content] * 5, root=str(photos))
    with pytest.raises(InputError, match="did not extract"):
        apply(hostile.path, decided(hostile.path, drop(*ids)), yes=True)
    before = files_of(photos)
    found = apply(hostile.path, decided(hostile.path, drop(*ids)), yes=True, pictures=photos)
    assert found.done == ()
    assert set(found.skipped.values()) == {"Its id leads elsewhere."}
    assert secret.read_text() == "mine"
    assert files_of(photos) == before


def to_another_content(file: Path, elsewhere: Path) -> None:
    file.write_bytes(b"new")


def to_a_link(file: Path, elsewhere: Path) -> None:
    shutil.move(file, elsewhere)
    file.symlink_to(elsewhere)


def to_a_folder_link(file: Path, elsewhere: Path) -> None:
    shutil.move(file.parent, elsewhere)
    file.parent.symlink_to(elsewhere)


def to_a_pipe(file: Path, elsewhere: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def to_a_folder(file: Path, elsewhere: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("change", [to_another_content, to_a_link, to_a_folder_link, to_a_pipe, to_a_folder])
@pytest.mark.parametrize("aside", [True, False])
def test_a_file_that_is_not_what_it_was_stays(
    store: Path, photos: Path, change: Callable[[Path, Path], None], aside: bool
) -> None:
    elsewhere = photos.parent / "elsewhere"
    change(photos / "cats" / "03.jpg", elsewhere)
    before = files_of(photos.parent)
    move = photos.parent / "aside" if aside else None
    found = apply(store, decided(store, drop("cats/03.jpg")), move=move, yes=True)
    assert (found.done, [*found.skipped]) == ((), ["cats/03.jpg"])
    after = files_of(photos.parent)
    assert {key: after[key] for key in before if key != "mine.csv"} == {
        k: v for k, v in before.items() if k != "mine.csv"
    }


def test_a_file_that_is_swapped_in_the_last_moment_stays(
    store: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = photos / "cats" / "03.jpg"
    real = moving._ensure_content

    def swapped(handle: int, content_hash: str) -> None:
        real(handle, content_hash)
        file.unlink()
        file.write_bytes(b"of somebody else")

    monkeypatch.setattr(moving, "_ensure_content", swapped)
    for move in (None, photos.parent / "aside"):
        make_photo(file, 3)
        found = apply(store, decided(store, drop("cats/03.jpg")), move=move, yes=True)
        assert found.skipped == {"cats/03.jpg": "It was replaced while it was looked at."}
        assert file.read_bytes() == b"of somebody else"
        assert files_of(photos.parent / "aside") == {}
    assert not [path for path in photos.rglob(".*")]


def test_nothing_is_overwritten(store: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "aside" / "cats").mkdir(parents=True)
    (tmp_path / "aside" / "cats" / "03.jpg").write_text("was there")
    (tmp_path / "aside" / "dogs").symlink_to(tmp_path)
    found = apply(store, decided(store, drop("cats/03.jpg", "dogs/00.jpg", "cats/05.jpg")), move=tmp_path / "aside")
    assert found.done == ("cats/05.jpg",)
    assert "already" in found.skipped["cats/03.jpg"]
    assert "link" in found.skipped["dogs/00.jpg"]
    assert (tmp_path / "aside" / "cats" / "03.jpg").read_text() == "was there"
    assert (photos / "cats" / "03.jpg").exists()
    assert (photos / "dogs" / "00.jpg").exists()


def test_another_disk_gets_a_whole_copy(
    store: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object, **others: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    content, when = (photos / "cats" / "03.jpg").read_bytes(), (photos / "cats" / "03.jpg").stat().st_mtime_ns
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(moving, "ensure_possible", lambda: None)
    assert apply(store, decided(store, drop("cats/03.jpg")), move=tmp_path / "aside").done == ("cats/03.jpg",)
    copied = tmp_path / "aside" / "cats" / "03.jpg"
    assert (copied.read_bytes(), copied.stat().st_mtime_ns) == (content, when)
    assert not (photos / "cats" / "03.jpg").exists()


def test_the_last_copy_stays(store: Path, photos: Path) -> None:
    lines = [
        {"id": "cats/01.jpg", "decision": "drop", "of": "=copy.jpg"},
        {"id": "./=copy.jpg", "decision": "drop", "of": "cats/01.jpg"},
        {"id": "cats/03.jpg", "decision": "drop", "of": "cats/05.jpg"},
    ]
    (photos / "cats" / "05.jpg").write_bytes(b"new")
    found = apply(store, decided(store, lines), yes=True)
    assert found.done == ()
    assert len(files_of(photos)) == 21
    assert "is dropped, too" in found.skipped["cats/01.jpg"]
    assert "is not what it was" in found.skipped["cats/03.jpg"]


def test_accepted_labels_become_a_table_of_all(store: Path) -> None:
    opened = FeatureStore.open(store)
    place = opened.rows(["id"])["id"].to_pylist().index
    decisions = Decisions(opened)
    decisions.decide(
        LABEL, [Choice(place("cats/03.jpg"), "accept", label="dogs"), Choice(place("cats/05.jpg"), "keep")]
    )
    decisions.decide(LABEL, [Choice(place("cats/07.jpg"), "skip", label="dogs")])
    found = apply(store, decisions.folder / TABLE)
    assert (found.labels, found.undo) == (1, None)
    assert found.corrected is not None
    labelled = load_targets(opened, found.corrected)
    given = dict(zip(labelled.ids, [labelled.problem.names[i] for i in labelled.problem.y], strict=True))
    own = {key: name for key, name in zip(opened.ids(), opened.labels(), strict=True) if name is not None}
    assert given == own | {"cats/03.jpg": "dogs"}
    assert apply(store, decisions.folder / TABLE, dry_run=True).corrected is None


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{"id": "cats/03.jpg"}], "no column 'decision'"),
        ([{"id": "cats/03.jpg", "decision": "explode"}], "there is none such"),
        ([{"id": "cats/03.jpg", "decision": "drop", "about": "label"}], "there is none such"),
        ([*drop("cats/03.jpg"), {"id": "cats/03.jpg", "decision": "keep"}], "both"),
        ([{"id": "cats/03.jpg", "decision": "accept", "label": "=1+1"}], "cannot be a label"),
        (
            [{"id": "cats/03.jpg", "decision": "accept", "label": each} for each in "ab"],
            "both 'accept a' and 'accept b'",
        ),
        ([{"id": "cats/03.jpg", "decision": "moved"}], "`move` must name"),
    ],
)
def test_a_table_that_says_something_else_is_refused(
    store: Path, photos: Path, lines: list[dict[str, str]], words: str
) -> None:
    before = files_of(photos)
    with pytest.raises(InputError, match=words):
        apply(store, decided(store, lines), yes=True)
    assert files_of(photos) == before


def test_files_are_not_moved_to_where_they_are_found_again(store: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "around").symlink_to(photos)
    for move in (photos, photos / "aside", tmp_path / "around" / "aside"):
        with pytest.raises(InputError, match="find the files again"):
            apply(store, decided(store, drop("cats/03.jpg")), move=move)
    assert not (photos / "aside").exists()


def test_a_table_of_texts_keeps_its_rows(tmp_path: Path, tiny_texts: BackboneFile) -> None:
    (tmp_path / "t.csv").write_text("id,text\na,one\nb,two\n")
    extract(tmp_path / "t.csv", tmp_path / "texts", backbone=tiny_texts.path)
    with pytest.raises(StoreError, match="is of texts"):
        apply(
            tmp_path / "texts",
            decided(tmp_path / "texts", drop(*FeatureStore.open(tmp_path / "texts").ids())),
            yes=True,
        )


def test_decisions_are_read_by_spreadsheets_without_harm(store: Path) -> None:
    opened = FeatureStore.open(store)
    place = opened.rows(["id"])["id"].to_pylist().index
    decisions = Decisions(opened)
    decisions.decide(DUPLICATE, [Choice(place("=copy.jpg"), "drop", place("cats/01.jpg"))])
    table = read_table(decisions.folder / TABLE)[0]
    assert not [
        cell for name in table.column_names for cell in table[name].to_pylist() if cell.startswith(("=", "+", "@"))
    ]
