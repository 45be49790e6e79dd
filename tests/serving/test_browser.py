"""The page in a real browser: each view does its job, and nothing that the policy forbids is tried."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fxengine import extract
from fxengine.backbones.spec import BackboneFile
from fxengine.ui.exit_codes import FINE
from tests.conftest import take_signals
from tests.serving.browser import Browser

pytestmark = pytest.mark.slow
CARDS = "document.querySelectorAll('.grid .card img').length"
CAPTIONS = "[...document.querySelectorAll('%s .card .caption')].map((each) => each.title)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@contextmanager
def served(*arguments: object) -> Iterator[str]:
    """Run `fxengine serve` and yield its link; at the end a Ctrl-C ends it, and well."""
    command = [sys.executable, "-m", "fxengine", "serve", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=take_signals)
    assert process.stderr is not None
    try:
        assert "until Ctrl-C" in process.stderr.readline()
        yield process.stderr.readline().strip()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        assert (process.returncode, said) == (FINE, "")
        assert time.monotonic() - began < 3  # a second, on a machine that is not busy
    finally:
        process.kill()


@pytest.fixture(scope="module")
def page(looked_at: Path, browser: Browser) -> Iterator[Browser]:
    """The page over the store of pictures."""
    others = ("--model", looked_at / "head.onnx", "--backbone", looked_at / "tiny.onnx")
    with served(looked_at / "store", *others, "--reports", looked_at / "page.html") as link:
        browser.go(link)
        browser.until(f"{CARDS} >= 12")
        yield browser


def shown(browser: Browser, where: str = ".grid") -> list[str]:
    found: list[str] = browser.value(CAPTIONS % where)
    return found


def test_pictures_are_seen_searched_and_picked(page: Browser) -> None:
    assert page.value("location.search") == ""
    assert page.value("document.cookie") == ""  # no script reads it
    page.until("[...document.querySelectorAll('.card img')].every((each) => each.complete && each.naturalWidth)")
    assert "cats/<b onclick=alert(1)>.jpg" in shown(page)

    page.value("document.querySelector('.grid').focus()")
    page.key("End")
    page.until("document.querySelector('.card.focused')?.getAttribute('aria-posinset') === '26'")

    page.value("location.hash = 'gallery'")
    select = "document.getElementById('filter-label')"
    page.value(f"{select}.value = 'dogs', {select}.dispatchEvent(new Event('change'))")
    page.until("document.body.innerText.includes('12 of 26 rows')")
    page.until(f"{CARDS} === 12")
    assert all(name.startswith("dogs/") for name in shown(page))
    page.value("document.querySelector('.grid .card').click()")
    page.until("document.querySelectorAll('#detail .strip .card').length === 12")
    assert page.value("document.getElementById('detail-name').textContent") == "dogs/00.jpg"
    page.value("document.getElementById('detail').querySelectorAll('button')[2].click()")
    page.until("document.querySelectorAll('.found .card').length === 11")
    assert "exact" in page.value("document.getElementById('found-how').textContent")
    assert "dogs/00.jpg" not in shown(page, ".found")

    page.value("document.querySelector('button[type=reset]').click()")
    page.value("location.hash = 'map'")
    page.until("document.querySelectorAll('.legend button').length === 2")
    left, top, wide, tall = page.value(
        "(({ left, top, width, height }) => [left, top, width, height])"
        "(document.querySelector('.stage').getBoundingClientRect())"
    )
    page.value("[...document.querySelectorAll('button')].find((each) => each.textContent === 'Loop').click()")
    corners = [(2, 2), (wide - 3, 2), (wide - 3, tall - 3), (2, tall - 3), (2, 4)]
    path = [(round(left + x), round(top + y)) for x, y in corners]
    page.mouse(("mousePressed", *path[0]), *(("mouseMoved", *each) for each in path), ("mouseReleased", *path[-1]))
    page.until("document.body.innerText.includes('25 picked')")
    page.value("location.hash = 'gallery'")
    page.until("document.body.innerText.includes('25 of 26 rows')")

    page.value("location.hash = 'reports'")
    page.until("document.querySelector('iframe')?.title === 'page.html'")
    forbidden = [each for each in page.complaints if "sandboxed" not in each and "/report/0" not in each]
    assert forbidden == []


MILLION = """
(async () => {
  const { Grid } = await import("/static/grid.js");
  const asked = [];
  const said = (row) => String(row.row);
  const grid = new Grid({
    label: "million", size: [10, 12], draw: (row) => [said(row)], name: said, chosen() {}, isSelected: () => false,
  });
  const place = document.createElement("div");
  place.style.cssText = "position: fixed; inset: 0; display: flex; z-index: 99";
  place.append(grid.element);
  document.body.append(place);
  grid.reset(1_000_000, async (first, count) => {
    asked.push(first);
    return Array.from({ length: Math.min(count, 1_000_000 - first) }, (_, i) => ({ row: first + i }));
  });
  const still = () => new Promise((done) => setTimeout(done, 120));
  const seen = () => [...grid.cells.values()].filter((cell) => {
    const { top, bottom } = cell.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  }).map((cell) => Number(cell.textContent));
  await still();
  const start = Math.min(...seen());
  grid.element.scrollTop += 300;
  await still();
  const step = Math.min(...seen());
  grid.element.scrollTop = grid.element.scrollHeight / 2;
  await still();
  const half = Math.min(...seen());
  grid.element.scrollTop = grid.element.scrollHeight;
  await still();
  const end = Math.max(...seen());
  grid.goTo(123_456);
  await still();
  const found = seen().includes(123_456);
  const began = performance.now();
  for (let i = 0; i < 50; i++) {
    grid.element.scrollTop += 200;
    grid.scrolled();
    grid.render();
  }
  const took = (performance.now() - began) / 50;
  place.remove();
  return { start, step, half, end, found, cells: grid.cells.size, asked: asked.length, columns: grid.columns, took };
})()
"""


def test_a_million_rows_are_scrolled(page: Browser) -> None:
    told = page.value(MILLION)
    columns = told["columns"]
    assert told["start"] == 0
    assert told["step"] == columns  # a step of 300 pixels hides the first line of 192
    assert told["half"] == pytest.approx(500_000, rel=0.01)
    assert told["end"] == 999_999
    assert told["found"]
    assert told["cells"] < 200
    assert told["took"] < 100  # milliseconds a step, on a busy machine


def test_texts_are_seen_and_searched_by_words(tmp_path: Path, tiny_texts: BackboneFile, browser: Browser) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("text\n" + "\n".join(f"<i>good {i} words" if i % 2 else f"bad {i} day" for i in range(40)) + "\n")
    extract(table, tmp_path / "store", backbone=tiny_texts.path)
    with served(tmp_path / "store", "--backbone", tiny_texts.path) as link:
        browser.complaints.clear()
        browser.go(link)
        browser.until("document.querySelectorAll('.grid .passage').length >= 10")
        assert browser.value("document.querySelectorAll('.grid .passage')[1].textContent") == "<i>good 1 words"
        browser.value("location.hash = 'search'")
        browser.until("document.querySelector('input[aria-label=Words]') !== null")
        browser.value("document.querySelector('input[aria-label=Words]').value = 'bad 6 day'")
        browser.value("document.querySelector('input[aria-label=Words]').form.requestSubmit()")
        browser.until("document.querySelectorAll('.found .passage').length === 40")
        assert browser.value("document.querySelector('.found .passage').textContent") == "bad 6 day"
        assert browser.complaints == []
