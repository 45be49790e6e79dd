"""Hostile addresses, uploads and JSON: a sentence each, and the server goes on."""

from __future__ import annotations

import asyncio
import io
import json
import zlib
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fxengine.serving import server
from fxengine.serving.ask import BROUGHT
from fxengine.serving.guard import TOKEN_HEADER, App
from fxengine.serving.opened import Opened
from fxengine.serving.route import Asked, Content, Route
from fxengine.serving.serve import open_for_page
from fxengine.serving.server import application
from tests.serving.conftest import HERE, Person, client_of, let_in
from tests.stores import write_store


@pytest.mark.parametrize(
    "path",
    [
        "/thumb/..%2f..%2fetc%2fpasswd",
        "/thumb/%2fetc%2fpasswd",
        "/thumb/0%00",
        "/thumb/-1",
        "/thumb/1e3",
        "/thumb/٣",
        "/thumb/99999999999999999999999",
        "/thumb/999999",
        "/static/..%2fserver.py",
        "/static/../server.py",
        "/static/%2e%2e/serve.py",
        "/report/..%2fstore",
        "/report/-1",
        "/picture/0/../../etc",
    ],
)
def test_only_row_numbers_name_pictures(person: Person, path: str) -> None:
    answer = person.client.get(path)
    assert answer.status_code in (400, 404)
    assert "root:" not in answer.text
    assert "import" not in answer.text


