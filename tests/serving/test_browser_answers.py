"""Labelling and deciding in a real browser, by keys alone."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.browser import Browser
from tests.serving.test_browser import served

pytestmark = pytest.mark.slow
HERE = "document.querySelector('section:not([hidden])')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture
def review(looked_at: Path, tmp_path: Path, browser: Browser) -> Iterator[Path]:
    """The page over a store of this test's own; what is answered lies in the folder."""
    shutil.copytree(looked_at / "store", tmp_path / "store")
    with served(tmp_path / "store") as link:
        browser.complaints.clear()
        browser.go(link)
        browser.until("document.querySelectorAll('.grid .card img').length >= 12")
        yield tmp_path / "store.review"
        assert browser.complaints == []


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def said(browser: Browser, words: str) -> None:
    browser.until(f"{HERE}.innerText.includes({words!r})")


def test_a_person_labels_by_keys(review: Path, browser: Browser) -> None:
    browser.value("location.hash = 'label'")
    browser.until(f"{HERE}.querySelectorAll('.grid .card img').length >= 12")
    name = f"{HERE}.querySelector('[aria-label=Name]')"
    asked = [browser.value(f"{HERE}.querySelector('#card-{i} .caption').title") for i in range(10)]
    first = asked[0].partition("/")[0]
    other = next(key.partition("/")[0] for key in asked if not key.startswith(first))
    browser.value(f"{name}.value = {first!r}, {name}.form.requestSubmit()")
    said(browser, "1 labelled")
    browser.value(f"{HERE}.querySelector('.grid').focus()")
    known = [first]
    for i, key in enumerate(asked[1:9], 2):
        label = key.partition("/")[0]
        if label in known:
            browser.key(str(known.index(label) + 1))
        else:
            known.append(label)
            browser.value(f"{name}.value = {label!r}, {name}.form.requestSubmit()")
        said(browser, f"{i} labelled")
        browser.value(f"{HERE}.querySelector('.grid').focus()")
    browser.key("u")
    said(browser, "8 labelled")
    assert {line["id"]: line["label"] for line in cells(review / "labels.csv")} == {
        key: key.partition("/")[0] for key in asked[:8]
    }
    browser.key("3")
    browser.until("document.getElementById('status').textContent.includes('has no name yet')")

    # Three cards at once, by a click and a click with Shift; the tenth answer and the eleventh are learned from.
    browser.value(f"{HERE}.querySelector('#card-8').click()")
    browser.value(
        f"{HERE}.querySelector('#card-10').dispatchEvent(new MouseEvent('click', {{bubbles: true, shiftKey: true}}))"
    )
    browser.until(f"{HERE}.querySelectorAll('.card[aria-selected=true]').length === 3")
    browser.key(str(known.index(other) + 1))
    said(browser, "11 labelled")
    said(browser, "learned from 11")
    browser.until(f"{HERE}.querySelector('#card-0')?.getAttribute('aria-setsize') === '14'")
    browser.until(f"[...{HERE}.querySelector('#label-order').options].some((each) => each.value === 'likely {other}')")


def test_a_person_decides_by_keys(review: Path, browser: Browser) -> None:
    browser.value("location.hash = 'decide'")
    browser.until(f"{HERE}.querySelectorAll('.choice').length > 1")
    copy = f"[...{HERE}.querySelectorAll('.choice')].find((each) => each.innerText.includes('identical'))"
    total = int(browser.value(f"{HERE}.querySelector('.told').textContent").split()[0])
    browser.value(f"{copy}.querySelector('.card').focus()")
    browser.key("d")
    said(browser, "1 decisions in")
    assert [(line["decision"], line["of"]) for line in cells(review / "decisions.csv")] in (
        [("drop", "cats/01.jpg")], [("drop", "cats/<b onclick=alert(1)>.jpg")]
    )  # fmt: skip
    assert int(browser.value(f"{HERE}.querySelector('.told').textContent").split()[0]) == total - 1
    browser.value(f"{HERE}.querySelector('.bar.slim button').click()")  # Undo
    said(browser, f"{total} groups")
    browser.value(
        f"[...{HERE}.querySelectorAll('button')].find((each) => each.textContent.startsWith('Keep the best')).click()"
    )
    said(browser, "Nothing is left to decide on")
    assert [line["decision"] for line in cells(review / "decisions.csv")].count("drop") == 1

    browser.value(
        f"[...{HERE}.querySelectorAll('button')].find((each) => each.textContent === 'Likely wrong labels').click()"
    )
    said(browser, "labels likely wrong")
    before = len(cells(review / "decisions.csv"))
    browser.until(f"{HERE}.querySelectorAll('.choice').length > 1")
    browser.value(f"{HERE}.querySelector('.choice .card').focus()")
    browser.key("a")
    said(browser, f"{before + 1} decisions in")
    lines = [line for line in cells(review / "decisions.csv") if line["about"] == "label"]
    assert [line["decision"] for line in lines] == ["accept"]
    assert lines[0]["label"] in ("cats", "dogs")
    assert lines[0]["label"] != lines[0]["id"].partition("/")[0]
