"""A repository's net of texts: the inputs of the contract before it, pooling and layers behind it, checked by running.

output by its name -> what its makers say of pooling, length and prompt -> prologue, net, pooling: one graph -> compared
with the net itself, fed one text at a time as its makers feed it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fxengine.backbones.graph import surgery
from fxengine.backbones.graph.batch import with_open_batch
from fxengine.backbones.graph.cut import find_classifier, find_tensor
from fxengine.backbones.graph.pooling import Dense, dense, pool
from fxengine.backbones.graph.quantized import check_scales, with_numbers
from fxengine.backbones.graph.surgery import View
from fxengine.backbones.graph.text_net import (
    IDS,
    MASKS,
    NET,
    OLDEST_OPSET,
    PLACES,
    TYPES,
    Feed,
    assembled,
    fed_by_hand,
    of_tokens,
    problem_of,
)
from fxengine.backbones.graph.texts import Nodes
from fxengine.backbones.options import ExportOptions, refuse_unread
from fxengine.backbones.report import measure
from fxengine.backbones.sources.from_onnx import class_names
from fxengine.backbones.sources.hf_files import Chosen
from fxengine.backbones.sources.hf_modules import (
    Modules,
    Tokens,
    kind_of,
    labels_of,
    max_tokens_of,
    metric_of,
    modules_of,
    positions_of,
    prompt_of,
    tokens_of,
)
from fxengine.backbones.sources.text_check import check_telling, difference, reference, sample_rows, vectors
from fxengine.backbones.spec import (
    EPILOGUE,
    FEATURE_OUTPUT,
    LOGITS_OUTPUT,
    METADATA_KEY,
    SPANS_OUTPUT,
    TOKENIZER_KEY,
    Facts,
    TextRecipe,
    layer_output,
)
from fxengine.backbones.tokenizer import packed, sha256_of_tokenizer
from fxengine.errors import InputError

INPUTS = (*IDS, *MASKS, *TYPES, *PLACES)
_VECTORS = ("sentence_embedding", "text_embeds")  # outputs that are the vector by their names
_HIDDEN = ("last_hidden_state", "token_embeddings")
_READ = ("layers", "pooling", "logits", "tower", "prompt")
_SEE_PADS = ("siglip",)  # kinds of nets that learnt with the padding, always of one length, as tokens


@dataclass(frozen=True)
class _Net:
    """A net that was read, and what is taken of it.

    Attributes:
        model: cut to what is taken.
        feed: how it is fed.
        outputs: output -> tensor.
        pooling: how the tensors of tokens become vectors.
        dense: the layers behind that of `features`.
        batch: how many texts it takes at once; None where any number.
    """

    model: onnx.ModelProto
    feed: Feed
    outputs: Mapping[str, str]
    pooling: tuple[str, ...]
    dense: tuple[Dense, ...]
    batch: int | None


def export(chosen: Chosen, model: onnx.ModelProto, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone of a net of texts.

    Raises:
        InputError: two answers fit and none was asked for, something is missing, or the backbone gives other vectors
            than the net itself.
    """
    refuse_unread(options, f"{chosen.name} takes texts", read=_READ)
    modules, tokens = modules_of(chosen), tokens_of(chosen)
    prompt, prompts = prompt_of(chosen, options.prompt)
    if prompt and not modules.with_prompt and not options.pooling:
        raise InputError(f"{chosen.repository.title} leaves its prompt out of the pooling, which fxengine does not do.")
    net = _read(chosen, model, modules, tokens, options)
    most = net.feed.fixed if net.feed.fixed is not None else max_tokens_of(chosen)
    rows = sample_rows(tokens.begin, tokens.end, tokens.count, most)
    values = reference(net.model, net.feed, net.batch or 1, rows, chosen.name)
    net = _checked(chosen, net, {tensor: found[0].shape for tensor, found in values.items()}, options)
    wanted: dict[str, Sequence[np.ndarray]] = {
        name: list(vectors(values[tensor], rows, net.pooling, net.dense if name == FEATURE_OUTPUT else ()))
        for name, tensor in net.outputs.items()
        if name != SPANS_OUTPUT
    }
    check_telling(np.asarray(wanted[FEATURE_OUTPUT]), f"{chosen.name} ({net.outputs[FEATURE_OUTPUT]})")
    if SPANS_OUTPUT in net.outputs:
        found = values[net.outputs[SPANS_OUTPUT]]
        wanted[SPANS_OUTPUT] = [each[: len(row)] for each, row in zip(found, rows, strict=True)]
    pooled = {tensor for tensor, found in values.items() if found[0].ndim == 2}
    made = _fitting(chosen, net, pooled, rows, wanted)
    recipe = TextRecipe(sha256_of_tokenizer(tokens.tokenizer), most, prompt=prompt)
    said = _said(chosen, made, net.outputs, wanted)
    said["notes"] |= {"prompts": prompts} if prompts else {}
    pooling = "+".join(net.pooling) if net.outputs[FEATURE_OUTPUT] in pooled else "none"
    facts = Facts(**said, recipe=recipe, pooling=pooling, metric=metric_of(chosen, modules))
    helper.set_model_props(made, {METADATA_KEY: facts.to_json(), TOKENIZER_KEY: packed(tokens.tokenizer)})
    return made


