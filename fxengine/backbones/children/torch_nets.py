"""Nets of timm, torchvision and transformers without their heads, for the programs that PyTorch runs in.

The programs load this file by its path, and it imports PyTorch and what stands on it only where a net is made. A job
is a dictionary: `kind` ("timm", "torchvision" or "torch-hf"), `what` (a name, or a folder), `weights` ("imagenet": its
own, "random", or a file), `height` and `width` (pixels, or None: the net's own), `layers` (names of modules),
`pooling` (or None: the net's own), `logits` (whether its classifier is kept), `trust` (whether code and pickles are).
"""

from __future__ import annotations

import difflib
import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# By its path, as this file itself is loaded.
weights, vectors = (
    SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name(f"{name}.py"))))
    for name in ("torch_weights", "torch_vectors")
)
Refused = weights.Refused

Job = Mapping[str, Any]
Tensor = Any  # torch's; this file is checked where there is no torch
Module = Any
FEATURES, LOGITS = "features", "logits"
SEED = 7
# Kinds of nets whose `pooler_output` is what their makers mean as the vector; ViT's is a layer that no training saw.
_POOLED = ("siglip", "clip", "dinov2", "dinov3", "convnext", "resnet", "regnet", "swin", "mobilenet", "efficientnet")


@dataclass(frozen=True)
class Source:
    """A net that was made, its weights in it.

    Attributes:
        net: it.
        call: from the net and what it takes to what it gives: `features`, a vector, a map or tokens, and `logits`.
        size: height and width of its pictures; None of texts.
        classifier: the name of its last layer, which takes `features`; "" where that is not known.
        said: what its makers say: `preprocessing`, `licence`, `classes`, `class_ids`, `pooling`, as far as known.
    """

    net: Module
    call: Callable[..., dict[str, Tensor]]
    size: tuple[int, int] | None
    classifier: str
    said: dict[str, Any] = field(default_factory=dict)


def build(job: Job) -> Module:
    """Return the headless net in eval mode, float32 on the CPU.

    It takes preprocessed pictures, float32 [n, 3, height, width], or of texts token ids and mask, int64 [n, length],
    and gives `features`, float32 [n, dim]; where more is kept, a tuple in the order of its attribute `outputs`. Its
    attribute `said` is what its makers say of it, and `size` the height and width of its pictures.

    Raises:
        Refused: there is no such net, its weights cannot be had or do not fit, or it has not what is asked for.
    """
    import torch

    torch.manual_seed(SEED)
    source = _SOURCES[job["kind"]](job)
    source.net.eval().float()
    if source.size is not None:
        _check_size(source, source.size)
    if job["weights"] == "random":
        weights.randomise(source.net, source.size, partial(source.call, source.net))
    if job["kind"] == "timm":
        from timm.utils.model import reparameterize_model

        source = replace(source, net=reparameterize_model(source.net))
    return headless(source, job)


def _check_size(source: Source, size: tuple[int, int]) -> None:
    """Raise Refused where a net does not take pictures of its size, which the user may have asked for."""
    import torch

    try:
        with torch.no_grad():
            source.call(source.net, torch.zeros(1, 3, *size))
    except (RuntimeError, AssertionError, ValueError) as error:
        said = weights.first_line(error)
        raise Refused(f"it does not take pictures of {size[0]} x {size[1]} pixels ({said}): see `size`.") from error


def headless(source: Source, job: Job) -> Module:
    """Return the module whose outputs are the layers that are asked for, each a vector, and `logits` if wanted."""
    import torch

    layers = list(job["layers"])
    check_layers(source.net, layers)

    class Headless(torch.nn.Module):  # type: ignore[misc]  # torch is not where types are checked
        """A net that gives vectors."""

        def __init__(self) -> None:
            super().__init__()
            self.net, self.said, self.size = source.net, source.said, source.size
            self.outputs = (*output_names(layers), *([LOGITS] if job["logits"] else []))
            self.cut = ",".join(layers) or (f"input of {source.classifier}" if source.classifier else FEATURES)

        def forward(self, *inputs: Tensor) -> Tensor:
            seen, found = vectors.watched(self.net, layers, partial(source.call, self.net, *inputs))
            if layers:
                found |= dict(zip(self.outputs, (seen[name] for name in layers), strict=False))
            made = tuple(
                found[name] if name == LOGITS else pooled(found[name], job["pooling"] or "avg", source.size)
                for name in self.outputs
            )
            return made[0] if len(made) == 1 else made

    return Headless().eval()


