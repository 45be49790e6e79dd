"""Small random nets of transformers' own kinds in repositories as the Hub has them, and what transformers gives.

    python transformers_child.py FOLDER

Reads FOLDER/texts.json and the pictures in FOLDER/exact and FOLDER/odd; writes FOLDER/NAME for each of `REPOSITORIES`:
configuration, processor, tokenizer and ONNX files, and in expected.npz the vectors of transformers' own, one input at a
time, prepared by its own processors. Runs in .venv-judge (scripts/environment), where there is no fxengine.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as tf
from PIL import Image
from tokenizers import Regex, normalizers, processors

SIDE, PATCH, DIM = 32, 8, 32
POSITIONS = 24
_LAYERS = {
    "hidden_size": DIM, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "attn_implementation": "eager",
}  # fmt: skip
_PIXELS = {"pixel_values": {0: "batch_size", 1: "num_channels", 2: "height", 3: "width"}}
_IDS = {0: "batch_size", 1: "sequence_length"}
_NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")


class _Named(torch.nn.Module):  # type: ignore[misc]  # torch is not where types are checked
    """A net whose inputs and outputs are tensors in an order, as an exporter wants them."""

    def __init__(self, net: torch.nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.net, self.inputs, self.outputs = net, inputs, outputs

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = self.net(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(made[name] for name in self.outputs)


def shaken(net: Any, seed: int = 0) -> Any:
    """Return the net with larger weights than it begins with, so that different inputs give different vectors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in net.parameters():
            if weights.dim():
                noise = torch.randn(weights.shape, generator=generator)
                weights.copy_(0.25 * noise if weights.dim() > 1 else weights + 0.1 * noise)
    return net.eval()


def write_net(net: Any, path: Path, outputs: Sequence[str], inputs: Sequence[str] = ("pixel_values",)) -> None:
    """Write a net as optimum does: every dimension open that could be, the operators of opset 17."""
    generator = torch.Generator().manual_seed(1)
    values: dict[str, torch.Tensor] = {
        "pixel_values": torch.randn(2, 3, SIDE, SIDE, generator=generator),
        "input_ids": torch.randint(5, 40, (2, 9), generator=generator),
        "attention_mask": torch.ones(2, 9, dtype=torch.int64),
        "token_type_ids": torch.zeros(2, 9, dtype=torch.int64),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        _Named(net, inputs, outputs).eval(),
        tuple(values[name] for name in inputs),
        path,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_axes={name: _PIXELS.get(name, _IDS) for name in inputs},
        opset_version=17,
        dynamo=False,
    )


def trained(
    kind: Any, texts: Sequence[str], *, first: Sequence[str] = (), last: Sequence[str] = (), **said: Any
) -> Any:
    """Return a tokenizer of pieces of these texts; `first` and `last` have the ids that the real one gives them."""
    said = {"model_max_length": POSITIONS, **said}
    made = kind(**said).train_new_from_iterator(texts, 400, show_progress=False)
    if not first and not last:
        return made
    learnt = json.loads(made.backend_tokenizer.to_str())["model"]
    words = [*first, *(word for word in learnt["vocab"] if word not in {*first, *last}), *last]
    return kind({word: i for i, word in enumerate(words)}, [tuple(pair) for pair in learnt["merges"]], **said)


def of_texts(net: Any, tokenizer: Any, texts: Sequence[str], most: int = POSITIONS) -> list[torch.Tensor]:
    """Return what a net gives for each text, its first output."""
    with torch.no_grad():
        given = [tokenizer(text, truncation=True, max_length=most, return_tensors="pt") for text in texts]
        return [net(**each)[0][0] for each in given]


def keep(folder: Path, **expected: Sequence[torch.Tensor]) -> None:
    """Write what transformers gives."""
    np.savez(folder / "expected.npz", **{name: torch.stack(list(rows)).numpy() for name, rows in expected.items()})


def write(folder: Path, files: Mapping[str, object]) -> None:
    for name, value in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(value))


