"""Repositories of two towers: both files, what each gives, and what they say of the pair."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import fxengine
from fxengine.backbones import load_backbone
from fxengine.backbones.cache import read_backbone
from fxengine.backbones.export import Exported, export
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.pair import PAIR_KEY, Pair, find_pair, pair_of
from fxengine.backbones.sources import from_hf
from fxengine.backbones.spec import BackboneFile
from fxengine.decode import preparer_of
from fxengine.errors import InputError
from tests.backbones.sources import hf_nets
from tests.backbones.sources.hf_nets import POSITIONS, Graph
from tests.hub_server import hub_server, use_hub
from tests.pairs import (
    BIAS,
    IMMICH_LENGTH,
    LOG_SCALE,
    MEAN,
    SHARED,
    SIDE,
    STD,
    TOWERS,
    Layout,
    vision_tower,
    write_pair,
)

TEXTS = ["good", "a bad dog .", "x" * 9]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the notes of pairs of other tests out: the same random towers lie in several layouts."""
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))


def of_text(made: Exported) -> BackboneFile:
    assert made.text is not None
    return made.text.file


@pytest.mark.parametrize("layout", TOWERS)
def test_both_towers_give_what_their_files_give(tmp_path: Path, layout: Layout) -> None:
    folder = write_pair(tmp_path / "net", layout)
    made = export(f"hf:{folder}", tmp_path / "out" / "clip")
    names = ["clip.image.onnx", "clip.image.report.json", "clip.text.onnx", "clip.text.report.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    picture, text = (folder / file for file in TOWERS[layout])

    pictures = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    pixels = ((pictures / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    theirs = ort.InferenceSession(picture)
    (wanted,) = theirs.run(None, {theirs.get_inputs()[0].name: pixels})
    (found,) = ort.InferenceSession(made.file.path).run(["features"], {"images": pictures})
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)

    preparer, theirs, ours = (
        preparer_of(of_text(made)),
        ort.InferenceSession(text),
        ort.InferenceSession(of_text(made).path),
    )
    (port,) = theirs.get_inputs()
    pad = {"siglip": (POSITIONS, 3), "immich": (IMMICH_LENGTH, 0)}.get(layout, (0, 0))
    kind = np.int32 if port.type == "tensor(int32)" else np.int64
    for each in TEXTS:
        room = preparer.room(1)
        preparer.open(preparer.payload_of(each)).fill(room, 0)
        row = room["tokens"][0]
        padded = np.pad(row, (0, max(0, pad[0] - len(row))), constant_values=pad[1])
        output = "text_embeds" if "text_embeds" in [o.name for o in theirs.get_outputs()] else None
        output = output or ("pooler_output" if layout == "siglip" else "output")
        (wanted,) = theirs.run([output], {port.name: padded[None].astype(kind)})
        (found,) = ours.run(["features"], {"tokens": row[None], "lengths": np.array([len(row)], np.int32)})
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("layout", "activation", "scale", "bias", "stated_in"),
    [
        ("clip", "softmax", math.exp(LOG_SCALE), 0.0, "model.safetensors"),
        ("siglip", "sigmoid", math.exp(LOG_SCALE), BIAS, "model.safetensors"),
        ("immich", "softmax", None, 0.0, ""),
        ("open_clip", "softmax", None, 0.0, ""),
    ],
)
def test_what_they_say_of_the_pair(
    tmp_path: Path, layout: Layout, activation: str, scale: float | None, bias: float, stated_in: str
) -> None:
    made = fxengine.export(f"hf:{write_pair(tmp_path / 'net', layout)}", tmp_path / "p")
    pair = made.pair
    assert pair is not None
    assert (pair.picture, pair.text) == (made.file.fingerprint, of_text(made).fingerprint)
    assert (pair.activation, pair.bias, pair.stated_in) == (activation, bias, stated_in)
    assert pair.scale == (scale if scale is None else pytest.approx(scale))
    for name in ("image", "text"):
        file = read_backbone(tmp_path / f"p.{name}.onnx")
        assert Pair.from_json(metadata_of(onnx.load(file.path))[PAIR_KEY]) == pair_of(file) == pair
        said = json.loads((tmp_path / f"p.{name}.report.json").read_text())["pair"]
        assert (said["activation"], said["stated_in"]) == (activation, stated_in)
    assert made.to_dict()["text"]["space"] == pair.text
    assert find_pair(pair.picture) == find_pair(pair.text) == pair


def test_open_clips_bias_means_sigmoid(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "net", "open_clip")
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"] |= {"custom_text": True}  # which softmax pairs have, too
    path.write_text(json.dumps(config))
    made = export(f"hf:{folder}", tmp_path / "p")
    assert made.pair is not None
    assert made.pair.activation == "softmax"
    config["model_cfg"] |= {"init_logit_bias": -10}
    path.write_text(json.dumps(config))
    weights = {"logit_scale": np.array(3.0, np.float32), "logit_bias": np.array(-2.0, np.float32)}
    (folder / "open_clip_model.safetensors").write_bytes(hf_nets.safetensors(weights))
    made = export(f"hf:{folder}", tmp_path / "p")
    assert made.pair is not None
    assert made.pair.scale == pytest.approx(math.exp(3))
    assert (made.pair.activation, made.pair.bias) == ("sigmoid", -2.0)


def test_the_scale_stands_in_the_whole_net_where_that_is_here(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "net")
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    initializers = [
        numpy_helper.from_array(np.zeros((64, 64), np.float32), "other"),
        numpy_helper.from_array(np.array(2.5, np.float32), "logit_scale"),
    ]
    node = helper.make_node("Mul", ["x", "logit_scale"], ["y"])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([node], "whole", ports[:1], ports[1:], initializers)
    onnx.save(helper.make_model(graph), folder / "onnx" / "model.onnx")
    made = export(f"hf:{folder}", tmp_path / "p")
    assert made.pair is not None
    assert made.pair.scale == pytest.approx(math.exp(2.5))
    assert made.pair.stated_in == "onnx/model.onnx"


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        b"no safetensors",
        hf_nets.safetensors({"logit_scale": np.zeros(2, np.float32)}),
        hf_nets.safetensors({"logit_scale": np.array([np.nan], np.float32)}),
        hf_nets.safetensors({"logit_scale": np.array([54.6], np.float32)}),  # no logarithm any more
        hf_nets.safetensors({"logit_bias": np.array([1.0], np.float32)}),
    ],
)
def test_a_scale_that_cannot_be_one_is_not_stated(tmp_path: Path, weights: bytes) -> None:
    folder = write_pair(tmp_path / "net")
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "model.onnx").write_bytes(b"\x3a\x06\x2a\x04abcd")  # a graph with an initializer that is none
    made = export(f"hf:{folder}", tmp_path / "p")
    assert made.pair is not None
    assert (made.pair.scale, made.pair.stated_in) == (None, "")