def _said(
    chosen: Chosen, made: onnx.ModelProto, outputs: Mapping[str, str], wanted: Mapping[str, Sequence[np.ndarray]]
) -> dict[str, Any]:
    """Return what facts say of the outputs; where it is from, its caller says."""
    dims = {name: found[0].shape[-1] for name, found in wanted.items()}
    prefix = layer_output("")
    config = chosen.beside("config.json")
    report = measure(made)
    return {
        "name": "",
        "source": "",
        "licence": "",
        "dim": dims[FEATURE_OUTPUT],
        "cut": outputs[FEATURE_OUTPUT],
        "parameters": report.parameters,
        "multiply_adds": report.multiply_adds,
        "classes": class_names(config, dims[LOGITS_OUTPUT]) if LOGITS_OUTPUT in dims else (),
        "span_labels": class_names(config, dims[SPANS_OUTPUT]) if SPANS_OUTPUT in dims else (),
        "layers": tuple((name.removeprefix(prefix), dim) for name, dim in dims.items() if name.startswith(prefix)),
        "notes": {"export": report.to_dict()},
    }


def _read(chosen: Chosen, model: onnx.ModelProto, modules: Modules, tokens: Tokens, options: ExportOptions) -> _Net:
    clean = with_numbers(surgery.clean(model, chosen.name))
    kinds = {value.name: value.type.tensor_type.elem_type for value in clean.graph.input}
    problem = problem_of(kinds)
    if problem:
        raise InputError(
            f"{chosen.name} {problem}: only nets that take token ids and what follows from them are texts'."
        )
    outputs = _outputs(chosen, clean, options)
    whole = outputs[FEATURE_OUTPUT] in _VECTORS
    cut = surgery.keep_only(clean, list(dict.fromkeys(outputs.values())))
    check_scales(cut, chosen.name)
    ids = next(value for value in cut.graph.input if value.name in IDS)
    batch, length = (n if isinstance(n, int) and n > 0 else None for n in surgery.shape_of(ids)[:2])
    sees_pads = kind_of(chosen).startswith(_SEE_PADS)
    fixed = length if length is not None or not sees_pads else positions_of(chosen)
    pooling = (options.pooling,) if options.pooling else modules.pooling
    feed = Feed(kinds, tokens.pad, fixed, sees_pads)
    return _Net(cut, feed, outputs, pooling, () if whole or options.layers else modules.dense, batch)


def _outputs(chosen: Chosen, model: onnx.ModelProto, options: ExportOptions) -> dict[str, str]:
    """Return output -> tensor: what was asked for, else by the names of the net's outputs."""
    view, there = View(model.graph), [value.name for value in model.graph.output]
    names = options.layers or ((chosen.tensor,) if chosen.tensor is not None else ())
    tensors = [find_tensor(view, name, chosen.source) for name in names]
    made = {layer_output(name): tensor for name, tensor in zip(names[:-1], tensors[:-1], strict=True)}
    classifier = find_classifier(view, "logits") if "logits" in there else None
    kind = kind_of(chosen)
    if tensors:
        made[FEATURE_OUTPUT] = tensors[-1]
    elif found := next((name for name in _VECTORS if name in there), None):
        made[FEATURE_OUTPUT] = found
    elif "pooler_output" in there and kind.startswith(_SEE_PADS):
        made[FEATURE_OUTPUT] = "pooler_output"
    elif found := next((name for name in _HIDDEN if name in there), None):
        made[FEATURE_OUTPUT] = found
    elif classifier is not None:
        made[FEATURE_OUTPUT] = classifier.features
    elif len(there) == 1:
        made[FEATURE_OUTPUT] = there[0]
    else:
        raise InputError(
            f"{chosen.name} has the outputs {', '.join(there)}, and none of them is known to be the vector: choose "
            f"one, as in {chosen.source}@NAME."
        )
    labels = labels_of(chosen)
    if classifier is not None and classifier.logits is not None and labels:
        made[LOGITS_OUTPUT] = classifier.logits
    elif options.logits:
        raise InputError(
            f"{chosen.name} has no classifier of several classes, of which a text has one: leave `logits` away."
        )
    return made


