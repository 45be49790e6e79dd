"""What a repository says of a net of texts: pooling, layers behind it, length, tokenizer, prompts.

Sentence-transformers writes `modules.json`, a list of what a text goes through, each with a folder of its own;
transformers writes the tokenizer and its configuration, open_clip and immich a `text_cfg`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fxengine.backbones.graph.pooling import ACTIVATIONS, Dense
from fxengine.backbones.json_file import json_in, object_in
from fxengine.backbones.safetensors import as_float32, read_tensors
from fxengine.backbones.sources.hf_files import Chosen
from fxengine.errors import InputError

_MOST_SAID = 1_000_000  # tokens; transformers writes 1e30 where it does not know
_LEAST_TOKENS, _MOST_TOKENS = 4, 1 << 15
_MOST_ID = 1 << 31
_POOLINGS = {  # sentence-transformers' words -> ours, in the order in which it puts several together
    "cls_token": "cls", "max_tokens": "max", "mean_tokens": "avg", "mean_sqrt_len_tokens": "sqrt",
    "weightedmean_tokens": "weighted", "lasttoken": "last",
}  # fmt: skip
# Kinds of nets that count positions from the padding's id + 1 on, so that two places of their tables are not used.
_OFFSET_KINDS = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl", "roberta-prelayernorm"}
_RELATIVE = (
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "rotary_emb_base",
    "relative_attention_num_buckets",
    "alibi",
)
# open_clip's way of cleaning ("canonicalize"), as a tokenizer's own steps.
_CANONICAL: list[dict[str, Any]] = [
    {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
    {"type": "Replace", "pattern": {"Regex": r"[!-/:-@\[-`{-~]"}, "content": ""},
    {"type": "Lowercase"},
    {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
    {"type": "Strip", "strip_left": True, "strip_right": True},
]


@dataclass(frozen=True)
class Modules:
    """What `modules.json` says.

    Attributes:
        pooling: how tokens become a vector; empty where that is not said.
        dense: the layers behind it.
        normalised: whether a scaling to length 1 is the end.
        with_prompt: whether the tokens of a prompt count in the pooling.
    """

    pooling: tuple[str, ...] = ()
    dense: tuple[Dense, ...] = ()
    normalised: bool = False
    with_prompt: bool = True


@dataclass(frozen=True)
class Tokens:
    """What a repository says of its tokens.

    Attributes:
        tokenizer: its JSON, without cutting and padding.
        pad: the id behind a text.
        begin: ids that are put before a text.
        end: those behind it.
        count: how many different ones there are.
    """

    tokenizer: bytes
    pad: int
    begin: tuple[int, ...]
    end: tuple[int, ...]
    count: int


def modules_of(chosen: Chosen) -> Modules:
    """Return what `modules.json` says; nothing where there is none.

    Raises:
        InputError: it has what fxengine does not compute, weights only as a pickle, or is damaged.
    """
    path = chosen.beside("modules.json")
    if path is None:
        return Modules()
    found = Modules()
    try:
        for entry in json_in(path):
            found = _with(found, str(entry["type"]).rpartition(".")[2], str(entry.get("path") or ""), chosen)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is not in the form that fxengine knows: {error!r}.") from error
    return found


def _with(found: Modules, kind: str, folder: str, chosen: Chosen) -> Modules:
    """Return what is known with one more module."""
    if kind in ("Transformer", "Dropout"):
        return found
    if kind == "Normalize":
        return Modules(found.pooling, found.dense, True, found.with_prompt)
    if found.normalised or kind not in ("Pooling", "Dense") or (kind == "Dense") != bool(found.pooling):
        raise InputError(
            f"{chosen.repository.title} ends in a module {kind} (modules.json) which fxengine does not compute there: "
            "it takes a Transformer, Pooling, Dense and Normalize, in this order. Export it as a whole, with an output "
            "sentence_embedding."
        )
    config = object_in(chosen.path(f"{folder}/config.json"))
    if kind == "Pooling":
        return Modules(_pooling(config, chosen), (), False, config.get("include_prompt", True) is not False)
    return Modules(found.pooling, (*found.dense, _dense(config, folder, chosen)), False, found.with_prompt)


def _pooling(config: Mapping[str, Any], chosen: Chosen) -> tuple[str, ...]:
    said = config.get("pooling_mode")
    named = [said] if isinstance(said, str) else list(said or ())
    known = {theirs.partition("_token")[0]: ours for theirs, ours in _POOLINGS.items()}
    found = [known.get(str(each), str(each)) for each in named]
    found = found or [ours for theirs, ours in _POOLINGS.items() if config.get(f"pooling_mode_{theirs}")]
    if not found or set(found) - set(_POOLINGS.values()):
        raise InputError(
            f"{chosen.repository.title} says no pooling that fxengine has ({', '.join(map(str, named)) or 'none'}): "
            "give `pooling`."
        )
    return tuple(found)


def _dense(config: Mapping[str, Any], folder: str, chosen: Chosen) -> Dense:
    file, activation = f"{folder}/model.safetensors", str(config["activation_function"]).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise InputError(
            f"{chosen.repository.title}: its {folder} ends in {activation}; {', '.join(ACTIVATIONS)} are computed here."
        )
    if file not in chosen.repository.files:
        raise InputError(
            f"{chosen.repository.title} has the weights of its {folder} in no {file}: a pickle (pytorch_model.bin) is "
            "a program, and is not opened. Save it with safetensors."
        )
    path = chosen.path(file)
    tensors = read_tensors(path, ("linear.weight", "linear.bias"))
    weights, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    shape = (int(config["out_features"]), int(config["in_features"]))
    if weights is None or weights.shape != shape or (bias is not None and bias.shape != shape[:1]):
        raise InputError(f"{path} has no linear.weight {list(shape)} and linear.bias, which its config.json says.")
    return Dense(as_float32(weights), None if bias is None else as_float32(bias), activation)


def tokens_of(chosen: Chosen) -> Tokens:
    """Return the tokenizer of a net of texts.

    Raises:
        InputError: there is no tokenizer.json, or none that can be used.
    """
    path = chosen.beside("tokenizer.json")
    if path is None:
        there = [name for name in ("vocab.txt", "vocab.json", "merges.txt", "spiece.model") if chosen.beside(name)]
        has = f", only {', '.join(there)}" if there else ""
        raise InputError(
            f"{chosen.repository.title} has no tokenizer.json{has}. Save one: "
            "`AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)`, and give hf:FOLDER."
        )
    values = object_in(path)
    try:
        known = values["model"]["vocab"]
        pairs = known.items() if isinstance(known, dict) else ((token, at) for at, (token, *_) in enumerate(known))
        ids = {str(token): int(number) for token, number in pairs}
        ids |= {str(each["content"]): int(each["id"]) for each in values.get("added_tokens") or ()}
        begin, end = _around(values.get("post_processor") or {})
        pad = _pad(chosen, ids, values.get("padding") or {})
        most = max(ids.values())
        if not 0 <= min(pad, *begin, *end, *ids.values()) <= max(pad, *begin, *end, most) < _MOST_ID:
            raise ValueError(f"an id is not from 0 to {_MOST_ID:,}")
        values |= {"truncation": None, "padding": None}
        kwargs = _text_config(chosen).get("tokenizer_kwargs")
        if isinstance(kwargs, dict) and kwargs.get("clean") == "canonicalize":
            own = values.get("normalizer")
            values["normalizer"] = {"type": "Sequence", "normalizers": [*_CANONICAL, *([own] if own else [])]}
        written = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise InputError(f"{path} is no tokenizer that fxengine knows: {error!r}.") from error
    return Tokens(written, pad, begin, end, most + 1)


def _around(said: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids that a post-processor puts before a text, and those behind it."""
    if "cls" in said and "sep" in said:
        return (int(said["cls"][1]),), (int(said["sep"][1]),)
    before: list[int] = []
    behind: list[int] = []
    side = before
    for step in said.get("single") or ():
        if "Sequence" in step:
            side = behind
        else:
            side += map(int, said["special_tokens"][step["SpecialToken"]["id"]]["ids"])
    return tuple(before), tuple(behind)