def output_names(layers: Sequence[str]) -> list[str]:
    """Return the output of each layer: the last one is `features`."""
    return [*(f"{FEATURES}@{name}" for name in layers[:-1]), FEATURES]


def check_layers(net: Module, layers: Sequence[str]) -> None:
    """Raise Refused where a net has no module of a name; the message lists the nearest."""
    modules = [name for name, _ in net.named_modules() if name]
    for name in layers:
        if name not in modules:
            near = difflib.get_close_matches(name, modules, n=4, cutoff=0.3) or modules[-4:]
            raise Refused(f"it has no module {name!r}; the nearest are {', '.join(near)}.")


def pooled(value: Tensor, pooling: str, size: tuple[int, int] | None) -> Tensor:
    """Pool a map or tokens to a vector."""
    if value.ndim == 2:
        return value
    if value.ndim not in (3, 4):
        raise Refused(f"a layer gives {list(value.shape)}: 2 to 4 dimensions can become a vector.")
    if pooling == "cls":
        if value.ndim != 3:
            raise Refused(f"pooling 'cls' needs tokens [batch, token, number]; the layer gives {list(value.shape)}.")
        return value[:, 0]
    axes = (
        (1,) if value.ndim == 3 else (1, 2) if size is not None and vectors.channels_last(value.shape, size) else (2, 3)
    )
    return value.amax(axes) if pooling == "max" else value.mean(axes)


# --- timm ---


def timm_net(job: Job) -> Source:
    """Return a net of timm, by its name or from a folder as timm writes it."""
    import timm

    name = f"local-dir:{job['what']}" if Path(job["what"]).is_dir() else job["what"]
    if ":" not in name and not timm.is_model(name):
        raise Refused(_unknown("timm", name, timm.list_models()))
    classes = None if job["logits"] else 0
    make = partial(timm.create_model, name, exportable=True)
    if job["weights"] in ("imagenet", "random"):
        with weights.had(f"the weights of {name}"):
            net = _sized(make, job, pretrained=job["weights"] == "imagenet", num_classes=classes)
    else:
        whole = _sized(make, job)
        head = whole.pretrained_cfg.get("classifier") or ()
        heads = (head,) if isinstance(head, str) else tuple(head)
        state = weights.read_state(job["weights"])
        count = weights.classes_in(state, heads) if job["logits"] else 0
        net = whole if count == whole.num_classes else _sized(make, job, num_classes=count)
        weights.put_state(net, state, job["weights"], () if job["logits"] else heads)
    if job["pooling"]:
        _repool(net, job)
    config = timm.data.resolve_model_data_config(net)
    said = {
        "preprocessing": {**config, "input_size": list(config["input_size"])},
        "licence": net.pretrained_cfg.get("license"),
        "pooling": _timm_pooling(net),
        "name": f"{name} ({net.pretrained_cfg.get('tag') or 'no tag'})",
        **(_timm_classes(net) if job["logits"] and job["weights"] == "imagenet" else {}),
    }
    size = (job["height"], job["width"]) if job["height"] else tuple(config["input_size"][1:])

    def call(net: Module, pictures: Tensor) -> dict[str, Tensor]:
        if not job["logits"]:
            return {FEATURES: net(pictures)}
        maps = net.forward_features(pictures)
        return {FEATURES: net.forward_head(maps, pre_logits=True), LOGITS: net.forward_head(maps)}

    return Source(net, call, size, "", said)


