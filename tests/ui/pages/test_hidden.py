"""Whose pictures a page shows: a store may be somebody else's, and name any file of this user."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fxengine import FeatureStore, InputError
from fxengine.collect.item import escape_path
from fxengine.probing.mislabeled import mislabeled
from fxengine.probing.probe import probe
from fxengine.retrieval.cluster import cluster
from fxengine.retrieval.duplicates import duplicates
from fxengine.retrieval.search import search
from fxengine.trust import note_named, was_named
from fxengine.ui.cli import main
from fxengine.ui.pages import load_page, write_page
from fxengine.ui.pages.html import HIDDEN
from tests.conftest import make_photo
from tests.stores import write_store

RESULTS: dict[str, Callable[[Path], object]] = {
    "SearchReport": lambda store: search(store, id=["00.jpg"], k=3),
    "DuplicatesReport": lambda store: duplicates(store, threshold=0.9),
    "ClusterReport": lambda store: cluster(store, 2),
    "Suspects": mislabeled,
    "ProbeReport": probe,
}
SHOWN = "data:image/jpeg;base64,"


@pytest.fixture(autouse=True)
def _own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))


def store_of(folder: Path, root: str, ids: list[str] | None = None) -> Path:
    """Write a store of two classes, a row of each of which lies in the other."""
    x = np.random.default_rng(0).normal(0, 0.3, (20, 4)) + np.repeat([[2, 0, 0, 0], [0, 2, 0, 0]], 10, axis=0)
    x[0], x[19] = x[19], x[0].copy()
    labels: list[str | None] = [label for label in "ab" for _ in range(10)]
    return write_store(folder, x, ids=ids or [f"{i:02d}.jpg" for i in range(20)], labels=labels, root=root).path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    for i in range(20):
        make_photo(folder / f"{i:02d}.jpg", i)
    return folder


@pytest.mark.parametrize("name", RESULTS)
def test_pictures_are_shown_below_what_was_named_only(name: str, photos: Path, tmp_path: Path) -> None:
    result = RESULTS[name](store_of(tmp_path / "store", str(photos)))
    page = str(load_page(name)(result))
    assert SHOWN not in page
    assert page.count(HIDDEN) == 1
    assert page.count(">not shown<") >= 1
    note_named("root", str(tmp_path / "min"))  # is no folder above it
    assert SHOWN not in str(load_page(name)(result))
    note_named("root", str(photos))
    shown = str(load_page(name)(result))
    assert shown.count(SHOWN) == page.count(">not shown<")
    assert HIDDEN not in shown


def test_ids_that_climb_out_or_are_absolute_are_not_shown(photos: Path, tmp_path: Path) -> None:
    secret = make_photo(tmp_path / "secret.png", 99)
    ids = ["../secret.png", str(secret), f"a/../../{secret.name}", "sub/../00.jpg"]
    root = photos / "sub"
    root.mkdir()
    ids += [f"../{i:02d}.jpg" for i in range(1, 17)]
    store = store_of(tmp_path / "store", str(photos), ids)
    note_named("root", str(photos))
    result = search(store, id=[ids[0]], k=19)
    page = str(load_page("SearchReport")(result))
    assert page.count(SHOWN) == 1  # the one whose way leads back below the root
    assert page.count(">not shown<") == 19
    assert page.count(HIDDEN) == 1


@pytest.mark.parametrize("root", ["", ".", "mine", "/", "//"])
def test_a_root_that_is_none_shows_nothing(
    root: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    note_named("root", str(tmp_path / "other"))
    result = search(store_of(tmp_path / "store", root), id=["00.jpg"], k=19)
    assert SHOWN not in str(load_page("SearchReport")(result))


def test_links_below_a_named_root_are_followed_as_extraction_does(photos: Path, tmp_path: Path) -> None:
    kept = tmp_path / "elsewhere.jpg"
    (photos / "00.jpg").rename(kept)
    (photos / "00.jpg").symlink_to(kept)
    note_named("root", str(photos))
    result = search(store_of(tmp_path / "store", str(photos)), id=["01.jpg"], k=19)
    assert str(load_page("SearchReport")(result)).count(SHOWN) == 20


def test_a_root_with_odd_bytes_is_found_again(tmp_path: Path) -> None:
    photos = tmp_path / os.fsdecode(b"caf\xe9")
    for i in range(20):
        make_photo(photos / f"{i:02d}.jpg", i)
    note_named("root", str(photos))
    result = search(store_of(tmp_path / "store", escape_path(str(photos))), id=["01.jpg"], k=3)
    assert str(load_page("SearchReport")(result)).count(SHOWN) == 4


def test_the_command_says_how_and_a_named_folder_stays_named(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store, page = store_of(tmp_path / "store", str(photos)), tmp_path / "page.html"
    command = ["search", str(store), "--id", "00.jpg", "-k", "3", "--report", str(page)]
    in_words = f"{HIDDEN} --pictures names a folder."
    assert main(command) == 0
    assert capfd.readouterr().err == f"fxengine: {in_words}\n"
    assert f"<p>{HIDDEN}</p>" in page.read_text()
    assert main([*command, "--pictures", str(tmp_path)]) == 0
    assert capfd.readouterr().err == ""
    assert page.read_text().count(SHOWN) == 4
    assert main(command) == 0
    assert page.read_text().count(SHOWN) == 4


def test_a_query_that_is_a_file_is_shown(photos: Path, tmp_path: Path) -> None:
    other = make_photo(tmp_path / "query.jpg", 50)
    store = store_of(tmp_path / "store", str(photos))
    result = search(store, id=["00.jpg"], k=3)
    answer = result.answers[0]
    asked = type(answer)(str(other), str(other), answer.neighbours)
    page = str(load_page("SearchReport")(type(result)(**{**vars(result), "answers": [asked]})))
    assert page.count(SHOWN) == 1


def test_a_folder_is_named_from_python_too(photos: Path, tmp_path: Path) -> None:
    store, told = store_of(tmp_path / "store", str(photos)), list[str]()
    write_page(search(store, id=["00.jpg"]), tmp_path / "a.html", tell=told.append)
    assert told == [f"{HIDDEN} `pictures` names a folder."]
    write_page(search(store, id=["00.jpg"]), tmp_path / "b.html", pictures=photos, tell=told.append)
    assert told == [f"{HIDDEN} `pictures` names a folder."]
    assert SHOWN in (tmp_path / "b.html").read_text()
    assert FeatureStore.open(store).provenance.root == str(photos)


def test_a_folder_that_is_not_there_is_not_noted(photos: Path, tmp_path: Path) -> None:
    result = search(store_of(tmp_path / "store", str(photos)), id=["00.jpg"])
    with pytest.raises(InputError, match=r"There is no folder .*none, which `pictures` names\."):
        write_page(result, tmp_path / "a.html", pictures=tmp_path / "none")
    assert not was_named("root", str(tmp_path / "none"))
    assert not (tmp_path / "a.html").exists()