def test_a_tower_that_was_kept_before_does_not_hide_the_pair(tmp_path: Path) -> None:
    """As earlier versions kept it, and as `tower` keeps it: without a word of the pair."""
    folder = write_pair(tmp_path / "net")
    alone = {tower: load_backbone(f"hf:{folder}", ExportOptions(tower=tower)) for tower in ("image", "text")}
    assert pair_of(alone["image"]) is None
    one = export(f"hf:{folder}", tmp_path / "one.onnx", tower="image")
    assert (one.pair, one.text, "pair" in one.to_dict()) == (None, None, False)
    made = export(f"hf:{folder}", tmp_path / "p")
    assert (made.file.fingerprint, of_text(made).fingerprint) == (alone["image"].fingerprint, alone["text"].fingerprint)
    assert (
        pair_of(alone["image"]) == pair_of(alone["text"]) == pair_of(read_backbone(tmp_path / "one.onnx")) == made.pair
    )


def test_a_prompt_is_for_the_tower_of_texts(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "net")
    plain, made = export(f"hf:{folder}", tmp_path / "p"), export(f"hf:{folder}", tmp_path / "q", prompt="x=a photo of ")
    assert made.file.fingerprint == plain.file.fingerprint
    assert of_text(made).fingerprint != of_text(plain).fingerprint
    assert made.pair is not None
    assert made.pair.text == of_text(made).fingerprint


def other_length(folder: Path) -> None:
    vision_tower(folder / "onnx" / "vision_model.onnx", "image_embeds", dim=SHARED + 1)


