"""The page's server over 100,000 rows: first page, thumbnails cold and kept, search by a picture, fifty people, memory.

python -m bench.serve [--rows 100000] [--thumbs 60] [--seconds 60]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.machine import photos, save
from fxengine.backbones import load_backbone
from fxengine.collect import collect
from fxengine.decode.limits import Limits
from fxengine.execute import usable_cores
from fxengine.features.parts import Row
from fxengine.features.schema import FEATURE
from fxengine.features.write import PartWriter
from fxengine.pipeline.plan import provenance_of
from fxengine.trust import name_pictures

_LINKED = 50  # photos of 12 megapixels that the rows are links to
_PEOPLE = 50
_TOGETHER = 6  # that a browser asks one server for at once
_EDGE = 240  # pixels of a thumbnail's longer edge


@dataclass(frozen=True)
class Page:
    """Somebody who has opened the page.

    Attributes:
        port: of the server.
        cookie: what the link was turned into.
        token: what the page brings with a POST.
        process: number of the server's process.
    """

    port: int
    cookie: str
    token: str
    process: int

    def ask(self, connection: http.client.HTTPConnection, path: str, body: bytes | None = None) -> bytes:
        """Return an answer; one that is refused ends the benchmark."""
        headers = {"cookie": self.cookie}
        if body is not None:
            kind = "application/json" if body.startswith(b"{") else "application/octet-stream"
            own = {"origin": f"http://127.0.0.1:{self.port}", "x-fxengine-token": self.token, "content-type": kind}
            headers |= own
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (path, answer.status, content[:200])
        return content

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection of one's own."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)


def make_store(folder: Path, rows: int) -> Path:
    """Write a store of `rows` links to photos of 12 megapixels, with vectors of chance."""
    root, store = folder / "photos", folder / "store"
    originals = folder / "originals"
    originals.mkdir()
    for i, path in enumerate(sorted(photos("caltech_20").rglob("*.jpg"))[:: 600 // _LINKED][:_LINKED]):
        large = Image.open(path).convert("RGB").resize((4000, 3000), Image.Resampling.LANCZOS)
        large.save(originals / f"{i}.jpg", quality=90)
    for i in range(rows):
        target = root / f"{i // 1000:03d}" / f"{i:06d}.jpg"
        if i % 1000 == 0:
            target.parent.mkdir(parents=True)
        os.link(originals / f"{i % _LINKED}.jpg", target)
    name_pictures(root)
    store.mkdir()
    listing = collect(root)
    net = load_backbone("efficientnet_lite0")
    made = provenance_of(net, "efficientnet_lite0", listing.root, "float16", Limits())
    provenance = replace(made, precision="fp32")
    writer, rng = PartWriter(store, provenance, 0), np.random.default_rng(0)
    for number, item in enumerate(listing):
        vector = rng.standard_normal(provenance.dim).astype(np.float16)
        writer.append(Row(number, item, f"{number:064d}", 4000, 3000, None, None), {FEATURE: vector})
    writer.commit()
    return store


@contextmanager
def served(store: Path) -> Iterator[tuple[Page, dict[str, float]]]:
    """Serve a store; yield the page, and the seconds to the link, and from it to the first window of rows."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "fxengine", "serve", str(store)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        process.stderr.readline()
        link = process.stderr.readline().strip()
        linked = time.perf_counter()
        port, token = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=(.+)", link).groups()  # type: ignore[union-attr]
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=600)
        connection.request("GET", f"/?token={token}")
        entered = connection.getresponse()
        entered.read()
        cookie = str(entered.getheader("set-cookie")).partition(";")[0]
        page = Page(int(port), cookie, "", process.pid)
        html = page.ask(connection, "/").decode()
        page.ask(connection, "/api/about")
        page.ask(connection, "/api/rows?from=0&count=120")
        seen = time.perf_counter()
        found = re.search('name="fxengine-token" content="([^"]+)"', html)
        assert found is not None
        yield Page(page.port, cookie, found[1], process.pid), {"link": linked - began, "first_rows": seen - linked}
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def ask_all(page: Page, paths: list[str], people: int) -> list[float]:
    """Ask for these paths by so many people at once; return the seconds of each answer."""

    def one(mine: list[str]) -> list[float]:
        connection, took = page.connection(), []
        for path in mine:
            began = time.perf_counter()
            page.ask(connection, path)
            took.append(time.perf_counter() - began)
        return took

    with ThreadPoolExecutor(people) as pool:
        return [each for took in pool.map(one, [paths[i::people] for i in range(people)]) for each in took]


