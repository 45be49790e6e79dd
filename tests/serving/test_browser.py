"""The page in a real browser: each view does its job, and nothing that the policy forbids is tried."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fxengine import extract
from fxengine.backbones.spec import BackboneFile
from fxengine.ui.exit_codes import FINE
from tests.conftest import PATIENCE, take_signals
from tests.serving.browser import Browser

pytestmark = pytest.mark.slow
CARDS = "document.querySelectorAll('.grid .card img').length"
HERE = "document.querySelector('main > section:not([hidden])')"
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
        said = process.communicate(timeout=PATIENCE)[1]
        assert (process.returncode, said) == (FINE, "")
        assert time.monotonic() - began < 60  # a second, on a machine that is not busy
    finally:
        process.kill()


@pytest.fixture(scope="module")
def page(looked_at: Path, browser: Browser) -> Iterator[Browser]:
    """The page over the store of pictures."""
    others = ("--model", looked_at / "head.onnx", "--backbone", looked_at / "tiny.onnx")
    with served(looked_at / "store", *others, "--reports", looked_at / "page.html") as link:
        # As from a terminal in a browser, which is another site's page.
        browser.go(f"data:text/html,<a id=link href='{link}'>serve</a>")
        browser.until("!!document.getElementById('link')")
        browser.value("document.getElementById('link').click()")
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


def test_rows_that_are_selected_are_all_that_is_shown(page: Browser) -> None:
    page.value("location.hash = 'gallery'")
    page.value("document.querySelector('button[type=reset]').click()")
    page.until("!document.body.innerText.includes('of 26 rows')")
    page.until("!!document.querySelector('#card-3 .caption')")
    names = shown(page)
    for i in (1, 3):
        page.value(f"document.querySelector('#card-{i}').dispatchEvent(new MouseEvent('click', {{ctrlKey: true}}))")
    page.until("document.body.innerText.includes('2 selected')")
    page.value("[...document.querySelectorAll('button')].find((each) => each.textContent === 'Only these').click()")
    page.until("document.body.innerText.includes('2 of 26 rows')")
    page.until(f"{CARDS} === 2")
    assert set(shown(page)) == {names[1], names[3]}
    page.value("document.querySelector('button[type=reset]').click()")
    page.until("!document.body.innerText.includes('of 26 rows')")


def test_every_control_has_a_name(page: Browser) -> None:
    controls = {
        "button",
        "link",
        "combobox",
        "textbox",
        "searchbox",
        "listbox",
        "option",
        "Canvas",
        "application",
        "Iframe",
    }
    page.command("Accessibility.enable")
    for view in ("gallery", "search", "map", "label", "decide", "reports"):
        page.value(f"location.hash = {view!r}")
        page.until(f"!!document.querySelector('#views a[href=\"#{view}\"][aria-current]')")
        page.until(f"{HERE}.querySelectorAll('button, a, canvas, .empty').length > 0")
        nodes = page.command("Accessibility.getFullAXTree")["nodes"]
        seen = [node for node in nodes if not node["ignored"] and node["role"]["value"] in controls]
        assert len(seen) >= 6
        nameless = [node for node in seen if not node.get("name", {}).get("value", "").strip()]
        assert nameless == []
    page.command("Accessibility.disable")


def test_keys_alone_lead_everywhere(page: Browser) -> None:
    page.value("location.hash = 'search'")
    page.until("!!document.querySelector('#views a[href=\"#search\"][aria-current]')")
    page.value("document.activeElement.blur()")

    def tab_to(what: str) -> None:
        passed = []
        for _ in range(30):
            page.key("Tab")
            if page.value(f"document.activeElement.matches({what!r})"):
                return
            passed.append(page.value("document.activeElement.cloneNode().outerHTML"))
        raise AssertionError(f"{what} is not reached: {passed}")

    tab_to(".skip")
    tab_to("#views a")  # the gallery
    page.key("Enter")
    page.until("!!document.querySelector('#views a[href=\"#gallery\"][aria-current]')")
    page.until(f"{CARDS} >= 12")
    tab_to("#filter-label")
    tab_to(".grid")
    page.until("!!document.querySelector('#card-1 .caption')")
    page.key("ArrowRight")
    page.key("Enter")
    page.until("document.getElementById('detail').open")
    first = page.value("document.getElementById('detail-name').textContent")
    page.key("ArrowRight")
    page.until(f"document.getElementById('detail-name').textContent !== {first!r}")
    page.key("Escape")
    page.until("!document.getElementById('detail').open && document.activeElement.matches('.grid')")


def test_without_webgl_the_map_says_so(page: Browser) -> None:
    without = """
        const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...others) {
          return kind.startsWith("webgl") ? null : get.call(this, kind, ...others);
        };"""
    known = page.command("Page.addScriptToEvaluateOnNewDocument", source=without)["identifier"]
    page.go(page.value("location.origin") + "/#map")
    page.value("location.reload()")
    page.until("document.body?.innerText.includes('this browser has no WebGL')")
    page.until("document.querySelectorAll('.legend button').length === 2")
    drawn = "document.querySelector('canvas.points')"
    page.until(
        f"{drawn}.getContext('2d').getImageData(0, 0, {drawn}.width, {drawn}.height).data.some((each) => each > 0)"
    )
    page.command("Page.removeScriptToEvaluateOnNewDocument", identifier=known)
    page.value("location.reload()")
    page.until("document.body?.innerText.includes('25 points') && !document.body.innerText.includes('no WebGL')")


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


POINTS = """
(async () => {
  const { drawer } = await import("/static/points.js");
  const canvas = Object.assign(document.createElement("canvas"), { width: 1280, height: 720 });
  const points = drawer(canvas);
  const gl = canvas.getContext("webgl");
  points.set(Float32Array.from({ length: 200_000 }, () => Math.random() * 2 - 1));
  points.paint(new Uint8Array(400_000).fill(190));
  const took = [];
  for (let i = 0; i < 5; i++) {
    const began = performance.now();
    points.draw({ x: 0, y: 0, scale: 300 + i, size: 3 });
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4)); // waits for the drawing
    took.push(performance.now() - began);
  }
  return Math.min(...took);
})()
"""


def test_a_hundred_thousand_points_are_drawn_without_a_gpu(page: Browser) -> None:
    assert page.value(POINTS) < 500  # milliseconds


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
        browser.value("location.hash = 'map'")
        browser.until("document.querySelector('.legend')?.textContent === 'No row has a label.'")
        browser.value("location.hash = 'label'")
        browser.until(f"{HERE}.querySelectorAll('.grid .passage').length >= 10")
        browser.value(f"{HERE}.querySelector('[aria-label=Name]').value = '<b>good'")
        browser.value(f"{HERE}.querySelector('[aria-label=Name]').form.requestSubmit()")
        browser.until(f"{HERE}.querySelector('.names button')?.textContent === '1 <b>good (1)'")
        browser.value("location.hash = 'decide'")
        browser.until(f"{HERE}.querySelectorAll('.choice, .empty').length > 0")
        assert browser.complaints == []


def test_every_view_of_real_photos(tmp_path: Path, shared_data: Callable[[str], Path], browser: Browser) -> None:
    photos, names = tmp_path / "photos", ("laptop", "pizza", "rooster", "wild_cat")
    for name in names:
        (photos / name).mkdir(parents=True)
        for photo in sorted((shared_data("caltech_20") / name).glob("*.jpg"))[:15]:
            shutil.copy(photo, photos / name)
    extract(photos, tmp_path / "store", device="cpu")
    with served(tmp_path / "store") as link:
        browser.complaints.clear()
        browser.go(link)
        browser.until(f"{CARDS} >= 12")
        browser.value("document.querySelector('.grid .card').click()")
        browser.until("document.querySelectorAll('#detail .strip .card').length === 12")
        browser.value("document.getElementById('detail').querySelectorAll('button')[2].click()")
        browser.until("document.querySelectorAll('.found .card').length === 59")
        near = [each.partition("/")[0] for each in shown(browser, ".found")[:10]]
        assert near.count("laptop") >= 9
        browser.value("location.hash = 'map'")
        browser.until("document.querySelectorAll('.legend button').length === 4")
        assert "60 points" in browser.value(f"{HERE}.innerText")

        browser.value("location.hash = 'label'")
        browser.until(f"{HERE}.querySelectorAll('.grid .card img').length >= 12")
        asked = [browser.value(f"{HERE}.querySelector('#card-{i} .caption').title") for i in range(10)]
        for i, key in enumerate(asked):
            typed = f"{HERE}.querySelector('[aria-label=Name]')"
            browser.value(f"{typed}.value = {key.partition('/')[0]!r}, {typed}.form.requestSubmit()")
            browser.until(f"{HERE}.innerText.includes('{i + 1} labelled')")
        browser.until(f"{HERE}.innerText.includes('learned from 10')")
        orders = browser.value(f"[...{HERE}.querySelector('#label-order').options].map((each) => each.value)")
        likely = f"likely {asked[0].partition('/')[0]}"
        assert likely in orders
        select = f"{HERE}.querySelector('#label-order')"
        browser.value(f"{select}.value = {likely!r}, {select}.dispatchEvent(new Event('change'))")
        browser.until(f"{HERE}.querySelector('#card-0 .caption')?.title.startsWith({asked[0].partition('/')[0]!r})")

        browser.value("location.hash = 'decide'")
        browser.until(f"{HERE}.querySelectorAll('.choice, .empty').length > 0")
        browser.value(
            f"[...{HERE}.querySelectorAll('button')].find((each) => each.textContent === 'Likely wrong labels').click()"
        )
        browser.until(f"{HERE}.innerText.includes('labels likely wrong')")
        assert browser.complaints == []