@dataclass(frozen=True)
class Given:
    """What all nets are given: pictures of their very size and of others, texts, and more texts."""

    exact: Sequence[Image.Image]
    odd: Sequence[Image.Image]
    texts: Sequence[str]
    many: Sequence[str]


def given_in(folder: Path) -> Given:
    exact, odd = ([Image.open(path) for path in sorted((folder / name).iterdir())] for name in ("exact", "odd"))
    texts = json.loads((folder / "texts.json").read_text())
    return Given(exact, odd, texts["few"], texts["many"])


def of_pictures(given: Given, processor: Any, vector: Callable[[torch.Tensor], Any]) -> dict[str, list[torch.Tensor]]:
    """Return the vector of each picture, which the processor prepares."""
    with torch.no_grad():
        return {
            name: [vector(processor(images=each, return_tensors="pt")["pixel_values"])[0] for each in pictures]
            for name, pictures in (("exact", given.exact), ("odd", given.odd))
        }


def clip(folder: Path, given: Given) -> None:
    """Write openai/clip-vit-base-patch32 as Xenova has it: the end of a text is its largest id."""
    tokenizer = trained(tf.CLIPTokenizer, given.many, last=("<|startoftext|>", "<|endoftext|>"))
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "projection_dim": 16}
    text = {**_LAYERS, "vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS, **ids}
    vision = {**_LAYERS, "image_size": SIDE, "patch_size": PATCH, "projection_dim": 16}
    config = tf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16, attn_implementation="eager")
    net = shaken(tf.CLIPModel(config))
    processor = tf.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    for saved in (net, processor, tokenizer):
        saved.save_pretrained(folder)
    for kind, file, inputs, output in (
        (tf.CLIPTextModelWithProjection, "text_model", ("input_ids",), "text_embeds"),
        (tf.CLIPVisionModelWithProjection, "vision_model", ("pixel_values",), "image_embeds"),
    ):
        tower = kind(config.text_config if file == "text_model" else config.vision_config)
        tower.load_state_dict(net.state_dict(), strict=False)
        write_net(tower.eval(), folder / "onnx" / f"{file}.onnx", (output, "last_hidden_state"), inputs)
    keep(folder, **_pair(net, processor, tokenizer, given, padding=True))


def _pair(net: Any, processor: Any, tokenizer: Any, given: Given, **how: Any) -> dict[str, Any]:
    """Return what both towers give, and what they say together of many texts and all exact pictures."""
    how = {"truncation": True, "return_tensors": "pt", **how}
    with torch.no_grad():
        texts = [net.get_text_features(**tokenizer([text], **how)).pooler_output[0] for text in given.texts]
        pixels = processor(images=given.exact, return_tensors="pt")["pixel_values"]
        ranks = net(pixel_values=pixels, **tokenizer(given.many, **how)).logits_per_text
    return {
        "texts": texts,
        "logits_per_text": ranks,
        **of_pictures(given, processor, lambda each: net.get_image_features(pixel_values=each).pooler_output),
    }


def siglip(folder: Path, given: Given) -> None:
    """Write google/siglip-base-patch16-224 as Xenova has it: always of one length, without a mask."""
    tokenizer = trained(tf.T5Tokenizer, given.many, extra_ids=0)
    own = tokenizer.backend_tokenizer
    plain = [normalizers.Lowercase(), normalizers.Replace(Regex(r"[!-/:-@\[-`{-~]"), ""), normalizers.Strip()]
    own.normalizer = normalizers.Sequence([*plain, *([own.normalizer] if own.normalizer else [])])
    tokenizer.add_special_tokens({"pad_token": "</s>"})
    processor = tf.SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    processor.save_pretrained(folder)
    _siglip(folder, given, tokenizer, processor)


def siglip2(folder: Path, given: Given) -> None:
    """Write google/siglip2-base-patch16-224, SigLIP's nets with Gemma's tokenizer; and beside it what a NaFlex says."""
    tokenizer = trained(tf.Siglip2Tokenizer, given.many, padding_side="right")
    end = (str(tokenizer.eos_token), tokenizer.eos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end[0]}", special_tokens=[end]
    )
    processor = tf.SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}, resample=2, do_convert_rgb=None)
    tf.SiglipProcessor(processor, tokenizer).save_pretrained(folder)  # writes processor_config.json, since version 5
    _siglip(folder, given, tokenizer, processor)
    for saved in (tf.Siglip2Config(), tf.Siglip2ImageProcessorPil(patch_size=PATCH, max_num_patches=16)):
        saved.save_pretrained(folder.with_name("naflex"))


