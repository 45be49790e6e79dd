"""A hub on this machine, with one repository, and caches of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import Hub, hub_server, use_hub

FILES = {
    "README.md": b"---\nlicense: apache-2.0\n---\n# tiny\n",
    "config.json": b'{"model_type": "bert"}',
    "onnx/model.onnx": b"a net" * 1000,
    "onnx/model_quantized.onnx": b"net" * 500,
    "pytorch_model.bin": b"p" * 9000,
}


@pytest.fixture(scope="session")
def _server() -> Iterator[Hub]:
    with hub_server() as hub:
        yield hub


@pytest.fixture
def hub(_server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Return the hub, which holds `org/tiny` alone; `huggingface_hub` and the caches are this test's."""
    _server.repositories.clear()
    _server.forget()
    _server.status = None
    _server.cut.clear()
    _server.broken.clear()
    _server.answers.set()
    _server.add("org/tiny", FILES)
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "fx"))
    use_hub(monkeypatch, _server.url, tmp_path / "hf")
    return _server
