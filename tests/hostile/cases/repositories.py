"""Hostile repositories of Hugging Face, as folders."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.backbones.sources.hf_nets import Graph, safetensors, sentence_transformers, tokenizer
from tests.hostile.cases import DEEP, SCRIPT, Case, Kit, sparse, victim
from tests.hostile.cases.stores import ODD

_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
_DENSE = {"in_features": 8, "out_features": 4, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
_PIXELS = {"do_resize": False, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
Change = Callable[[Path], object]


def texts(change: Change, refused: bool = True, says: str = "repo") -> Case:
    """Return a repository of a net of texts that `change` was at."""

    def build(_: Kit, folder: Path) -> Path:
        made = sentence_transformers(folder / "repo")
        victim(folder)
        change(made)
        return made

    return Case(build, says if refused else "", refused)


def pictures(said: bytes | dict[str, Any] | None, refused: bool = True, name: str = "preprocessor_config.json") -> Case:
    """Return a repository of a net of pictures with this file."""

    def build(_: Kit, folder: Path) -> Path:
        made = folder / "repo"
        _net_of_pictures(made / "model.onnx")
        (made / name).write_bytes(said if isinstance(said, bytes) else json.dumps(said).encode())
        return made

    return Case(build, "repo|size|scale|mean|pad_color" if refused else "", refused)


def put(name: str, value: object, refused: bool = True) -> Case:
    """Return a repository of texts with another file of JSON, or of bytes."""

    def change(made: Path) -> None:
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())

    return texts(change, refused)


def instead(name: str, what: Callable[[Path, Path], object], refused: bool = False) -> Case:
    """Return a repository of texts in which `what(path, victim)` stands in place of a file."""

    def change(made: Path) -> None:
        (made / name).unlink(missing_ok=True)
        what(made / name, made.parent / "private" / "secret.txt")

    return texts(change, refused)


def module(*more: dict[str, Any], config: object = None, tensors: bytes = b"") -> Case:
    """Return a repository whose modules.json has more modules, of which the folder 2_Dense is one's."""

    def change(made: Path) -> None:
        entries = json.loads((made / "modules.json").read_text())[:2]
        (made / "modules.json").write_text(json.dumps([*entries, *more]))
        (made / "2_Dense").mkdir()
        (made / "2_Dense" / "config.json").write_text(json.dumps(_DENSE if config is None else config))
        (made / "2_Dense" / "model.safetensors").write_bytes(tensors)

    return texts(change)


def dense(config: object = None, *, shape: tuple[int, int] = (4, 8)) -> Case:
    """Return a repository with a layer behind its pooling."""
    said = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    return module(said, config=config, tensors=safetensors({"linear.weight": np.ones(shape)}))


def config(said: dict[str, Any], refused: bool = True) -> Case:
    """Return a repository whose config.json says this, too."""
    return put("config.json", {"max_position_embeddings": 24, **said}, refused)


def prompts(said: dict[str, Any], refused: bool = True) -> Case:
    """Return a repository whose config_sentence_transformers.json says this."""
    return put("config_sentence_transformers.json", said, refused)


def resized(said: dict[str, Any]) -> Case:
    """Return a repository of pictures that says this of their size."""
    return pictures({**_PIXELS, "do_resize": True, "resample": 2, **said})


def padded(number: object) -> Case:
    """Return a repository whose config.json alone says by which id texts are padded."""

    def change(made: Path) -> None:
        (made / "tokenizer_config.json").unlink()
        said = {"pad_token_id": number, "max_position_embeddings": 24}
        (made / "config.json").write_text(json.dumps(said))

    return texts(change)


def tokens(refused: bool = True, **changed: object) -> Case:
    """Return a repository with another tokenizer.json; of what is called `model`, entries of it."""
    values = json.loads(tokenizer())
    inner = changed.pop("model", None)
    values |= changed
    if isinstance(inner, dict):
        values["model"] |= inner
    return put("tokenizer.json", values, refused)


