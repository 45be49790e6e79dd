"""Pages about stores whose ids, labels and root are script: they show it as text, and no picture of another folder."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.hostile.cases import SCRIPT, Kit
from tests.hostile.served import Server

TEXTS = (
    SCRIPT,
    "javascript:alert(1)",
    "\"' onerror='alert(1)' x=\"",
    "--><img src=x onerror=alert(1)>",
    "</title></style></textarea><svg onload=alert(1)>",
    "&lt;script&gt;",
    "{{7*7}}${7*7}",
    "\u2028\u2029\ufeff</script >",
)
PAGES = {
    "probe": ("probe", "--head", "ridge", "--report"),
    "search": ("search", "--id", "{id}", "--html"),
    "duplicates": ("duplicates", "--threshold", "0.1", "--html"),
    "mislabeled": ("mislabeled", "--head", "ridge", "--folds", "2", "--report"),
    "cluster": ("cluster", "-k", "2", "--html"),
}
_ALLOWED = {"charset", "name", "content", "lang", "class", "src", "alt", "colspan", "style"}


class _Reader(HTMLParser):
    """Collects the tags of a page, their attributes, and its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]


def _store(kit: Kit, folder: Path, keys: list[str], labels: list[str], root: str) -> Path:
    """Copy the store of 24 rows, with these ids, labels and root."""
    store, begin = kit.copy(folder), 0
    for path in sorted(store.glob("part-*.parquet")):
        table = pq.read_table(path)
        facts = {**json.loads(table.schema.metadata[b"fxengine"]), "root": root}
        end = begin + len(table)
        for name, values in (("id", keys[begin:end]), ("label", labels[begin:end])):
            at = table.schema.get_field_index(name)
            table = table.set_column(at, table.schema.field(name), pa.array(values))
        pq.write_table(table.replace_schema_metadata({b"fxengine": json.dumps(facts).encode()}), path)
        begin = end
    return store


def _page(server: Server, store: Path, name: str, folder: Path) -> str:
    """Return the page that a command writes about a store."""
    first = pq.read_table(sorted(store.glob("part-*.parquet"))[0], columns=["id"])["id"][0].as_py()
    verb, *options = (str(each).format(id=first) if each == "{id}" else str(each) for each in PAGES[name])
    page = folder / f"{name}.html"
    outcome = server.run(verb, store, *options, page, within=600)
    assert (outcome.end, outcome.code) == ("ended", 0), outcome.err
    return page.read_text()


@pytest.mark.parametrize("name", PAGES)
def test_what_others_wrote_is_text(name: str, server: Server, kit: Kit, place: Path) -> None:
    server.counts.cases += 1
    keys = [f"{TEXTS[i % len(TEXTS)]}{i}" for i in range(24)]
    page = _page(server, _store(kit, place, keys, [*TEXTS[:2]] * 12, f"/{SCRIPT}"), name, place)
    reader = _Reader()
    reader.feed(page)
    assert not reader.tags.keys() & {"script", "svg", "iframe", "object", "embed", "base", "link", "form", "a"}
    assert reader.attributes <= _ALLOWED
    assert all(source.startswith(("data:image/jpeg;base64,", "data:image/png;base64,")) for source in reader.sources)
    assert (reader.tags["title"], reader.tags["style"], reader.tags["body"]) == (1, 1, 1)


@pytest.mark.parametrize("name", PAGES)
def test_no_picture_of_a_folder_that_nobody_named(name: str, server: Server, kit: Kit, place: Path) -> None:
    """A store that came from elsewhere names the user's own folder, and a picture in it in every row."""
    server.counts.cases += 1
    private = place / "private"
    private.mkdir()
    Image.new("RGB", (40, 40), (255, 0, 255)).save(private / "secret.png")
    keys = [f"{'./' * i}secret.png" for i in range(24)]
    store = _store(kit, place, keys, ["a", "b"] * 12, str(private))
    page = _page(server, store, name, place)
    shown = [base64.b64decode(data) for data in re.findall(r"data:image/jpeg;base64,([^\"]+)", page)]
    assert [each for each in shown if _is_magenta(each)] == []


def _is_magenta(data: bytes) -> bool:
    red, green, blue = Image.open(io.BytesIO(data)).convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    return bool(red > 200 and blue > 200 and green < 60)
