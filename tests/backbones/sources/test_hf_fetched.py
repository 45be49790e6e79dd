"""What is told before anything is fetched, and what an export then fetches of a hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fxengine.backbones import load_backbone
from fxengine.errors import InputError
from fxengine.ui.info import info
from tests.backbones.sources.hf_nets import sentence_transformers
from tests.hub_server import Hub, hub_server, use_hub

pytest.importorskip("huggingface_hub")
pytest.importorskip("tokenizers")
TINY = "org/tiny"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a repository as sentence-transformers' are, with more in it than is needed."""
    folder = sentence_transformers(tmp_path / "repository")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    more = {"model.safetensors": b"s" * 5000, "onnx/model_O4.onnx": b"o" * 500, "pytorch_model.bin": b"p" * 5000}
    with hub_server() as hub:
        hub.add(TINY, {**files, **more})
        monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "fx"))
        use_hub(monkeypatch, hub.url, tmp_path / "hf")
        yield hub


def test_what_is_told_is_what_is_fetched(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = info(f"hf:{TINY}").to_dict()
    assert not hub.sent
    commit = hub.repositories[TINY].refs["main"]
    assert (told["kind"], told["repository"], told["commit"]) == ("repository", TINY, commit)
    assert (told["licence"], told["nets"], told["here"]) == ("apache-2.0", ("onnx/model.onnx",), ())
    made = load_backbone(f"hf:{TINY}")
    assert made.facts.source == f"hf:{TINY}@{commit} onnx/model.onnx"
    assert {file.removeprefix(f"{TINY}/"): size for file, size in hub.sent.items()} == told["fetches"]
    assert told["bytes"] == sum(hub.sent.values())
    assert info(f"hf:{TINY}").to_dict()["space"] == made.fingerprint  # made before: it is described itself
    hub.forget()
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf", offline=True)
    assert load_backbone(f"hf:{TINY}") == made
    assert not hub.asked


def test_both_towers_are_told(hub: Hub) -> None:
    hub.add(TINY, {"onnx/vision_model.onnx": b"v" * 70, "onnx/text_model.onnx": b"t" * 30, "config.json": b"{}"})
    told = info(f"hf:{TINY}").to_dict()
    assert told["nets"] == ("onnx/vision_model.onnx", "onnx/text_model.onnx")
    assert told["fetches"] == {"config.json": 2, "onnx/text_model.onnx": 30, "onnx/vision_model.onnx": 70}
    assert told["bytes"] == 102
    assert info(f"hf:{TINY}#onnx/text_model.onnx").to_dict()["bytes"] == 32


def test_data_files_and_what_is_not_there_are_told(hub: Hub) -> None:
    hub.add(TINY, {"model.onnx": b"m" * 5, "model.onnx_data": b"d" * 900, "model_int8.onnx": b"i"})
    assert info(f"hf:{TINY}").to_dict()["fetches"] == {"model.onnx": 5, "model.onnx_data": 900}
    with pytest.raises(InputError, match=r"has no file model_fp16\.onnx\. Did you mean model"):
        info(f"hf:{TINY}#model_fp16.onnx")
    hub.add(TINY, {"pytorch_model.bin": b"p"})
    with pytest.raises(InputError, match="It has only weights of other frameworks, and no ONNX file"):
        info(f"hf:{TINY}")