def _checked(chosen: Chosen, net: _Net, shapes: Mapping[str, tuple[int, ...]], options: ExportOptions) -> _Net:
    """Return the net with logits of tokens as `spans`; raises InputError where no pooling is said that is needed.

    Nobody says a pooling of a classifier of tokens, which is made for another use: it is the mean.
    """
    outputs, pooling = dict(net.outputs), net.pooling
    if LOGITS_OUTPUT in outputs and len(shapes[outputs[LOGITS_OUTPUT]]) == 2:
        if options.logits:
            raise InputError(f"{chosen.name} gives a class for each token, and none for a text: leave `logits` away.")
        logits = outputs.pop(LOGITS_OUTPUT)
        if shapes[logits][1] == len(labels_of(chosen)):
            outputs[SPANS_OUTPUT], pooling = logits, pooling or ("avg",)
    found = next((tensor for tensor in outputs.values() if len(shapes[tensor]) == 2), None)
    if found is not None and not pooling:
        raise InputError(
            f"{chosen.name} gives a vector for each token ({found}), and no modules.json says how they become one: "
            "give `pooling` avg, cls, last, max or weighted, as its card says."
        )
    tensor = outputs[FEATURE_OUTPUT]
    dim = shapes[tensor][-1] * (len(pooling) if len(shapes[tensor]) == 2 else 1)
    for layer in net.dense:
        if layer.weights.shape[1] != dim:
            raise InputError(
                f"{chosen.repository.title} has a Dense (modules.json) for {layer.weights.shape[1]} numbers, and "
                f"gets {dim}."
            )
        dim = layer.weights.shape[0]
    return replace(net, outputs=outputs, pooling=pooling)


def _fitting(
    chosen: Chosen,
    net: _Net,
    pooled: set[str],
    rows: Sequence[np.ndarray],
    wanted: Mapping[str, Sequence[np.ndarray]],
) -> onnx.ModelProto:
    """Return the first way of putting net and tail together that gives what the net itself gives."""
    tensors = list(dict.fromkeys(net.outputs.values()))
    cut = surgery.keep_only(net.model, tensors)
    tail = [part for name, tensor in net.outputs.items() for part in _tail(net, name, tensor, pooled)]
    dims = {name: found[0].shape[-1] for name, found in wanted.items()}
    bases = [base for base in (surgery.upgraded(cut), cut) if base is not None and surgery.opset(base) >= OLDEST_OPSET]
    problem = f"its opset {surgery.opset(cut)} cannot be converted"
    for base, way in product(bases, _ways(net)):
        made = assembled(_opened(surgery.keep_only(way(base), tensors), net), net.feed, tail, dims)
        problem = difference(made, rows, wanted)
        if not problem:
            return made
    raise InputError(
        f"{chosen.name} does not give a text the vector that it gives it alone ({problem}): a text's vector would "
        "depend on its neighbours. Export it again with an open batch and length, and opset 17."
    )


def _tail(net: _Net, output: str, tensor: str, pooled: set[str]) -> list[Nodes]:
    """Return what makes an output of its tensor."""
    prefix = EPILOGUE if output == FEATURE_OUTPUT else f"{EPILOGUE}{output}/"
    if output == SPANS_OUTPUT:
        return [of_tokens(net.feed, NET + tensor, output, prefix)]
    layers = net.dense if output == FEATURE_OUTPUT else ()
    vector = f"{EPILOGUE}pooled" if layers else output
    if tensor in pooled:
        made = pool(NET + tensor, vector, net.pooling, prefix, net.feed.mask)
    else:
        made = Nodes(prefix)
        made.nodes.append(
            helper.make_node("Cast", [NET + tensor], [vector], name=made.named("exact"), to=TensorProto.FLOAT)
        )
    return [made, dense(vector, output, layers)] if layers else [made]


def _ways(net: _Net) -> list[Callable[[onnx.ModelProto], onnx.ModelProto]]:
    """Return the ways to open a batch; of one that is open there is nothing to do."""
    if net.batch is None:
        return [lambda model: model]
    return [lambda model: model, surgery.with_free_batch, partial(_with_open_batch, net=net)]


def _with_open_batch(model: onnx.ModelProto, *, net: _Net) -> onnx.ModelProto:
    row = np.zeros(net.feed.fixed or 1, np.int32)
    try:
        (ids,) = fed_by_hand(net.feed, [row] * (net.batch or 1)).values()  # of a net of one input
        return with_open_batch(model, ids)
    except Exception:  # whatever ONNX Runtime raises: the model as it is then says what is wrong
        return model


def _opened(model: onnx.ModelProto, net: _Net) -> onnx.ModelProto:
    """Return the model without shapes that say how many texts there are."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.value_info[:]
    for value in result.graph.input:
        dims = ["batch", net.feed.fixed or "length"]
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, dims))
    return result