def _timm_pooling(net: Module) -> str:
    """Return how a net of timm pools, which it says itself, or its module that does it, or its head."""
    pool = getattr(net, "global_pool", None) or getattr(getattr(net, "head", None), "global_pool", None)
    return pool if isinstance(pool, str) else str(getattr(pool, "pool_type", None) or "none")


def _sized(make: Callable[..., Module], job: Job, **wanted: Any) -> Module:
    """Return a net for pictures of the size that is asked for; one of convolutions takes any, and no argument."""
    if job["height"]:
        try:
            return make(**wanted, img_size=(job["height"], job["width"]))
        except TypeError as error:
            if "img_size" not in str(error):
                raise
    return make(**wanted)


def _repool(net: Module, job: Job) -> None:
    """Let a net of timm pool otherwise: "cls" is its "token"."""
    if job["logits"]:
        raise Refused("its classifier was trained on its own pooling: leave out `pooling`, or `logits`.")
    try:
        net.reset_classifier(0, "token" if job["pooling"] == "cls" else job["pooling"])
    except Exception as error:  # each family asserts in its own way
        raise Refused(
            f"it cannot pool by {job['pooling']}: leave out `pooling` ({weights.first_line(error)})."
        ) from error


def _timm_classes(net: Module) -> dict[str, list[str]]:
    """Return the names of the classes, and of ImageNet's their ids, too."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    names = net.pretrained_cfg.get("label_names")
    if names:
        return {"classes": list(names)}
    subset = infer_imagenet_subset(net)
    if not subset:
        return {}
    info = ImageNetInfo(subset)
    numbers = range(net.num_classes)
    return {
        "classes": [info.index_to_description(i) for i in numbers],
        "class_ids": [info.index_to_label_name(i) for i in numbers],
    }


# --- torchvision ---


def torchvision_net(job: Job) -> Source:
    """Return a net of torchvision, "NAME" or "NAME:WEIGHTS", without its last classifier unless that is kept."""
    import torch
    from torchvision import models

    name, _, tag = job["what"].partition(":")
    known = models.list_models(module=models)
    if name not in known:
        raise Refused(_unknown("torchvision", name, known))
    there = models.get_model_weights(name)
    if tag and tag not in there.__members__:
        raise Refused(f"{name} has no weights {tag}: there are {', '.join(each.name for each in there)}.")
    chosen = there[tag] if tag else there.DEFAULT
    own = job["weights"] == "imagenet"
    with weights.had(f"the weights {chosen}"):
        net = models.get_model(name, weights=chosen if own else None)
    classifier = last_classifier(net)
    if not own and job["weights"] != "random":
        state = weights.read_state(job["weights"])
        count = weights.classes_in(state, (classifier,)) if job["logits"] else 0
        if count and count != 1000:
            net = models.get_model(name, weights=None, num_classes=count)
        weights.put_state(net, state, job["weights"], () if job["logits"] else (classifier,))
    if not job["logits"]:
        net.set_submodule(classifier, torch.nn.Identity())
    transforms = chosen.transforms()
    said: dict[str, Any] = {
        "preprocessing": {
            "resize_size": list(transforms.resize_size),
            "crop_size": list(transforms.crop_size) * (3 - len(transforms.crop_size)),
            "interpolation": transforms.interpolation.value,
            "mean": list(transforms.mean),
            "std": list(transforms.std),
        },
        "licence": "BSD-3-Clause (torchvision), the weights as their makers say" if own else None,
        "pooling": "token" if hasattr(net, "class_token") else "avg",
        "name": f"{name} ({chosen.name})" if own else name,
        "classes": list(chosen.meta["categories"]) if own and job["logits"] else [],
    }
    size = (job["height"], job["width"]) if job["height"] else tuple(said["preprocessing"]["crop_size"])
    return Source(net, partial(_torchvision_call, classifier if job["logits"] else ""), size, classifier, said)


def _torchvision_call(classifier: str, net: Module, pictures: Tensor) -> dict[str, Tensor]:
    if not classifier:
        return {FEATURES: net(pictures)}
    before, logits = vectors.before(net, classifier, partial(net, pictures))
    return {FEATURES: before, LOGITS: logits}


def last_classifier(net: Module) -> str:
    """Return the name of the last layer with weights of a matrix, or of SqueezeNet's convolution."""
    import torch

    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    auxiliary = ("aux", "AuxLogits")  # GoogLeNet's and Inception's, which only a training reads
    return str([n for n, each in net.named_modules() if isinstance(each, kinds) and not n.startswith(auxiliary)][-1])


