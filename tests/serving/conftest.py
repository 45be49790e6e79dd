"""A small store with everything that the page shows, and a client that is let in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from fxengine import Probe, extract
from fxengine.backbones.cache import write_backbone
from fxengine.serving.guard import TOKEN_HEADER, Keys
from fxengine.serving.opened import Opened
from fxengine.serving.serve import open_for_page
from fxengine.serving.server import application
from tests.conftest import make_photo, tiny_model

PORT = 8123
HERE = f"http://127.0.0.1:{PORT}"


@dataclass(frozen=True)
class Person:
    """Somebody who has opened the page."""

    client: TestClient
    keys: Keys

    def get(self, path: str, **words: object) -> Any:
        answer = self.client.get(path, params={name: str(value) for name, value in words.items()})
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.content

    def post(self, path: str, data: object) -> Any:
        answer = self.client.post(path, json=data, headers=self.own())
        assert answer.status_code == 200, answer.text
        return answer.json()

    def own(self) -> dict[str, str]:
        return {"origin": HERE, TOKEN_HEADER: self.keys.page}


def client_of(opened: Opened) -> tuple[TestClient, Keys]:
    """Return a client that has not opened the link yet."""
    keys = Keys("127.0.0.1", PORT)
    return TestClient(application(opened, keys), base_url=HERE, follow_redirects=False), keys


def let_in(opened: Opened) -> Person:
    client, keys = client_of(opened)
    assert client.get(keys.url).status_code == 200
    return Person(client, keys)


@pytest.fixture(scope="session")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos of two classes, one of them damaged, a store of them, a head and a page."""
    folder = tmp_path_factory.mktemp("served")
    for i in range(24):
        make_photo(folder / "photos" / ("cats" if i % 2 else "dogs") / f"{i:02d}.jpg", i, (600, 480))
    (folder / "photos" / "cats" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (folder / "photos" / "cats" / "<b onclick=alert(1)>.jpg").write_bytes(
        (folder / "photos" / "cats" / "01.jpg").read_bytes()
    )
    write_backbone(tiny_model(), folder / "tiny.onnx")
    extract(folder / "photos", folder / "store", backbone=folder / "tiny.onnx")
    Probe.fit(folder / "store").save(folder / "head.onnx")
    (folder / "page.html").write_text("<script>alert(1)</script><p>a report</p>")
    return folder


@pytest.fixture(scope="session")
def opened(looked_at: Path) -> Opened:
    folder = looked_at
    return open_for_page(
        folder / "store", model=folder / "head.onnx", reports=folder / "page.html", backbone=folder / "tiny.onnx"
    )


@pytest.fixture(scope="session")
def person(opened: Opened) -> Person:
    return let_in(opened)


@pytest.fixture
def stranger(opened: Opened) -> Callable[..., Any]:
    """Return what asks as a page elsewhere would: without cookie unless it is given one."""
    client, _ = client_of(opened)
    return client.request
