from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import pytest

import fxengine
from fxengine import InputError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.ui.commands import COMMANDS
from fxengine.ui.pages import PAGES, Page, load_page, write_page
from tests.ui.pages.reader import read

VERBS = ("cluster", "compare", "duplicates", "finetune", "map", "pca", "probe", "search", "mislabeled")


def test_every_result_with_a_page_is_that_of_a_verb() -> None:
    assert set(VERBS) <= set(COMMANDS)
    returned = {verb: get_type_hints(getattr(fxengine, verb))["return"].__name__ for verb in VERBS}
    assert {PAGES[name]: name for name in PAGES} == {verb: name for verb, name in returned.items()}
    pages: list[Page] = [load_page(name) for name in PAGES]
    assert all(callable(page) for page in pages)


def test_a_result_of_every_verb_is_drawn(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    extract(photos, tmp_path / "store", backbone=tiny.path)
    store = str(tmp_path / "store")
    results: dict[str, Any] = {
        "cluster": fxengine.cluster(store, 2),
        "duplicates": fxengine.duplicates(store),
        "map": fxengine.map(store),
        "pca": fxengine.pca(store, tmp_path / "pca.onnx", dim=2),
        "probe": fxengine.probe(store, folds=2),
        "compare": fxengine.compare([store, store], folds=2),
        "search": fxengine.search(store, id="cats/01.jpg", k=3),
        "mislabeled": fxengine.mislabeled(store, folds=2),
    }
    for name, result in results.items():
        drawing = name in ("map", "pca")
        path = tmp_path / f"{name}{'.png' if drawing else '.html'}"
        write_page(result, str(path))
        assert path.read_bytes().startswith(b"\x89PNG" if drawing else b"<!doctype html>")
    assert (tmp_path / "search.html").read_text().count("<img ") == 1 + 3
    ranked = results["compare"].candidates
    compared = read((tmp_path / "compare.html").read_text()).shown
    assert all(f"{each.score.mean:.4f}" in compared and store in compared for each in ranked)
    assert f"Labels of {store}" in (tmp_path / "mislabeled.html").read_text()


def test_what_has_no_page_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Backbones has no page\. There is one of: ClusterReport, "):
        write_page(fxengine.list_backbones(), tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