def _siglip(folder: Path, given: Given, tokenizer: Any, processor: Any) -> None:
    tokenizer.model_max_length, tokenizer.model_input_names = POSITIONS, ["input_ids"]
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    text = {**_LAYERS, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS}
    vision = {**_LAYERS, "image_size": SIDE, "patch_size": PATCH}
    net = shaken(tf.SiglipModel(tf.SiglipConfig(text_config=text, vision_config=vision, attn_implementation="eager")))
    for saved in (net, tokenizer):
        saved.save_pretrained(folder)
    outputs = ("last_hidden_state", "pooler_output")
    for tower, file, inputs in (
        (net.text_model, "text_model", "input_ids"),
        (net.vision_model, "vision_model", "pixel_values"),
    ):
        write_net(tower, folder / "onnx" / f"{file}.onnx", outputs, (inputs,))
    keep(folder, **_pair(net, processor, tokenizer, given, padding="max_length", max_length=POSITIONS))


def dinov2(folder: Path, given: Given) -> None:
    """Write facebook/dinov2-small: trained on larger pictures than it is used on, of which the middle is cut out."""
    net = shaken(tf.Dinov2Model(tf.Dinov2Config(**_LAYERS, image_size=48, patch_size=PATCH, mlp_ratio=2)))
    colours = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    crop = {"height": SIDE - PATCH, "width": SIDE - PATCH}
    processor = tf.BitImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=crop, **colours)
    _picture(folder, given, net, processor, ("last_hidden_state", "pooler_output"), lambda made: made.pooler_output)


def vit(folder: Path, given: Given) -> None:
    """Write google/vit-base-patch16-224-in21k: its pooler was never trained, the first patch stands for a picture."""
    net = shaken(tf.ViTModel(tf.ViTConfig(**_LAYERS, image_size=SIDE, patch_size=PATCH)))
    processor = tf.ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})
    outputs = ("last_hidden_state", "pooler_output")
    _picture(folder, given, net, processor, outputs, lambda made: made.last_hidden_state[:, 0])


def vit_classifier(folder: Path, given: Given) -> None:
    """Write google/vit-base-patch16-224: its own classes."""
    config = tf.ViTConfig(**_LAYERS, image_size=SIDE, patch_size=PATCH, id2label=dict(enumerate(_NAMES)))
    net = shaken(tf.ViTForImageClassification(config))
    processor = tf.ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})
    _picture(folder, given, net, processor, ("logits",), lambda made: made.logits)


def _picture(
    folder: Path, given: Given, net: Any, processor: Any, outputs: Sequence[str], vector: Callable[[Any], torch.Tensor]
) -> None:
    for saved in (net, processor):
        saved.save_pretrained(folder)
    if outputs:
        write_net(net, folder / "onnx" / "model.onnx", outputs)
    keep(folder, **of_pictures(given, processor, lambda each: vector(net(pixel_values=each))))


def bert(folder: Path, given: Given) -> None:
    """Write sentence-transformers/bert-base-nli-mean-tokens: the mean of the tokens, no scaling behind it."""
    _sentences(folder, given, *_bert(given), most=16)


def minilm(folder: Path, given: Given) -> None:
    """Write sentence-transformers/all-MiniLM-L6-v2, whose tokenizer.json cuts and pads to another length."""
    net, tokenizer = _bert(given)
    tokenizer.model_max_length = 20
    tokenizer.backend_tokenizer.enable_truncation(8)
    tokenizer.backend_tokenizer.enable_padding(length=8)
    _sentences(folder, given, net, tokenizer, most=16, normalised=True)


