from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import onnx
import pytest
from onnx import TensorProto, helper

from fxengine import backbones
from fxengine.backbones import cache, find_space, load_backbone
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.spec import METADATA_KEY, BackboneFile, Facts
from fxengine.cache import cache_folder
from fxengine.errors import InputError
from fxengine.trust import note_named
from tests.conftest import TINY_RECIPE, tiny_model


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("FXENGINE_CACHE", str(path))
    return path


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A source called "tiny_net" that notes each build."""
    builds: list[str] = []

    def build() -> onnx.ModelProto:
        builds.append("built")
        return tiny_model()

    module = ModuleType("tests_tiny_net")
    module.__dict__.update(NAME="tiny_net", BUILD="tiny_net-1", build=build)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(backbones.EMBEDDED, "tiny_net", module.__name__)
    return builds


def test_what_is_kept_is_found_by_source_and_by_fingerprint(folder: Path) -> None:
    kept = cache.keep(tiny_model(), "tiny-1")
    assert kept.path == folder / "backbones" / f"{kept.fingerprint}.onnx"
    assert kept.facts.classes == ("red", "green", "blue")
    assert kept.picture_recipe.size == 36
    assert cache.find_by_source("tiny-1") == kept
    assert cache.find_by_fingerprint(kept.fingerprint) == kept
    assert cache.read_backbone(kept.path) == kept
    assert [path.name for path in folder.rglob("*") if path.name.startswith(".")] == []


def test_what_is_not_kept_is_not_found() -> None:
    cache.keep(tiny_model(), "tiny-1")
    assert cache.find_by_source("tiny-2") is None
    assert cache.find_by_fingerprint("0" * 64) is None


def test_two_models_of_one_source_both_stay(folder: Path) -> None:
    first, second = cache.keep(tiny_model(), "tiny-1"), cache.keep(tiny_model(scale=2), "tiny-1")
    assert first.fingerprint != second.fingerprint
    assert cache.find_by_source("tiny-1") == second
    assert cache.find_by_fingerprint(first.fingerprint) == first


def test_a_file_is_not_replaced_by_one_with_other_facts(folder: Path) -> None:
    first, other = cache.keep(tiny_model(), "tiny-1"), tiny_model()
    renamed = replace(first.facts, name="tiny-tuned", classes=())
    helper.set_model_props(other, {METADATA_KEY: renamed.to_json()})
    second = cache.keep(other, "tiny-2")
    assert (second.fingerprint, second.facts) == (first.fingerprint, renamed)
    assert cache.find_by_fingerprint(first.fingerprint) == first == cache.find_by_source("tiny-1")
    assert cache.find_by_source("tiny-2") == second
    assert cache.keep(tiny_model(), "tiny-1") == first
    assert {found.fingerprint for found in cache.all_kept()} == {first.fingerprint}
    assert len(cache.all_kept()) == 2


def test_the_folder_is_for_its_owner_only(folder: Path) -> None:
    old = os.umask(0)
    try:
        assert cache_folder() == folder
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_without_its_own_variable_it_lies_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FXENGINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "fxengine"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "fxengine"


def test_a_named_source_is_built_once(source: list[str]) -> None:
    first = load_backbone("tiny_net")
    assert load_backbone("tiny_net") == first
    assert source == ["built"]


def facts_text(data: bytes) -> bytes:
    return data.replace(b'"cut": "relu"', b'"cut": "relu\x01')


def facts_fields(data: bytes) -> bytes:
    return data.replace(b'"licence"', b'"license"')


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "last byte gone": lambda data: data[:-1],
    "zeros": lambda data: bytes(len(data)),
    "a weight": lambda data: data.replace(tiny_weights()[:16], b"\0" * 16),
    "the facts are no JSON": facts_text,
    "the facts have another field": facts_fields,
    "a tensor is missing": lambda data: data.replace(b"pooled", b"pooler", 1),
}


def tiny_weights() -> bytes:
    return bytes(next(tensor.raw_data for tensor in tiny_model().graph.initializer if tensor.name == "w"))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_counts_as_absent_and_is_made_anew(source: list[str], damage: Callable[[bytes], bytes]) -> None:
    first = load_backbone("tiny_net")
    whole = first.path.read_bytes()
    first.path.write_bytes(damage(whole))
    assert first.path.read_bytes() != whole
    assert cache.find_by_fingerprint(first.fingerprint) is None
    assert cache.find_by_source("tiny_net-1") is None
    assert load_backbone("tiny_net") == first
    assert first.path.read_bytes() == whole
    assert source == ["built", "built"]


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"7", b"{}", b'{"fingerprint": 7}', b'{"fingerprint": "../../x"}'])
def test_a_damaged_note_counts_as_absent(folder: Path, source: list[str], note: bytes) -> None:
    first = load_backbone("tiny_net")
    (folder / "sources" / "tiny_net-1.json").write_bytes(note)
    assert cache.find_by_source("tiny_net-1") is None
    assert load_backbone("tiny_net") == first
    assert cache.find_by_source("tiny_net-1") == first


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "out" / "tiny.onnx"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            cache.write_backbone(tiny_model(), path)
    assert list(path.parent.iterdir()) == []

    cache.write_backbone(tiny_model(), path)
    whole = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            cache.write_backbone(tiny_model(scale=2), path)
    assert [file.name for file in path.parent.iterdir()] == ["tiny.onnx"]
    assert path.read_bytes() == whole


def test_a_copy_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, path = cache.keep(tiny_model(), "tiny-1"), tmp_path / "out" / "net.onnx"
    copied = cache.copy_backbone(kept, path)
    assert copied == cache.read_backbone(path)
    assert (copied.fingerprint, copied.facts) == (kept.fingerprint, kept.facts)

    def killed(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copyfile", killed)
    with pytest.raises(KeyboardInterrupt):
        cache.copy_backbone(cache.keep(tiny_model(scale=2), "tiny-2"), path)
    assert cache.read_backbone(path) == copied
    assert [file.name for file in path.parent.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("name", ["efficientnet_lite", "EfficientNet_lite0", "efficientnet-lite"])
def test_an_unknown_name_lists_the_nearest(name: str) -> None:
    with pytest.raises(InputError, match=rf"no backbone '{name}'\. Did you mean efficientnet_lite0, "):
        load_backbone(name)


def test_a_name_like_no_other_lists_them_all(source: list[str]) -> None:
    with pytest.raises(InputError, match="Did you mean efficientnet_lite0, minilm_l6, tiny_net, "):
        load_backbone("qqqq")


def test_a_plain_onnx_file_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    helper.set_model_props(model, {"author": "someone"})
    path = tmp_path / "plain.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"plain\.onnx is an ONNX file, but no backbone that fxengine exported"):
        load_backbone(path)


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.onnx"
    path.write_bytes(b"\xff\xd8\xff\xe0 not a model")
    with pytest.raises(InputError, match=r"photo\.onnx is not a readable ONNX file"):
        load_backbone(path)
    with pytest.raises(InputError, match=r"There is no backbone file .*gone\.onnx"):
        load_backbone(tmp_path / "gone.onnx")


def test_a_file_with_its_weights_elsewhere_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    (tmp_path / "weights.bin").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    path = tmp_path / "outside.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(
        InputError, match=r"outside\.onnx keeps weights in other files, which no backbone that fxengine"
    ):
        load_backbone(path)


def test_a_file_with_damaged_facts_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    helper.set_model_props(model, {METADATA_KEY: '{"format": 1'})
    path = tmp_path / "facts.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"facts\.onnx"):
        load_backbone(path)


def test_find_space_takes_the_cache_then_a_fresh_export(folder: Path, source: list[str]) -> None:
    expected = load_backbone("tiny_net")
    assert find_space(expected.fingerprint, "some/file.onnx") == expected
    assert source == ["built"]
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert find_space(expected.fingerprint, "tiny_net") == expected
    assert source == ["built", "built"]


@pytest.mark.parametrize("name", ["tiny_net", "/my/own.onnx"])
def test_find_space_says_where_it_looked(source: list[str], name: str) -> None:
    note_named("backbone", "/my/own.onnx")
    with pytest.raises(InputError) as raised:
        find_space("abcdef0123456789" * 4, name)
    assert str(raised.value) == (
        f"The backbone of feature space abcdef012345 (from '{name}') is neither in the cache nor made by a fresh "
        "export. Give its file as `backbone`."
    )


@pytest.mark.parametrize("kind", ["", "onnx:", "pca:", "keras:"])
def test_a_file_that_only_a_store_names_is_not_opened(kind: str, tmp_path: Path, folder: Path) -> None:
    victim = tmp_path / ("victim.keras" if kind == "keras:" else "victim.onnx")
    os.mkfifo(victim)  # who opens it waits for ever
    with pytest.raises(InputError) as raised:
        find_space("abcdef0123456789" * 4, f"{kind}{victim}")
    assert str(raised.value) == (
        f"The backbone of feature space abcdef012345 is not in the cache, and you have not named its source "
        f"'{kind}{victim}' here. Where you trust it, give it as `backbone`, or once to `fxengine info`."
    )


def test_a_space_that_is_a_path_is_not_opened(tmp_path: Path, folder: Path) -> None:
    kept = cache.keep(tiny_model(), "key")
    kept.path.rename(tmp_path / "victim.onnx")
    there = os.path.relpath(tmp_path / "victim", kept.path.parent)
    assert cache.find_by_fingerprint(there) is None
    with patch("onnx.load") as opened, pytest.raises(InputError, match="not in the cache"):
        find_space(there, str(tmp_path / "victim.onnx"))
    opened.assert_not_called()


def test_what_was_named_once_is_found_again(tiny: BackboneFile, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="you have not named"):
        find_space(tiny.fingerprint, str(tiny.path))
    monkeypatch.chdir(tiny.path.parent)
    load_backbone(tiny.path.name)
    assert find_space(tiny.fingerprint, str(tiny.path)) == tiny


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"dim": 9},
            r"says that it gives features of 9 numbers, but the outputs of its net are features \[8\], logits \[3\]",
        ),
        ({"layers": (("map", 8),)}, r"says that it gives features@map of 8 numbers, but the outputs"),
        ({"classes": ("a", "b")}, r"says that it gives logits of 2 numbers, but the outputs"),
        (
            {"recipe": replace(TINY_RECIPE, height=64)},
            r"says that it takes pictures of 64 x 32 pixels, but the inputs of its net are images \[32, 32, 3\]",
        ),
    ],
)
def test_a_net_that_is_another_than_it_says_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    model = tiny_model()
    facts = Facts.from_json(metadata_of(model)[METADATA_KEY])
    helper.set_model_props(model, {METADATA_KEY: replace(facts, **change).to_json()})
    path = tmp_path / "other.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=says):
        load_backbone(path)


def test_a_net_that_only_a_store_names_is_not_fetched(folder: Path) -> None:
    with (
        patch("fxengine.backbones.sources.from_keras.identity") as asked,
        pytest.raises(InputError, match="you have not named its source 'keras:ResNet50' here"),
    ):
        find_space("abcdef0123456789" * 4, "keras:ResNet50")
    asked.assert_not_called()
    note_named("backbone", "keras:ResNet50")
    with (
        patch("fxengine.backbones.sources.from_keras.identity", side_effect=InputError("no Keras")),
        pytest.raises(InputError, match="neither in the cache nor made"),
    ):
        find_space("abcdef0123456789" * 4, "keras:ResNet50")