def test_pictures_of_a_folder_that_nobody_named_are_not_shown(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    Image.new("RGB", (8, 8)).save(secret / "a.jpg")
    write_store(tmp_path / "foreign", np.eye(3), ids=["a.jpg", "../secret/a.jpg", "/etc/passwd"], root=str(secret))
    foreign = let_in(open_for_page(tmp_path / "foreign"))
    for row in range(3):
        for kind in ("thumb", "picture"):
            answer = foreign.client.get(f"/{kind}/{row}")
            assert answer.status_code == 403
            assert "is not shown" in answer.json()["error"]
    assert let_in(open_for_page(tmp_path / "foreign", pictures=secret)).client.get("/thumb/0").status_code == 200
    assert let_in(open_for_page(tmp_path / "foreign")).client.get("/thumb/2").status_code == 403


def test_pictures_that_moved_are_said_to_be_gone(tmp_path: Path, photos: Path) -> None:
    write_store(tmp_path / "moved", np.eye(2), ids=["dogs/00.jpg", "gone.jpg"], root=str(photos))
    moved = let_in(open_for_page(tmp_path / "moved", pictures=photos))
    assert moved.client.get("/thumb/0").status_code == 200
    answer = moved.client.get("/thumb/1")
    assert (answer.status_code, answer.json()["error"]) == (404, "The file is not there (any more).")
    assert moved.get("/api/rows")["total"] == 2


def _png(width: int, height: int) -> bytes:
    """A small file that says it is a picture of any size, all of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "content", [b"", b"no picture", _png(60_000, 60_000), _png(9000, 9000), b"\xff\xd8\xff\xe0" * 9]
)
def test_a_bad_picture_is_refused_in_a_sentence(person: Person, content: bytes) -> None:
    answer = person.client.post("/api/picture", content=content, headers=person.own())
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")


def test_an_upload_is_limited_in_bytes(person: Person) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(BROUGHT.max_bytes // 10_000_000 + 2):
            yield bytes(10_000_000)

    answer = person.client.post("/api/picture", content=pieces(), headers=person.own())
    assert (answer.status_code, "50 MB" in answer.json()["error"]) == (413, True)
    assert (
        person.client.post(
            "/api/search", content=b"[" * 2_000_000, headers={**person.own(), "content-type": "application/json"}
        ).status_code
        == 413
    )


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"[" * 100_000, 400),
        (b'{"plus": 5}', 400),
        (b'{"plus": [{"row": 1, "text": "a"}]}', 400),
        (b'{"plus": [{"row": true}]}', 400),
        (b'{"plus": [{"row": -1}]}', 400),
        (b'{"plus": [{"file": "/etc/passwd"}]}', 400),
        (b'{"plus": [{"row": 123456}]}', 404),
        (b'{"plus": [{"picture": "unknown"}]}', 404),
        (b'{"plus": [], "minus": [{"row": 1}]}', 400),
        (json.dumps({"plus": [{"row": 1}] * 21}).encode(), 400),
        (json.dumps({"plus": [{"row": 1}], **{f"x{i}": i for i in range(10_000)}}).encode(), 200),
        (b'{"plus": [{"row": 1}], "where": "__import__(\'os\')"}', 400),
        (b'{"plus": [{"row": 1}], "label": "no such"}', 400),
        (b'{"plus": [{"text": "words"}]}', 400),
    ],
)
def test_what_cannot_be_searched_is_refused_in_a_sentence(person: Person, content: bytes, status: int) -> None:
    answer = person.client.post(
        "/api/search", content=content, headers={**person.own(), "content-type": "application/json"}
    )
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["error"].endswith(".")


def test_a_question_that_is_no_json_is_refused(person: Person) -> None:
    answer = person.client.post("/api/search", content=b"plus=1", headers=person.own())
    assert answer.status_code == 415


def test_ten_thousand_fields_and_deep_filters_are_answered_in_a_sentence(
    person: Person, stranger: Callable[..., Any]
) -> None:
    many = "&".join(["x=1"] * 10_000)
    assert person.client.get(f"/api/rows?{many}&count=0").json()["total"] == 26
    assert stranger("GET", f"/?{many}&token=x").status_code == 403
    for deep in ("(" * 5000, "not " * 5000 + "row > 1", " and ".join(["row > 1"] * 3000), "row in (" + "1," * 5000):
        answer = person.client.get("/api/rows", params={"where": deep, "count": 0})
        assert answer.status_code in (200, 400), answer.text[:200]


@pytest.mark.parametrize("words", ["count=501", "count=-1", "from=x", "sort=colour", "where=nothing", "picked=none"])
def test_a_window_that_cannot_be_is_refused(person: Person, words: str) -> None:
    assert person.client.get(f"/api/rows?{words}").status_code in (400, 404)


def test_ids_full_of_html_are_data(person: Person) -> None:
    (row,) = person.get("/api/rows", text="<b onclick")["rows"]
    assert row["id"] == "cats/<b onclick=alert(1)>.jpg"
    assert person.client.get(f"/thumb/{row['row']}").headers["content-type"] == "image/jpeg"


def test_what_the_system_refuses_is_said(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(opened: Opened, asked: Asked) -> Content:
        raise OSError(28, "No space left on device")

    class Group:
        ROUTES = (Route("GET", "/api/fails", fail),)

    monkeypatch.setattr(server, "GROUPS", (Group,))
    answer = let_in(opened).client.get("/api/fails")
    assert (answer.status_code, answer.json()) == (500, {"error": "No space left on device."})


def test_a_fault_is_said_and_kept_to_the_terminal(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(opened: Opened, asked: Asked) -> Content:
        raise AssertionError("a secret")

    class Group:
        ROUTES = (Route("GET", "/api/fails", fail),)

    monkeypatch.setattr(server, "GROUPS", (Group,))
    answer = let_in(opened).client.get("/api/fails")
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert "a secret" in caplog.text


class Upload:
    """A request that arrives in pieces, when a test wants it to; it drives the application itself."""

    def __init__(self, app: App, cookie: str, token: str) -> None:
        self.pieces = asyncio.Queue[dict[str, Any]]()
        self.statuses = list[int]()
        headers = {"host": HERE[7:], "cookie": cookie, "origin": HERE, TOKEN_HEADER: token}
        scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "path": "/api/picture", "raw_path": b"",
            "query_string": b"", "root_path": "", "scheme": "http",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip
        self.done = asyncio.ensure_future(app(scope, self.pieces.get, self._send))

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])

    def bring(self, body: bytes, *, more: bool) -> None:
        self.pieces.put_nowait({"type": "http.request", "body": body, "more_body": more})


def _picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 40), (9, 99, 199)).save(out, "JPEG")
    return out.getvalue()


def test_one_upload_at_a_time_and_a_client_that_goes_away(opened: Opened) -> None:
    client, keys = client_of(opened)
    cookie = client.get(keys.url).headers["set-cookie"].partition(";")[0]

    async def trial() -> list[list[int]]:
        app = application(opened, keys)
        first, second = (Upload(app, cookie, keys.page) for _ in range(2))
        first.bring(_picture()[:100], more=True)
        await asyncio.wait_for(second.done, 10)  # while the first one waits for its end
        first.bring(_picture()[100:], more=False)
        await asyncio.wait_for(first.done, 60)
        gone = Upload(app, cookie, keys.page)
        gone.pieces.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(gone.done, 10)
        last = Upload(app, cookie, keys.page)
        last.bring(_picture(), more=False)
        await asyncio.wait_for(last.done, 60)
        return [first.statuses, second.statuses, last.statuses]

    assert asyncio.run(trial()) == [[200], [429], [200]]


def test_a_slow_upload_ends(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SECONDS", 0.05)
    client, keys = client_of(opened)
    cookie = client.get(keys.url).headers["set-cookie"].partition(";")[0]

    async def trial() -> list[int]:
        slow = Upload(application(opened, keys), cookie, keys.page)
        slow.bring(b"a", more=True)
        await asyncio.wait_for(slow.done, 10)
        return slow.statuses

    assert asyncio.run(trial()) == [408]