def _bert(given: Given) -> tuple[Any, Any]:
    tokenizer = trained(tf.BertTokenizer, given.many)
    config = tf.BertConfig(**_LAYERS, vocab_size=len(tokenizer), max_position_embeddings=POSITIONS)
    return shaken(tf.BertModel(config, add_pooling_layer=False)), tokenizer


def e5(folder: Path, given: Given) -> None:
    """Write intfloat/multilingual-e5-small as XLM-RoBERTa, with its prompts."""
    tokenizer = trained(tf.XLMRobertaTokenizer, given.many)
    prompts = {"query": "query: ", "passage": "passage: "}
    write(folder, {"config_sentence_transformers.json": {"prompts": prompts, "default_prompt_name": None}})
    net = shaken(tf.XLMRobertaModel(_after_padding(tf.XLMRobertaConfig, tokenizer), add_pooling_layer=False))
    _sentences(folder, given, net, tokenizer, most=POSITIONS, normalised=True, prompts=prompts)


def roberta(folder: Path, given: Given) -> None:
    """Write sentence-transformers/all-distilroberta-v1: places are counted from the padding's id on."""
    tokenizer = trained(tf.RobertaTokenizer, given.many, first=("<s>", "<pad>", "</s>", "<unk>"))
    net = shaken(tf.RobertaModel(_after_padding(tf.RobertaConfig, tokenizer), add_pooling_layer=False))
    _sentences(folder, given, net, tokenizer, most=POSITIONS, normalised=True)


def _after_padding(kind: Any, tokenizer: Any) -> Any:
    """Return a configuration by which `POSITIONS` places are used of the two more that the table has."""
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    return kind(**_LAYERS, **ids, vocab_size=len(tokenizer), max_position_embeddings=POSITIONS + 2, type_vocab_size=1)


def _sentences(
    folder: Path,
    given: Given,
    net: Any,
    tokenizer: Any,
    *,
    most: int,
    normalised: bool = False,
    prompts: Mapping[str, str] | None = None,
    with_net: bool = True,
) -> None:
    """Write the layout of sentence-transformers."""
    for saved in (net, tokenizer):
        saved.save_pretrained(folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalised else [])]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    pooling = {"word_embedding_dimension": DIM, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    length = {"max_seq_length": most, "do_lower_case": False}
    write(folder, {"modules.json": modules, "1_Pooling/config.json": pooling, "sentence_bert_config.json": length})
    if with_net:
        write_net(net, folder / "onnx" / "model.onnx", ("last_hidden_state",), tokenizer.model_input_names)
    tokenizer.backend_tokenizer.no_padding()
    made = {
        name: of_texts(net, tokenizer, [prompt + text for text in given.texts], most)
        for name, prompt in {"texts": "", **(prompts or {})}.items()
    }
    keep(folder, **{name: [each.mean(0) for each in tokens] for name, tokens in made.items()})


def sentiment(folder: Path, given: Given) -> None:
    """Write distilbert-base-uncased-finetuned-sst-2-english: a class for a text."""
    tokenizer = trained(tf.BertTokenizer, given.many)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    sizes = {"dim": DIM, "hidden_dim": 64, "n_layers": 2, "n_heads": 2, "attn_implementation": "eager"}
    labels = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    config = tf.DistilBertConfig(**sizes, **labels, vocab_size=len(tokenizer), max_position_embeddings=POSITIONS)
    net = shaken(tf.DistilBertForSequenceClassification(config))
    _classifier(folder, net, tokenizer)
    keep(folder, logits=of_texts(net, tokenizer, given.texts))


def ner(folder: Path, given: Given) -> None:
    """Write dslim/bert-base-NER: a class for a token; and the spans that transformers' own pipeline finds."""
    tokenizer = trained(tf.BertTokenizer, given.many)
    labels = {"id2label": dict(enumerate(_NAMES)), "label2id": {name: i for i, name in enumerate(_NAMES)}}
    config = tf.BertConfig(**_LAYERS, **labels, vocab_size=len(tokenizer), max_position_embeddings=POSITIONS)
    net = shaken(tf.BertForTokenClassification(config))
    _classifier(folder, net, tokenizer)
    found = tf.pipeline("token-classification", model=net, tokenizer=tokenizer, aggregation_strategy="first")
    spans = [[{**each, "score": float(each["score"])} for each in found(text)] for text in given.texts]
    write(folder, {"expected.json": spans})


def _classifier(folder: Path, net: Any, tokenizer: Any) -> None:
    for saved in (net, tokenizer):
        saved.save_pretrained(folder)
    write_net(net, folder / "onnx" / "model.onnx", ("logits",), tokenizer.model_input_names)


def convnext(folder: Path, given: Given) -> None:
    """Write facebook/convnext-tiny-224 without an ONNX file, as the next ones."""
    _pooled(folder, given, shaken(tf.ConvNextModel(tf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1] * 4))))