@pytest.mark.parametrize(
    ("change", "wishes", "why"),
    [
        (other_length, {}, r"has no pair: its tower of pictures gives 6 numbers \(image_embeds\), that of texts 5"),
        (lambda _: None, {"logits": True}, "has two towers, and both are exported: leave `logits` away"),
        (lambda _: None, {"layers": "hidden"}, "has two towers, and both are exported: leave `layers` away"),
        (lambda f: (f / "onnx" / "text_model.onnx").unlink(), {}, r"`output` .*p must end in \.onnx"),
        (lambda _: None, {"tower": "text"}, r"`output` .*p must end in \.onnx"),
        (lambda f: (f / "onnx" / "text_model.onnx").write_bytes(b"x"), {}, "text_model.onnx"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, change: Callable[[Path], object], wishes: dict[str, object], why: str) -> None:
    folder = write_pair(tmp_path / "net")
    change(folder)
    with pytest.raises(InputError, match=why):
        export(f"hf:{folder}", tmp_path / "p", **wishes)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("p.")] == []


def test_two_towers_in_one_file_of_that_name_are_asked_about(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "net")
    said = (
        r"has two towers, .*: give `tower` image or text, one of .*, or make both: `fxengine export hf:.*net -o NAME`"
    )
    with pytest.raises(InputError, match=said):
        export(f"hf:{folder}", tmp_path / "p.onnx")
    with pytest.raises(InputError, match="There is no `tower` 'picture'"):
        load_backbone(f"hf:{folder}", ExportOptions(tower="picture"))  # type: ignore[arg-type]


def test_from_the_hub_only_what_is_needed_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_pair(tmp_path / "net")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with hub_server() as hub:
        use_hub(monkeypatch, hub.url, tmp_path / "hf")
        hub.add("Xenova/tiny-clip", {**files, "onnx/model.onnx": b"x" * 10_000})
        made = export("hf:Xenova/tiny-clip", tmp_path / "clip")
        fetched = {name.removeprefix("Xenova/tiny-clip/") for name, count in hub.sent.items() if count}
        assert fetched == {
            "onnx/vision_model.onnx", "onnx/text_model.onnx", "config.json", "preprocessor_config.json",
            "tokenizer.json",
        }  # fmt: skip
        assert made.pair is not None
        assert (made.pair.scale, made.pair.stated_in) == (None, "")
        assert made.file.facts.source.startswith("hf:Xenova/tiny-clip@")
        again = export("hf:Xenova/tiny-clip", tmp_path / "again")
    assert again.pair == made.pair


def test_a_branch_that_moves_meanwhile_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_pair(tmp_path / "net")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with hub_server() as hub:
        use_hub(monkeypatch, hub.url, tmp_path / "hf")
        hub.add("Xenova/tiny-clip", files)
        repository, identity = hub.repositories["Xenova/tiny-clip"], from_hf.identity
        first = repository.refs["main"]

        def moving(what: str, options: ExportOptions) -> str:
            repository.commit({"README.md": b"gone"})
            return identity(what, options)

        monkeypatch.setattr(from_hf, "identity", moving)
        found = load_backbone("hf:Xenova/tiny-clip", ExportOptions(tower="image"))
        assert repository.refs["main"] != first
    assert found.facts.notes["hf"]["commit"] == first
    with monkeypatch.context() as patch:  # by its commit it comes from the cache, and nobody is asked
        patch.setattr(from_hf, "export", None)
        patch.setattr(from_hf, "identity", identity)
        assert load_backbone(f"hf:Xenova/tiny-clip@{first}", ExportOptions(tower="image")).facts == found.facts


def test_a_tower_of_one_output_is_no_classifier(tmp_path: Path) -> None:
    """Its last layer, a matrix and a bias, looks like one."""
    net = Graph(9)
    net.op("ReduceMean", ["image"], "mean", axes=[2, 3], keepdims=0)
    net.op("Gemm", ["mean", net.random("w", 3, SHARED), net.random("b", SHARED)], "embedding")
    folder = write_pair(tmp_path / "net", "immich")
    net.save(
        folder / "visual" / "model.onnx",
        {"image": (TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])},
        {"embedding": ["batch", SHARED]},
    )
    assert export(f"hf:{folder}", tmp_path / "p").file.facts.cut == "embedding"


def test_extract_takes_a_tower_and_names_its_file(photos: Path, tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "net")
    fxengine.extract(photos, tmp_path / "s", backbone=f"hf:{folder}", tower="image")
    stored = fxengine.FeatureStore.open(tmp_path / "s").provenance
    assert (stored.source, stored.dim) == (f"hf:{folder}#onnx/vision_model.onnx", SHARED)
    assert fxengine.extract(photos, tmp_path / "s", backbone=f"hf:{folder}", tower="image").unchanged == 20
    (tmp_path / "cache" / "backbones" / f"{stored.space}.onnx").unlink()
    for note in (tmp_path / "cache" / "sources").iterdir():
        note.unlink()
    assert len(fxengine.search(tmp_path / "s", photos / "cats" / "01.jpg", k=1).answers) == 1  # exported afresh
    (tmp_path / "t.txt").write_text("good\nbad dog\n")
    options = {"backbone": f"hf:{folder}", "tower": "text", "prompt": "p=a photo of "}
    assert fxengine.extract(tmp_path / "t.txt", tmp_path / "t", **options).extracted == 2  # type: ignore[arg-type]