def external(location: str, change: Change = lambda _: None, **entries: object) -> Case:
    """Return a repository whose net keeps a weight in another file."""

    def build(made: Path) -> None:
        path = made / "onnx" / "model.onnx"
        model = onnx.load(path)
        tensor = next(each for each in model.graph.initializer if each.name == "words")
        (made / "onnx" / "model.onnx_data").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=str(value))
        onnx.save(model, path)
        change(made / "onnx" / "model.onnx_data")

    return texts(build)


def _to_private(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parents[2] / "private" / "secret.txt")


def _to_outside(name: str) -> Change:
    """Return what moves a file out of the repository and leaves a link to it."""

    def change(made: Path) -> None:
        (made / name).rename(made.parent / "moved")
        (made / name).symlink_to(made.parent / "moved")

    return change


def _deep(made: Path) -> None:
    """Put 1,200 folders into each other."""
    opened = os.open(made, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=opened)
        below = os.open("d", os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = below
    os.close(opened)


def _names(made: Path) -> None:
    for name in (b"\xff.json", b"a\nb.onnx", b"\x1b[2J.onnx", b"c:d.onnx", b"onnx\\model.onnx"):
        (made / os.fsdecode(name)).write_bytes(b"{}")


def _net_of_pictures(path: Path) -> None:
    net = Graph(3)
    net.op("Conv", ["pixel_values", net.random("w", 8, 3, 3, 3)], "map")
    net.op("GlobalAveragePool", ["map"], "means")
    net.op("Flatten", ["means"], "image_embeds")
    net.save(path, {"pixel_values": (TensorProto.FLOAT, ["batch", 3, 8, 8])}, {"image_embeds": ["batch", 8]})


# What every file of JSON may be.
_ANY = {"empty": b"", "a list": b"[1]", "deep": b"[" * DEEP, "a pointer": _POINTER, "noise": bytes(range(256))}
_LEFT = ("empty", "noise", "a folder", "a hard link of a private file")
_ODD = {name: what for name, what in ODD.items() if name not in _LEFT}
_LISTS = b'{"model": [' + b"[]," * 5_000_000 + b"[]]}"

REPOSITORIES = {
    **{f"{file} {name}": put(file, data) for file in ("modules.json", "config.json", "tokenizer.json")
       for name, data in _ANY.items() if (file, name) != ("modules.json", "a list")},
    **{f"{file} {name}": instead(file, what) for file in ("tokenizer.json", "onnx/model.onnx", "README.md")
       for name, what in _ODD.items()},
    "modules a list of numbers": put("modules.json", [1, 2]),
    "modules of no type": put("modules.json", [{"idx": 0}]),
    "modules that climb": module({"path": "../../private", "type": "a.Dense"}),
    "modules of an absolute path": module({"path": "/etc", "type": "a.Dense"}),
    "modules of a path of numbers": module({"path": 5, "type": "a.Dense"}),
    "modules of an unknown kind": module({"path": "2_X", "type": "os.system"}),
    "modules of control characters": module({"path": "2_X", "type": "a.\x1b[2J\n\x07"}),
    "modules of 100,000": put("modules.json", [{"path": "", "type": "a.Dropout"}] * 100_000, refused=False),
    "pooling a number": put("1_Pooling/config.json", {"pooling_mode": 5}),
    "pooling lists": put("1_Pooling/config.json", {"pooling_mode": [["mean"]]}),
    "pooling unknown": put("1_Pooling/config.json", {"pooling_mode": "\x1b[2J" + "x" * 100_000}),
    "pooling a list": put("1_Pooling/config.json", [1]),
    "pooling thrice": put("1_Pooling/config.json", {"pooling_mode": ["mean"] * 3}, refused=False),
    "a layer of infinity": dense({**_DENSE, "in_features": float("inf")}),
    "a layer of text": dense({**_DENSE, "in_features": "x"}),
    "a layer of no activation": dense({"in_features": 8, "out_features": 4}),
    "a layer of an activation of its own": dense({**_DENSE, "activation_function": {"a": 1}}),
    "a layer of another size": dense({**_DENSE, "in_features": 5}, shape=(4, 5)),
    "a layer a pointer": module({"path": "2_Dense", "type": "a.Dense"}, tensors=_POINTER),
    "positions negative": put("config.json", {"model_type": "bert", "max_position_embeddings": -5}),
    "positions of none": put("config.json", {"model_type": "roberta", "max_position_embeddings": 1}),
    "positions in text": put("config.json", {"max_position_embeddings": "many"}, refused=False),
    "kind a list": config({"model_type": ["bert"]}, False),
    "padding beyond all": padded(2**40),
    "padding negative": padded(-1),
    "padding a list": padded([1]),
    "padding infinite": padded(float("inf")),
    "model_cfg none": config({"model_cfg": None}, False),
    "model_cfg of text": config({"model_cfg": "a"}, False),
    "cleaning none": config({"tokenizer_kwargs": None}, False),
    "cleaning of text": config({"tokenizer_kwargs": "a"}, False),
    "licence a list": config({"pretrained_cfg": {"license": ["a"]}}, False),
    "id2label of lists": config({"id2label": {"0": [], "1": {}}}, False),
    "length of text": put("sentence_bert_config.json", {"max_seq_length": "x"}, refused=False),
    "length of half a token": put("sentence_bert_config.json", {"max_seq_length": 0.5}),
    "length of one token": put("sentence_bert_config.json", {"max_seq_length": 1}),
    "length infinite": put("sentence_bert_config.json", {"max_seq_length": float("inf")}, refused=False),
    "prompts of lists": prompts({"prompts": {"a": ["b"]}, "default_prompt_name": "a"}, False),
    "prompt a list": prompts({"prompts": {"a": "b"}, "default_prompt_name": ["a"]}),
    "prompt of half a surrogate": prompts({"prompts": {"a": "\ud800"}, "default_prompt_name": "a"}, False),
    "prompt of 5 MB": prompts({"prompts": {"a": "b " * 2_500_000}, "default_prompt_name": "a"}, False),
    "similarity a list": prompts({"similarity_fn_name": ["cosine"]}, False),
    "tokenizer of many lists": put("tokenizer.json", _LISTS),
    "tokenizer of 3 GB": texts(lambda made: sparse(made / "tokenizer.json")),
    "tokenizer of no model": put("tokenizer.json", {}),
    "tokenizer of no vocabulary": tokens(False, model={"vocab": {}}),
    "tokenizer of infinity": tokens(model={"vocab": {"a": float("inf")}}),
    "tokenizer of ids beyond all": tokens(model={"vocab": {"a": 2**70, "[UNK]": 1}}),
    "tokenizer of ids beyond the net": tokens(False, model={"vocab": {"[UNK]": 10**6, "[CLS]": 1, "[SEP]": 2}}),
    "tokenizer of negative ids": tokens(model={"vocab": {"a": -1, "[UNK]": -2}}),
    "tokenizer of half a surrogate": tokens(model={"vocab": {"\ud800": 0, "[UNK]": 1}}),
    "tokenizer of an unknown kind": tokens(False, model={"type": "\x1b[2J"}),
    "tokenizer of a bad post-processor": tokens(post_processor={"cls": [], "sep": 5}),
    "tokenizer of ids around beyond all": tokens(
        post_processor={"type": "BertProcessing", "cls": ["a", 2**40], "sep": ["b", 1]}),
    "tokenizer of many ids around": tokens(False, post_processor={
        "single": [{"SpecialToken": {"id": "a"}}] * 100, "special_tokens": {"a": {"ids": list(range(10_000))}}}),
    "tokenizer of an expression that takes forever": tokens(False, normalizer={"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "good"}, "content": "a" * 200},
        {"type": "Replace", "pattern": {"Regex": "(a|a)+[bc]"}, "content": ""}]}),
    "tokenizer of an expression that is none": tokens(False, normalizer={
        "type": "Replace", "pattern": {"Regex": "((("}, "content": ""}),
    "tokenizer that makes texts long": tokens(False, normalizer={
        "type": "Replace", "pattern": {"String": "good"}, "content": "good " * 10_000}),
    "weights elsewhere by a path that climbs": external("../../private/secret.txt"),
    "weights elsewhere by an absolute path": external("/etc/passwd"),
    "weights elsewhere by a link": external("model.onnx_data", _to_private),
    "weights elsewhere beyond the file": external("model.onnx_data", offset=2**40, length=10),
    "weights elsewhere before the file": external("model.onnx_data", offset=-10, length=10),
    "weights elsewhere a pointer": external("model.onnx_data", lambda path: path.write_bytes(_POINTER)),
    "weights elsewhere nowhere": external("nothing.bin"),
    "weights elsewhere 3 GB": external("model.onnx_data", lambda path: sparse(path)),
    "net a pointer": put("onnx/model.onnx", _POINTER),
    "net noise": put("onnx/model.onnx", bytes(range(256)) * 40),
    "net empty": put("onnx/model.onnx", b""),
    "card of 5 MB": put("README.md", b"---\n" + b"license: x\n" * 500_000, refused=False),
    "card of script": put("README.md", f"---\nlicense: {SCRIPT}\n---\n".encode(), refused=False),
    "folders deep": texts(_deep, refused=False),
    "names that are no text": texts(_names, refused=False),
    "tokenizer a link out of it": texts(_to_outside("tokenizer.json")),
}  # fmt: skip