def resnet(folder: Path, given: Given) -> None:
    """Write microsoft/resnet-50, whose batch normalisation has seen pictures."""
    net = tf.ResNetModel(tf.ResNetConfig(embedding_size=8, hidden_sizes=[16, 24, 32], depths=[1, 2, 1]))
    net.train()(torch.randn(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)))
    _pooled(folder, given, net.eval())


def swin(folder: Path, given: Given) -> None:
    """Write microsoft/swin-tiny-patch4-window7-224."""
    sizes = {"image_size": SIDE, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4]}
    _pooled(folder, given, shaken(tf.SwinModel(tf.SwinConfig(**sizes, window_size=4, attn_implementation="eager"))))


def _pooled(folder: Path, given: Given, net: Any) -> None:
    processor = tf.ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})
    _picture(folder, given, net, processor, (), lambda made: made.pooler_output.flatten(1))


def mpnet(folder: Path, given: Given) -> None:
    """Write sentence-transformers/all-mpnet-base-v2: places by their distance, counted from the padding's id on."""
    tokenizer = trained(tf.BertTokenizer, given.many)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS + 2}
    net = shaken(tf.MPNetModel(tf.MPNetConfig(**_LAYERS, **sizes), add_pooling_layer=False))
    _sentences(folder, given, net, tokenizer, most=POSITIONS, normalised=True, with_net=False)


def distilbert(folder: Path, given: Given) -> None:
    """Write sentence-transformers/distilbert-base-nli-mean-tokens."""
    tokenizer = trained(tf.BertTokenizer, given.many)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    sizes = {"dim": DIM, "hidden_dim": 64, "n_layers": 2, "n_heads": 2, "attn_implementation": "eager"}
    config = tf.DistilBertConfig(**sizes, vocab_size=len(tokenizer), max_position_embeddings=POSITIONS)
    _sentences(folder, given, shaken(tf.DistilBertModel(config)), tokenizer, most=POSITIONS, with_net=False)


def modernbert(folder: Path, given: Given) -> None:
    """Write nomic-ai/modernbert-embed-base: places by rotation, and some layers that see only near tokens."""
    tokenizer = trained(tf.BertTokenizer, given.many)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS, "local_attention": 8}
    config = tf.ModernBertConfig(**_LAYERS, **sizes, **ids, global_attn_every_n_layers=2)
    _sentences(folder, given, shaken(tf.ModernBertModel(config)), tokenizer, most=POSITIONS, with_net=False)


REPOSITORIES: dict[str, Callable[[Path, Given], None]] = {
    "clip": clip, "siglip": siglip, "siglip2": siglip2, "dinov2": dinov2, "vit": vit, "vit_classifier": vit_classifier,
    "bert": bert, "minilm": minilm, "e5": e5, "roberta": roberta, "sentiment": sentiment, "ner": ner,
    "convnext": convnext, "resnet": resnet, "swin": swin, "mpnet": mpnet, "distilbert": distilbert,
    "modernbert": modernbert,
}  # fmt: skip


def main(root: Path) -> None:
    """Write every repository."""
    warnings.simplefilter("ignore")  # the exporter's, of being the old one and of what it takes for constant
    torch.set_num_threads(1)
    given = given_in(root)
    for name, make in REPOSITORIES.items():
        (root / name).mkdir()
        make(root / name, given)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
