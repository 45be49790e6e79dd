"""Nets of texts in repositories: the same vectors as the net itself gives, fed as its makers feed it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

import fxengine
from fxengine.backbones import load_backbone
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import minilm_l6
from fxengine.backbones.spec import BackboneFile, TextRecipe
from fxengine.backbones.tokenizer import wordpiece_json
from fxengine.decode import preparer_of
from fxengine.errors import InputError
from tests.backbones.sources import hf_nets
from tests.backbones.sources.hf_nets import DIM, POSITIONS, Graph, hidden_states, ids, sentence_transformers
from tests.pairs import IMMICH_LENGTH, clip_text, immich_text, siglip_text, with_end_last

MANY, PLACES = {"max_seq_length": 99}, {"max_position_embeddings": POSITIONS}
LFS = b"version https://git-lfs.github.com/spec/v1\n"
TEXTS = ("good", "bad . good abc", "a b c d e f g h i j", "x" * 40)


def rows_of(found: BackboneFile, texts: Sequence[str] = TEXTS) -> list[np.ndarray]:
    preparer, made = preparer_of(found), []
    for text in texts:
        room = preparer.room(1)
        preparer.open(preparer.payload_of(text)).fill(room, 0)
        made.append(room["tokens"][0])
    return made


def most_of(found: BackboneFile) -> int:
    assert isinstance(found.recipe, TextRecipe)
    return found.recipe.max_tokens


def embedded(found: BackboneFile, rows: Sequence[np.ndarray], output: str = "features") -> np.ndarray:
    """Return what all rows give at once; each alone gives the same."""
    session = ort.InferenceSession(found.path)
    tokens = np.full((len(rows), max(map(len, rows))), 7, np.int32)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    lengths = np.array([len(row) for row in rows], np.int32)
    (together,) = session.run([output], {"tokens": tokens, "lengths": lengths})
    for row, vector in zip(rows, together, strict=True):
        (alone,) = session.run([output], {"tokens": row[None], "lengths": np.array([len(row)], np.int32)})
        np.testing.assert_allclose(vector, alone[0], rtol=0, atol=1e-5)
    return np.asarray(together)


def by_hand(path: Path, row: np.ndarray, output: str) -> np.ndarray:
    """Return what a net itself gives for one text."""
    session = ort.InferenceSession(path)
    values = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
    feeds = {each.name: values[each.name][None].astype(np.int64) for each in session.get_inputs()}
    return np.asarray(np.asarray(session.run([output], feeds)[0])[0])


@pytest.mark.parametrize(
    ("theirs", "ours", "pooled"),
    [
        ("mean_tokens", "avg", lambda x: x.mean(0)),
        ("cls_token", "cls", lambda x: x[0]),
        ("max_tokens", "max", lambda x: x.max(0)),
        ("lasttoken", "last", lambda x: x[-1]),
        ("mean_sqrt_len_tokens", "sqrt", lambda x: x.sum(0) / np.sqrt(len(x))),
        ("weightedmean_tokens", "weighted", lambda x: np.average(x, axis=0, weights=np.arange(1, len(x) + 1))),
    ],
)
def test_the_pooling_of_sentence_transformers(
    tmp_path: Path, theirs: str, ours: str, pooled: Callable[[np.ndarray], np.ndarray]
) -> None:
    folder = sentence_transformers(tmp_path / "net", theirs)
    found = load_backbone(f"hf:{folder}")
    facts = found.facts
    assert (facts.name, facts.pooling, facts.metric, facts.licence) == ("net", ours, "cosine", "apache-2.0")
    assert facts.source == f"hf:{folder} onnx/model.onnx"
    assert most_of(found) == 16  # not the tokenizer's 5, nor its configuration's 20, nor the 24 positions
    rows = rows_of(found)
    assert [len(row) for row in rows] == [3, 8, 12, 16]
    wanted = [pooled(by_hand(folder / "onnx" / "model.onnx", row, "last_hidden_state")) for row in rows]
    np.testing.assert_allclose(embedded(found, rows), wanted, rtol=0, atol=1e-5)


def test_two_poolings_and_dense_layers(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    weights, bias = rng.normal(size=(6, 2 * DIM)).astype(np.float32), rng.normal(size=6).astype(np.float32)
    second = rng.normal(size=(4, 6)).astype(np.float32)
    dense = {"in_features": 2 * DIM, "out_features": 6, "activation_function": "torch.nn.modules.activation.Tanh"}
    plain = {"in_features": 6, "out_features": 4, "activation_function": "torch.nn.modules.linear.Identity"}
    kinds = ("Transformer", "Pooling", "Dense", "Dense")
    files = {
        "modules.json": [
            {"path": f"{i}_{kind}", "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(kinds)
        ],
        "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        "2_Dense/config.json": {**dense, "bias": True},
        "2_Dense/model.safetensors": hf_nets.safetensors({"linear.weight": weights, "linear.bias": bias}),
        "3_Dense/config.json": {**plain, "bias": False},
        "3_Dense/model.safetensors": hf_nets.safetensors({"linear.weight": second}),
    }
    folder = sentence_transformers(tmp_path / "net", files=files)
    found = load_backbone(f"hf:{folder}")
    assert (found.facts.pooling, found.facts.dim, found.facts.metric) == ("cls+avg", 4, "")
    rows = rows_of(found)
    hidden = [by_hand(folder / "onnx" / "model.onnx", row, "last_hidden_state") for row in rows]
    pooled = np.stack([np.concatenate([each[0], each.mean(0)]) for each in hidden])
    np.testing.assert_allclose(embedded(found, rows), np.tanh(pooled @ weights.T + bias) @ second.T, rtol=0, atol=1e-5)
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"a pickle \(pytorch_model.bin\) is a program, and is not opened"):
        load_backbone(f"hf:{folder}")


def test_prompts(tmp_path: Path) -> None:
    said = {"prompts": {"query": "bad ", "document": ""}, "default_prompt_name": None}
    folder = sentence_transformers(tmp_path / "net", files={"config_sentence_transformers.json": said})
    plain = load_backbone(f"hf:{folder}")
    assert plain.facts.notes["prompts"] == said["prompts"]
    query = load_backbone(f"hf:{folder}", ExportOptions(prompt="query"))
    assert query.fingerprint != plain.fingerprint
    np.testing.assert_array_equal(rows_of(query, ["good"])[0], rows_of(plain, ["bad good"])[0])
    own = load_backbone(f"hf:{folder}", ExportOptions(prompt="passage=bad "))
    assert own.fingerprint == query.fingerprint
    with pytest.raises(InputError, match=r"has no prompt 'passage' \(it has: query, document\)"):
        load_backbone(f"hf:{folder}", ExportOptions(prompt="passage"))
    hf_nets.write(folder, {"config_sentence_transformers.json": {**said, "default_prompt_name": "query"}})
    assert load_backbone(f"hf:{folder}").fingerprint == query.fingerprint


def test_without_modules_the_pooling_is_asked_for(tmp_path: Path) -> None:
    folder = sentence_transformers(tmp_path / "net")
    (folder / "modules.json").unlink()
    with pytest.raises(
        InputError, match=r"\(last_hidden_state\), and no modules.json says how .* give `pooling` avg, cls"
    ):
        load_backbone(f"hf:{folder}")
    found = load_backbone(f"hf:{folder}", ExportOptions(pooling="last"))
    rows = rows_of(found)
    wanted = [by_hand(folder / "onnx" / "model.onnx", row, "last_hidden_state")[-1] for row in rows]
    np.testing.assert_allclose(embedded(found, rows), wanted, rtol=0, atol=1e-5)
    assert load_backbone(f"hf:{folder}#onnx/model.onnx@hidden", ExportOptions(pooling="cls")).facts.cut == "hidden"


@pytest.mark.parametrize(
    ("said", "most"),
    [
        ({"sentence_bert_config.json": {"max_seq_length": None}}, 20),  # the tokenizer's
        ({"sentence_bert_config.json": {"x": 1}, "tokenizer_config.json": {"model_max_length": 1e30}}, 24),
        ({"sentence_bert_config.json": MANY}, 24),  # there are no more positions
        ({"sentence_bert_config.json": MANY, "config.json": {**PLACES, "model_type": "roberta"}}, 22),
        ({"sentence_bert_config.json": MANY, "config.json": {**PLACES, "rope_theta": 1e4}}, 99),
    ],
)  # fmt: skip
def test_which_length_is_the_right_one(tmp_path: Path, said: dict[str, object], most: int) -> None:
    assert most_of(load_backbone(f"hf:{sentence_transformers(tmp_path / 'net', files=said)}")) == most


def test_clips_text_tower(tmp_path: Path) -> None:
    path = clip_text(tmp_path / "onnx" / "text_model.onnx")
    folder = hf_nets.write(
        tmp_path,
        {
            "onnx/vision_model.onnx": b"",
            "config.json": {"model_type": "clip", "text_config": {**PLACES, "model_type": "clip_text_model"}},
            "tokenizer.json": with_end_last(),
        },
    )  # fmt: skip
    with pytest.raises(InputError, match=r"has two towers, for pictures and for texts .*: give `tower` image or text"):
        load_backbone(f"hf:{folder}")
    found = load_backbone(f"hf:{folder}", ExportOptions(tower="text"))
    assert (found.facts.name, found.facts.cut) == (f"{tmp_path.name}-text_model", "text_embeds")
    assert (found.facts.dim, found.facts.pooling, found.facts.metric) == (5, "none", "cosine")
    rows = rows_of(found)
    wanted = [by_hand(path, row, "text_embeds") for row in rows]
    np.testing.assert_allclose(embedded(found, rows), wanted, rtol=0, atol=1e-5)
    named = load_backbone(f"hf:{folder}#onnx/text_model.onnx")
    assert (named.fingerprint, named.facts.metric) == (found.fingerprint, "cosine")


def test_siglips_text_tower_sees_its_padding(tmp_path: Path) -> None:
    path = siglip_text(tmp_path / "onnx" / "text_model.onnx")
    text = {"model_type": "siglip_text_model", "max_position_embeddings": POSITIONS}
    hf_nets.write(
        tmp_path,
        {
            "config.json": {"model_type": "siglip", "text_config": text},
            "tokenizer.json": hf_nets.tokenizer(),
            "tokenizer_config.json": {"pad_token": {"content": "[SEP]"}, "model_max_length": POSITIONS},
        },
    )
    found = load_backbone(f"hf:{tmp_path}")
    assert (most_of(found), found.facts.cut) == (POSITIONS, "pooler_output")
    rows = rows_of(found)
    wanted = [by_hand(path, np.pad(row, (0, POSITIONS - len(row)), constant_values=3), "pooler_output") for row in rows]
    np.testing.assert_allclose(embedded(found, rows), wanted, rtol=0, atol=1e-5)


def test_immichs_text_tower_of_one_text(tmp_path: Path) -> None:
    length, clean = IMMICH_LENGTH, {"tokenizer_kwargs": {"clean": "canonicalize"}}
    path = immich_text(tmp_path / "textual" / "model.onnx")
    hf_nets.write(
        tmp_path,
        {
            "config.json": {"embed_dim": 5, "text_cfg": {"context_length": length, **clean}},
            "textual/tokenizer.json": hf_nets.tokenizer(),
            "textual/tokenizer_config.json": {"pad_token": "[PAD]"},
        },
    )  # fmt: skip
    found = load_backbone(f"hf:{tmp_path}", ExportOptions(tower="text"))
    assert found.facts.name == f"{tmp_path.name}-textual"
    rows = rows_of(found, ["good", "Bad. good_abc!", "x" * 40])
    np.testing.assert_array_equal(rows[1], rows_of(load_backbone(f"hf:{tmp_path}"), ["bad good abc"])[0])
    session = ort.InferenceSession(path)
    padded = [np.pad(row, (0, length - len(row))).astype(np.int32)[None] for row in rows]
    wanted = [session.run(None, {"text": row})[0][0] for row in padded]
    np.testing.assert_allclose(embedded(found, rows), wanted, rtol=0, atol=1e-5)


def classifier(path: Path) -> Path:
    net = Graph(7)
    net.op("Gather", [hidden_states(net), "zero"], "first", axis=1)
    net.op("Relu", [net.op("MatMul", ["first", net.random("inner", DIM, 6)], "wide")], "before")
    net.op("MatMul", ["before", net.random("classes", 6, 3)], "product")
    net.op("Add", ["product", net.random("bias", 3)], "logits")
    return net.save(path, {"input_ids": ids(), "attention_mask": ids()}, {"logits": ["batch", 3]})


LABELS = {
    "id2label": {"0": "NEGATIVE", "1": "NEUTRAL", "2": "POSITIVE"},
    "model_type": "bert",
    "max_position_embeddings": 24,
}


def test_a_classifier_of_texts_predicts(tmp_path: Path) -> None:
    path = classifier(tmp_path / "onnx" / "model.onnx")
    hf_nets.write(tmp_path, {"config.json": LABELS, "tokenizer.json": hf_nets.tokenizer()})
    found = load_backbone(f"hf:{tmp_path}")
    assert (found.facts.classes, found.facts.cut) == (("NEGATIVE", "NEUTRAL", "POSITIVE"), "before")
    rows = rows_of(found)
    logits = np.stack([by_hand(path, row, "logits") for row in rows])
    np.testing.assert_allclose(embedded(found, rows, "logits"), logits, rtol=0, atol=1e-5)
    assert embedded(found, rows).shape == (4, 6)
    made = fxengine.predict(text=list(TEXTS), backbone=f"hf:{tmp_path}", top=1)
    names = [found.facts.classes[i] for i in logits.argmax(1)]
    assert [each.labels[0] for each in made.predictions] == names
    assert load_backbone(f"hf:{tmp_path}", ExportOptions(logits=True)).fingerprint == found.fingerprint
    hf_nets.write(tmp_path, {"config.json": {**LABELS, "problem_type": "multi_label_classification"}})
    assert load_backbone(f"hf:{tmp_path}").facts.classes == ()
    with pytest.raises(InputError, match="has no classifier of several classes, of which a text has one"):
        load_backbone(f"hf:{tmp_path}", ExportOptions(logits=True))


TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.mark.parametrize("length", ["sequence", 20])
def test_a_classifier_of_tokens(tmp_path: Path, length: int | str) -> None:
    """The mean of what stands before its logits is the vector; the logits of each token are `spans`."""
    path = hf_nets.tagger(tmp_path, TAGS, length) / "model.onnx"
    found = load_backbone(f"hf:{tmp_path}")
    facts = found.facts
    assert (facts.classes, facts.cut, facts.dim, facts.pooling) == ((), "hidden", DIM, "avg")
    most = most_of(found)
    assert (facts.span_labels, most) == (TAGS, POSITIONS if length == "sequence" else length)
    rows = rows_of(found)
    assert embedded(found, rows).shape == (4, DIM)
    session = ort.InferenceSession(found.path)
    assert [each.name for each in session.get_outputs()] == ["features", "spans"]
    for row in rows:
        mask = np.arange(most) < len(row)
        feeds = {"input_ids": np.pad(row, (0, most - len(row)))[None].astype(np.int64)}
        (wanted,) = ort.InferenceSession(path).run(["logits"], {**feeds, "attention_mask": mask[None].astype(np.int64)})
        given = {"tokens": row[None], "lengths": np.array([len(row)], np.int32)}
        (logits,) = (np.asarray(each) for each in session.run(["spans"], given))
        assert logits.shape == (1, len(row), 5)
        np.testing.assert_allclose(logits[0], np.asarray(wanted)[0, : len(row)], rtol=0, atol=1e-5)
    asked = load_backbone(f"hf:{tmp_path}", ExportOptions(pooling="cls", layers=("word", "hidden")))
    assert (asked.facts.pooling, asked.facts.span_labels, asked.dims) == ("cls", TAGS, {None: DIM, "word": DIM})
    with pytest.raises(InputError, match="gives a class for each token, and none for a text"):
        load_backbone(f"hf:{tmp_path}", ExportOptions(logits=True))


def test_logits_of_tokens_that_are_not_its_labels_are_no_spans(tmp_path: Path) -> None:
    """As a masked language model has them, one for each word of its vocabulary."""
    hf_nets.tagger(tmp_path, TAGS)
    hf_nets.write(tmp_path, {"config.json": LABELS})
    with pytest.raises(InputError, match="gives a vector for each token"):
        load_backbone(f"hf:{tmp_path}")
    found = load_backbone(f"hf:{tmp_path}", ExportOptions(pooling="avg"))
    assert (found.facts.classes, found.facts.span_labels) == ((), ())
    assert [value.name for value in onnx.load(found.path).graph.output] == ["features"]


def test_what_quantises_as_it_runs_is_refused(tmp_path: Path) -> None:
    folder = sentence_transformers(tmp_path / "net")
    net = Graph(8)
    hidden = hidden_states(net)
    net.op("DynamicQuantizeLinear", [hidden], "codes")
    net.nodes[-1].output.extend(["scale", "point"])
    net.op("DequantizeLinear", ["codes", "scale", "point"], "last_hidden_state")
    path = folder / "onnx" / "model_quantized.onnx"
    inputs = {"input_ids": ids(), "attention_mask": ids()}
    net.save(path, inputs, {"last_hidden_state": ["batch", "sequence", DIM]})
    assert load_backbone(f"hf:{folder}").facts.source.endswith(" onnx/model.onnx")
    with pytest.raises(InputError, match=r"quantises as it runs .* taken over the whole batch"):
        load_backbone(f"hf:{folder}#onnx/model_quantized.onnx")
    (folder / "onnx" / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"Name one of these behind a #: onnx/model_quantized.onnx\."):
        load_backbone(f"hf:{folder}")


def other_inputs(folder: Path) -> None:
    net = Graph()
    hidden_states(net)
    net.op("Add", ["hidden", "past_key_values.0.key"], "last_hidden_state")
    inputs: dict[str, Any] = {
        **hf_nets.BERT_INPUTS,
        "past_key_values.0.key": (TensorProto.FLOAT, ["batch", "sequence", DIM]),
    }
    net.save(folder / "onnx" / "model.onnx", inputs, {"last_hidden_state": ["batch", "sequence", DIM]})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: (f / "tokenizer.json").rename(f / "vocab.txt"), "has no tokenizer.json, only vocab.txt. Save one"),
        (lambda f: (f / "tokenizer.json").write_text("[]"), "is no object of JSON"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "is no tokenizer that fxengine knows"),
        (lambda f: shutil.rmtree(f / "onnx"), "There is no net in it that fxengine could use"),
        (lambda f: (f / "onnx" / "model.onnx").rename(f / "pytorch_model.bin"), "only weights of other frameworks"),
        (lambda f: hf_nets.write(f, {"modules.json": [{"type": "a.CNN"}]}), "ends in a module CNN"),
        (lambda f: hf_nets.write(f, {"1_Pooling/config.json": {"pooling_mode": "rms"}}), r"says no pooling .* \(rms\)"),
        (lambda f: hf_nets.write(f, {"onnx/model.onnx": LFS}), "Git LFS pointer"),
        (other_inputs, "takes past_key_values.0.key besides token ids"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, change: Callable[[Path], object], why: str) -> None:
    folder = sentence_transformers(tmp_path / "net")
    change(folder)
    with pytest.raises(InputError, match=why):
        load_backbone(f"hf:{folder}")


def test_options_of_others_are_refused(tmp_path: Path) -> None:
    folder = sentence_transformers(tmp_path / "net")
    with pytest.raises(InputError, match="takes texts: leave `scale` away"):
        load_backbone(f"hf:{folder}", ExportOptions(scale=1.0))
    with pytest.raises(InputError, match="has no image tower"):
        load_backbone(f"hf:{folder}", ExportOptions(tower="image"))
    with pytest.raises(InputError, match=r"efficientnet_lite0 is in no repository of models .*: leave `prompt` away"):
        load_backbone("efficientnet_lite0", ExportOptions(prompt="query"))
    with pytest.raises(InputError, match="`pooling` last is for the tokens of a net of texts"):
        load_backbone("efficientnet_lite0", ExportOptions(pooling="last", layers=("features",)))


def test_real_weights_as_a_repository(tmp_path: Path) -> None:
    """The package's ONNX file of all-MiniLM-L6-v2, laid out as sentence-transformers lays it out."""
    folder = sentence_transformers(
        tmp_path / "all-MiniLM-L6-v2", files={"tokenizer.json": wordpiece_json(minilm_l6.vocabulary())}
    )
    shutil.copyfile(minilm_l6.weights_path(), folder / "onnx" / "model.onnx")
    ours, found = load_backbone("minilm_l6"), load_backbone(f"hf:{folder}")
    assert (found.facts.dim, found.facts.metric) == (384, "cosine")
    rows = rows_of(found, ["A man is eating food.", "good", "It was a fine day."])
    np.testing.assert_allclose(embedded(found, rows), embedded(ours, rows), rtol=0, atol=1e-5)