def pillow_alone(paths: list[Path]) -> None:
    """Make the same thumbnails by Pillow's scaled decoding, by as many threads as there are cores."""

    def one(path: Path) -> None:
        with Image.open(path) as image:
            image.draft("RGB", (2 * _EDGE, 2 * _EDGE))
            image.thumbnail((_EDGE, _EDGE))
            image.convert("RGB").tobytes()

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(one, paths))


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def scroll(page: Page, rows: int, thumbs: int, seconds: float) -> list[float]:
    """Let fifty people scroll: a window of rows, then thumbnails that are kept; return the seconds of each of these."""
    end = time.perf_counter() + seconds

    def one(person: int) -> list[float]:
        rng, connection, took = np.random.default_rng(person), page.connection(), []
        while time.perf_counter() < end:
            page.ask(connection, f"/api/rows?from={rng.integers(rows)}&count=120")
            for row in rng.integers(0, thumbs, 24):
                began = time.perf_counter()
                page.ask(connection, f"/thumb/{row}")
                took.append(time.perf_counter() - began)
                time.sleep(0.05)  # 24 in a second or two: somebody who looks at them
        return took

    with ThreadPoolExecutor(_PEOPLE) as pool:
        return [each for took in pool.map(one, range(_PEOPLE)) for each in took]


class Memory:
    """The most memory of its own that a process holds, in MB, looked at every 20 ms: what is mapped from a file is not
    counted, since the system takes it back when it wants to.
    """

    def __init__(self, process: int) -> None:
        self.peak = 0.0
        self._status, self._ended = Path(f"/proc/{process}/status"), threading.Event()
        self._watching = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watching.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            held = int(re.search(r"RssAnon:\s+(\d+)", self._status.read_text())[1])  # type: ignore[index]
            self.peak = max(self.peak, held / 1000)


def label_round(page: Page, rows: int) -> float:
    """Give sixty rows one of twenty names, and return the seconds of a round after it."""
    connection = page.connection()
    for name in range(20):
        answer = {"rows": [*range(name, min(rows, 60), 20)], "label": f"name {name}"}
        page.ask(connection, "/api/label/answer", json.dumps(answer).encode())
    page.ask(connection, "/api/label/learn", b"{}")
    return timed(lambda: page.ask(connection, "/api/label/learn", b"{}"))


def measure(store: Path, rows: int, thumbs: int, seconds: float) -> dict[str, Any]:
    """Measure everything over a store."""
    root = store.parent / "photos"
    with served(store) as (page, times), Memory(page.process) as memory:
        cold, alone = [], []
        for half in range(2):  # A B A B
            some = range(half * thumbs, (half + 1) * thumbs)
            alone.append(thumbs / timed(lambda some=some: pillow_alone([root / f"000/{i:06d}.jpg" for i in some])))  # type: ignore[misc]
            paths = [f"/thumb/{i}" for i in some]
            cold.append(thumbs / timed(lambda paths=paths: ask_all(page, paths, _TOGETHER)))  # type: ignore[misc]
        kept = timed(lambda: ask_all(page, [f"/thumb/{i % (2 * thumbs)}" for i in range(200)], _TOGETHER))
        page.ask(page.connection(), "/api/search/ready")  # as the page does when its search is opened
        query, connection = (root / "000/000007.jpg").read_bytes(), page.connection()
        took = []
        for i in range(9):
            began = time.perf_counter()
            brought = json.loads(page.ask(connection, "/api/picture", query + bytes(i)))["picture"]
            page.ask(connection, "/api/search", json.dumps({"plus": [{"picture": brought}]}).encode())
            took.append(time.perf_counter() - began)
        scrolled = scroll(page, rows, 2 * thumbs, seconds)
        learned = label_round(page, rows)
        mapped = timed(lambda: page.ask(page.connection(), "/api/map/places"))
        load = os.getloadavg()[1]
    return {
        "rows": rows,
        "link_s": round(times["link"], 2),
        "first_rows_s": round(times["first_rows"], 2),
        "cold_per_s": [round(each, 1) for each in cold],
        "pillow_per_s": [round(each, 1) for each in alone],
        "of_pillow": round(max(cold) / max(alone), 2),
        "kept_200_s": round(kept, 2),
        "first_search_s": round(took[0], 2),
        "search_ms": round(1000 * statistics.median(took[1:])),
        "search_best_ms": round(1000 * min(took[1:])),
        "people": _PEOPLE,
        "scrolled_thumbs": len(scrolled),
        "scroll_p95_ms": round(1000 * float(np.percentile(scrolled, 95))),
        "label_round_s": round(learned, 2),
        "map_s": round(mapped, 1),
        "peak_own_mb": round(memory.peak),
        "load": round(load, 1),
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--thumbs", type=int, default=60, help="cold thumbnails a half")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    os.environ["FXENGINE_CACHE"] = str(folder / "cache")
    try:
        result = measure(make_store(folder, options.rows), options.rows, options.thumbs, options.seconds)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result, indent=2))
    save("serve", result)


if __name__ == "__main__":
    main()