PICTURES = {
    **{f"said {name}": pictures(data) for name, data in _ANY.items()},
    "mean of text": pictures({**_PIXELS, "image_mean": ["a", "b", "c"]}),
    "mean of infinity": pictures({**_PIXELS, "image_mean": [float("inf")] * 3}),
    "mean of numbers of 5,000 digits": pictures(b'{"do_normalize": true, "image_mean": [' + b"9" * 5000 + b",1,1]}"),
    "std of zeros": pictures({**_PIXELS, "image_std": [0, 0, 0]}),
    "std none": pictures({**_PIXELS, "image_std": None}),
    "scale of text": pictures({**_PIXELS, "rescale_factor": "x"}),
    "scale a list": pictures({"scale": [1]}),
    "scale of words": pictures({"scale": "x"}),
    "size of text": resized({"size": "x"}),
    "size infinite": resized({"size": {"height": float("inf"), "width": 8}}),
    "size negative": resized({"size": {"height": -8, "width": -8}}),
    "size beyond all": resized({"size": {"shortest_edge": 10**12}, "do_center_crop": True, "crop_size": 8}),
    "resample unknown": pictures({**_PIXELS, "do_resize": True, "resample": 99, "size": 8}),
    "crop of nothing": resized({"size": {"shortest_edge": 8}, "crop_pct": 0}),
    "timm's crop of nothing": pictures({"pretrained_cfg": {
        "input_size": [3, 8, 8], "interpolation": "bilinear", "crop_pct": 0, "mean": [0.5] * 3, "std": [0.5] * 3}},
        name="config.json"),
    "timm's crop infinite": pictures(b'{"pretrained_cfg": {"input_size": [3, 8, 8], "interpolation": "bilinear", '
        b'"crop_pct": 1e-999, "mean": [0.5,0.5,0.5], "std": [0.5,0.5,0.5]}}', name="config.json"),
    "timm's of text": pictures({"pretrained_cfg": "a"}, name="config.json"),
    "open_clip's of text": pictures({"preprocess_cfg": {"size": "x"}}, name="open_clip_config.json"),
    "open_clip's colour beyond all": pictures({"size": 8, "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "longest",
        "fill_color": 10**9, "interpolation": "bilinear"}, name="preprocess_cfg.json"),
    "vision_config of text": pictures({"vision_config": "a", "model_type": 5}, name="config.json"),
}  # fmt: skip