def _pad(chosen: Chosen, ids: Mapping[str, int], padding: Mapping[str, Any]) -> int:
    """Return the id that the makers put behind a text."""
    token = chosen.said("tokenizer_config.json").get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    config = chosen.said("config.json")
    said = [
        ids.get(str(token)),
        config.get("pad_token_id"),
        _text_config(chosen).get("pad_token_id"),
        padding.get("pad_id"),
    ]
    return next((int(each) for each in said if each is not None), 0)


def _text_config(chosen: Chosen) -> dict[str, Any]:
    """Return what is said of the text's part of a pair; of a net by itself, its whole configuration."""
    config = chosen.said("config.json") or chosen.said("open_clip_config.json")
    config = config["model_cfg"] if isinstance(config.get("model_cfg"), dict) else config
    inner = config.get("text_config") or config.get("text_cfg")
    return inner if isinstance(inner, dict) else config


def kind_of(chosen: Chosen) -> str:
    """Return the kind of a net of texts, as transformers calls it; "" where nothing says it."""
    inner = _text_config(chosen).get("model_type") or chosen.said("config.json").get("model_type")
    return str(inner or "")


def positions_of(chosen: Chosen) -> int | None:
    """Return for how many tokens a net has positions; None where that is not said."""
    config = _text_config(chosen)
    said = config.get("max_position_embeddings", config.get("context_length"))
    if not isinstance(said, int):
        return None
    return said - 2 if kind_of(chosen) in _OFFSET_KINDS else said