# --- transformers ---


def hf_net(job: Job) -> Source:
    """Return a net of transformers from a folder, of pictures or of texts; see `open_hf`."""
    net = open_hf(job)
    config = net.config
    size = None if takes_texts(config) else (job["height"], job["width"])
    if size is not None and not job["height"]:
        raise Refused("give the input size, which transformers leaves open.")
    classifier = last_classifier(net) if job["logits"] else ""
    said = {"classes": [str(name) for _, name in sorted(config.id2label.items())]} if job["logits"] else {}
    return Source(net, partial(_hf_call, job, classifier), size, classifier, {**said, "pooling": job["pooling"]})


def open_hf(job: Job) -> Module:
    """Return a folder's net as transformers opens it, attention written out; code and pickles in it only if trusted."""
    import transformers as tf

    how = {"attn_implementation": "eager", "trust_remote_code": bool(job.get("trust"))}
    of_texts = takes_texts(tf.AutoConfig.from_pretrained(job["what"], trust_remote_code=how["trust_remote_code"]))
    kept = tf.AutoModelForSequenceClassification if of_texts else tf.AutoModelForImageClassification
    kind = kept if job["logits"] else tf.AutoModel
    if job["weights"] == "imagenet":
        with weights.had("its weights"):
            safe = None if job.get("trust") else True
            return kind.from_pretrained(
                job["what"], **how, dtype="float32", local_files_only=True, use_safetensors=safe
            )
    config = tf.AutoConfig.from_pretrained(job["what"], trust_remote_code=how["trust_remote_code"])
    net = kind.from_config(config, **how)
    if job["weights"] != "random":
        weights.put_state(net, weights.read_state(job["weights"]), job["weights"], ())
    return net


def takes_texts(config: Any) -> bool:
    """Tell whether a configuration is that of a net of texts: it has a vocabulary, and no patches or channels."""
    return hasattr(config, "vocab_size") and not hasattr(config, "image_size") and not hasattr(config, "num_channels")


def _hf_call(job: Job, classifier: str, net: Module, *inputs: Tensor) -> dict[str, Tensor]:
    names = ("input_ids", "attention_mask") if len(inputs) == 2 else ("pixel_values",)
    given = dict(zip(names, inputs, strict=True))
    if classifier:
        before, made = vectors.before(net, classifier, partial(net, **given))
        return {FEATURES: before, LOGITS: made.logits}
    made = net(**given)
    kind = str(net.config.model_type)
    if len(inputs) == 2:
        return {FEATURES: vectors.of_tokens(made[0], inputs[1], job["pooling"] or "avg")}
    if kind.startswith(_POOLED) and getattr(made, "pooler_output", None) is not None:
        return {FEATURES: made.pooler_output.flatten(1)}
    if job["pooling"] is None and made[0].ndim == 3 and not job["layers"]:
        raise Refused(
            "it gives vectors of its patches, and nothing says which one stands for the picture: give `pooling`."
        )
    return {FEATURES: made[0]}


def _unknown(library: str, name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.partition(".")[0].lower(), known, n=4, cutoff=0.4)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return f"{library} has no net of that name.{hint}"


_SOURCES: dict[str, Callable[[Job], Source]] = {
    "timm": timm_net,
    "torchvision": torchvision_net,
    "torch-hf": hf_net,
}