def max_tokens_of(chosen: Chosen) -> int:
    """Return how many tokens a net takes: by sentence-transformers, else by its tokenizer, else by its positions.

    It is never more than a net with a table of positions has of them.

    Raises:
        InputError: nothing says it.
    """
    positions, config = positions_of(chosen), _text_config(chosen)
    stated = (
        chosen.said("sentence_bert_config.json").get("max_seq_length"),
        chosen.said("tokenizer_config.json").get("model_max_length"),
        positions,
    )
    found = next((int(n) for n in stated if isinstance(n, int | float) and 0 < n < _MOST_SAID), None)
    if found is None:
        raise InputError(
            f"{chosen.repository.title} does not say how many tokens its net takes: write max_seq_length into a "
            "sentence_bert_config.json beside it."
        )
    if positions is not None and not any(config.get(key) for key in _RELATIVE):
        found = min(found, positions)
    if found < _LEAST_TOKENS:
        raise InputError(
            f"{chosen.repository.title} says that its net takes {found} tokens, less than {_LEAST_TOKENS}."
        )
    return min(found, _MOST_TOKENS)


def prompt_of(chosen: Chosen, asked: str | None) -> tuple[str, dict[str, str]]:
    """Return what is put before each text, and every prompt that the repository names.

    Args:
        chosen: the net.
        asked: the name of a prompt, or NAME=TEXT; None: the one that the repository calls the default, if any.

    Raises:
        InputError: there is none of that name.
    """
    said = chosen.said("config_sentence_transformers.json")
    own = said.get("prompts")
    prompts = {str(name): str(text) for name, text in own.items()} if isinstance(own, dict) else {}
    name = said.get("default_prompt_name") if asked is None else asked
    if name is None:
        return "", prompts
    if asked is not None and "=" in asked:
        return asked.partition("=")[2], prompts
    if str(name) not in prompts:
        there = ", ".join(prompts) or "none"
        raise InputError(
            f"{chosen.repository.title} has no prompt {str(name)!r} (it has: {there}). Give its text too: `prompt` "
            f"{name}=TEXT."
        )
    return prompts[str(name)], prompts


def metric_of(chosen: Chosen, modules: Modules) -> Literal["", "cosine"]:
    """Return by what the makers compare vectors, where they say it."""
    said: Sequence[object] = (chosen.said("config_sentence_transformers.json").get("similarity_fn_name"),)
    return "cosine" if modules.normalised or chosen.tower or "cosine" in said else ""


def labels_of(chosen: Chosen) -> dict[str, Any]:
    """Return the names of a classifier's classes by their numbers; none where a text may be of several of them."""
    config = chosen.said("config.json")
    labels = config.get("id2label")
    several = config.get("problem_type") == "multi_label_classification"
    return labels if isinstance(labels, dict) and len(labels) > 1 and not several else {}
