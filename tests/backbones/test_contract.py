"""What every source of backbones must do: one file, of the form that the steps take, made once."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from fxengine.backbones import (
    EMBEDDED,
    SOURCES,
    Embedded,
    Source,
    cache,
    load_backbone,
    load_embedded,
    load_source,
    plain_name,
    source_name,
)
from fxengine.backbones.children import keras_env, torch_env
from fxengine.backbones.contract import check_contract
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.graph.run import open_plain
from fxengine.backbones.graph.surgery import shape_of
from fxengine.backbones.hub import kaggle
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.pca_facts import PcaFacts
from fxengine.backbones.sources import (
    efficientnet_lite,
    from_hf,
    from_keras,
    from_onnx,
    from_pca,
    from_tfhub,
    from_timm,
    from_torch_hf,
    from_torchvision,
    from_vectors,
    minilm_l6,
)
from fxengine.backbones.spec import (
    FEATURE_OUTPUT,
    INPUT_NAME,
    LENGTHS_INPUT,
    LOGITS_OUTPUT,
    METADATA_KEY,
    PROLOGUE,
    TOKENS_INPUT,
    Facts,
    Recipe,
    TextRecipe,
    layer_output,
)
from fxengine.errors import InputError
from fxengine.reduce.pca import Pca
from tests import torch_stand_in
from tests.backbones.padded import classifier
from tests.conftest import tiny_model
from tests.saved_models import signature, stand_in
from tests.texts import tiny_text_model
from tests.word_vectors import some_vectors, write_vectors

# Assigned one by one, so that mypy holds every module against the protocol.
EMBEDDED_MODULES: dict[str, Embedded] = {"efficientnet_lite0": efficientnet_lite, "minilm_l6": minilm_l6}
MODULES: dict[str, Source] = {
    "hf": from_hf,
    "keras": from_keras,
    "onnx": from_onnx,
    "pca": from_pca,
    "tfhub": from_tfhub,
    "timm": from_timm,
    "torch-hf": from_torch_hf,
    "torchvision": from_torchvision,
    "vectors": from_vectors,
}
RUN = keras_env.run
KERAS = importlib.util.find_spec("tensorflow") is not None or bool(os.environ.get("FXENGINE_KERAS_PYTHON"))
needs_keras = [
    pytest.mark.slow,
    pytest.mark.skipif(not KERAS, reason="TensorFlow is not installed and FXENGINE_KERAS_PYTHON is not set"),
]
Asked = tuple[str, ExportOptions]


def of_onnx(folder: Path) -> Asked:
    return str(classifier(folder / "net.onnx", padded=True)), ExportOptions(logits=True)


def of_hf(folder: Path) -> Asked:
    repository = folder / "repository"
    if not repository.exists():  # it is known by the times of its files
        repository.mkdir()
        classifier(repository / "model.onnx", padded=True)
    return str(repository), ExportOptions(logits=True)


def of_pca(folder: Path) -> Asked:
    base = cache.keep(tiny_model(), "tiny")
    rng = np.random.default_rng(1)
    facts = PcaFacts(
        space=base.fingerprint,
        source="gone.onnx",
        layer=None,
        rows=20,
        whiten=False,
        explained_variance=(2.0, 1.0, 0.5),
        total_variance=4.0,
    )
    Pca(rng.normal(0, 1, 8), rng.normal(0, 1, (3, 8)), facts).save(folder / "pca.onnx")
    return str(folder / "pca.onnx"), ExportOptions()


def of_keras(folder: Path) -> Asked:
    return "MobileNet", ExportOptions(weights="random", size=(32, 48), layers=("conv_pw_3_relu", "conv_pw_13_relu"))


def of_tfhub(folder: Path) -> Asked:
    version = folder / "kaggle" / "models" / "google" / "tiny" / "tensorFlow2" / "classification" / "1"
    version.mkdir(parents=True, exist_ok=True)
    (version / "saved_model.pb").write_bytes(signature(-1, 24, 20, 3))
    version.with_name("1.complete").touch()
    return "google/tiny/tensorFlow2/classification/1", ExportOptions(trust=True, logits=True)


def of_torch_hf(folder: Path) -> Asked:
    repository = folder / "transformers"
    if not repository.exists():  # as above
        repository.mkdir()
        (repository / "model.safetensors").touch()
        (repository / "config.json").write_text('{"model_type": "resnet"}')
        (repository / "preprocessor_config.json").write_text(json.dumps(torch_stand_in.TIMM))
    return str(repository), ExportOptions()


def run_keras(jobs: list[dict[str, Any]], work: Path) -> None:
    """Run Keras, and a stand-in for SavedModels, which only TensorFlow makes."""
    (stand_in if jobs[0]["kind"] == "savedmodel" else RUN)(jobs, work)


def of_vectors(folder: Path) -> Asked:
    words = [f"w{i}" for i in range(30_000)]
    return str(write_vectors(folder / "v.txt", words, some_vectors(len(words)))), ExportOptions(word_weights="sif")


MAKE: dict[str, Callable[[Path], Asked]] = {
    "hf": of_hf,
    "keras": of_keras,
    "onnx": of_onnx,
    "pca": of_pca,
    "tfhub": of_tfhub,
    "timm": lambda folder: ("net", ExportOptions(logits=True)),
    "torch-hf": of_torch_hf,
    "torchvision": lambda folder: ("net", ExportOptions()),
    "vectors": of_vectors,
}
KINDS = [pytest.param(kind, marks=needs_keras if kind in ("keras", "tfhub") else []) for kind in SOURCES]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that all tests of this file share, so that each net is exported once."""
    made = tmp_path_factory.mktemp("contract")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FXENGINE_CACHE", str(made / "cache"))
        patch.setenv("KAGGLEHUB_CACHE", str(made / "kaggle"))
        patch.setattr(kaggle, "licence_of", lambda handle: "Apache 2.0")  # nobody is asked
        patch.setattr(keras_env, "run", run_keras)
        patch.setattr(torch_env, "run", torch_stand_in.run)
        patch.setattr(torch_env, "versions", torch_stand_in.versions)
        yield made


@pytest.fixture(params=[*EMBEDDED, *KINDS])
def asked(request: pytest.FixtureRequest, folder: Path) -> Asked:
    """What is asked for, as `load_backbone` takes it."""
    if request.param in EMBEDDED:
        return request.param, ExportOptions()
    what, options = MAKE[request.param](folder)
    return f"{request.param}:{what}", options


def test_the_tables_name_the_modules() -> None:
    assert {name: import_module(path) for name, path in EMBEDDED.items()} == EMBEDDED_MODULES
    assert {kind: import_module(path) for kind, path in SOURCES.items()} == MODULES
    assert {name: load_embedded(name) for name in EMBEDDED} == EMBEDDED_MODULES
    assert {kind: load_source(kind) for kind in SOURCES} == MODULES
    assert MAKE.keys() == SOURCES.keys()


Ports = dict[str, tuple[int, list[int | str]]]


def ports_of(recipe: Recipe) -> Ports:
    """Return the type and the shape of each input that a net of a recipe has."""
    if isinstance(recipe, TextRecipe):
        int32 = int(TensorProto.INT32)
        return {TOKENS_INPUT: (int32, ["batch", "length"]), LENGTHS_INPUT: (int32, ["batch"])}
    return {INPUT_NAME: (int(TensorProto.UINT8), ["batch", recipe.height, recipe.width, 3])}


def inputs_of(recipe: Recipe) -> dict[str, np.ndarray]:
    """Return three rows of inputs, no two alike."""
    rng = np.random.default_rng(5)
    if isinstance(recipe, TextRecipe):
        return {
            TOKENS_INPUT: rng.integers(1000, 30_000, (3, 20)).astype(np.int32),
            LENGTHS_INPUT: np.array([20, 7, 11], np.int32),
        }
    return {INPUT_NAME: rng.integers(0, 256, (3, recipe.height, recipe.width, 3), np.uint8)}


def test_it_takes_inputs_and_gives_vectors(asked: Asked) -> None:
    found = load_backbone(*asked)
    model, facts = onnx.load(found.path), found.facts
    onnx.checker.check_model(model, full_check=True)
    ports = {value.name: (value.type.tensor_type.elem_type, shape_of(value)) for value in model.graph.input}
    assert ports == ports_of(found.recipe)
    dims = {FEATURE_OUTPUT: facts.dim, **{layer_output(name): dim for name, dim in facts.layers}}
    if len(model.graph.output) > len(dims):
        dims[LOGITS_OUTPUT] = len(facts.classes)
    assert {value.name: shape_of(value) for value in model.graph.output} == {n: ["batch", d] for n, d in dims.items()}
    assert model.graph.output[0].name == FEATURE_OUTPUT
    assert model.graph.node[0].name.startswith(PROLOGUE)
    assert facts.name
    assert facts.source
    assert facts.licence
    assert facts.parameters > 0


def test_a_plain_session_computes_any_number_of_inputs(asked: Asked) -> None:
    found = load_backbone(*asked)
    inputs = inputs_of(found.recipe)
    session, plain = ort.InferenceSession(found.path), open_plain(found.path, optimised=False)
    names = [output.name for output in session.get_outputs()]
    right, ours = (dict(zip(names, each.run(names, inputs), strict=True)) for each in (plain, session))
    second = {name: values[1:2] for name, values in inputs.items()}
    alone = dict(zip(names, session.run(names, second), strict=True))
    for name, values in ours.items():
        scale = np.abs(right[name]).max()
        np.testing.assert_allclose(values, right[name], rtol=0, atol=1e-4 * scale)
        np.testing.assert_allclose(alone[name], values[1:2], rtol=0, atol=1e-4 * scale)
        assert np.ptp(values, axis=0).max() > 1e-3 * scale


def test_it_is_made_once(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_backbone(*asked)
    monkeypatch.setattr(cache, "keep", None)  # another export would now fail
    assert load_backbone(*asked) == first
    found = cache.find_by_fingerprint(first.fingerprint)  # another source may have given the same net before
    assert found is not None
    assert (found.fingerprint, found.recipe) == (first.fingerprint, first.recipe)


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_net_says_what_it_is(name: str) -> None:
    module = EMBEDDED_MODULES[name]
    assert name == module.NAME
    assert module.BUILD.startswith(name)
    assert source_name(name) == name


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_net_may_be_written_with_hyphens(name: str) -> None:
    written = name.replace("_", "-")
    assert load_backbone(written) == load_backbone(name)
    assert source_name(written) == name
    assert plain_name("no-such-net") == "no-such-net"


@pytest.mark.parametrize("kind", KINDS)
def test_its_identity_follows_what_it_depends_on(kind: str, tmp_path: Path) -> None:
    what, options = MAKE[kind](tmp_path)
    first = MODULES[kind].identity(what, options)
    assert MODULES[kind].identity(what, options) == first
    assert source_name(f"{kind}:{what}") == f"{kind}:{what}"
    if Path(what).is_file():
        with Path(what).open("ab") as file:
            file.write(b"\x12\x00")  # an empty field of the message
        assert MODULES[kind].identity(what, options) != first


@pytest.mark.parametrize("kind", SOURCES)
def test_what_is_not_there_is_named(kind: str) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_backbone(f"{kind}:{'./' if kind in ('hf', 'torch-hf') else ''}nowhere")  # the Hub is not asked


Change = Callable[[onnx.ModelProto], object]


def input_of(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    found: onnx.ValueInfoProto
    (found,) = (value for value in model.graph.input if value.name == name)
    return found


def retype(port: str, kind: int, dims: list[int | str | None]) -> Change:
    def change(model: onnx.ModelProto) -> None:
        input_of(model, port).CopyFrom(helper.make_tensor_value_info(port, kind, dims))

    return change


def shorter(model: onnx.ModelProto) -> None:
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(FEATURE_OUTPUT, TensorProto.FLOAT, ["batch", 7]))


INT32, INT64 = int(TensorProto.INT32), int(TensorProto.INT64)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (retype("tokens", INT64, ["batch", "length"]), "takes token ids, but the inputs .* tokens [], lengths []"),
        (retype("lengths", INT64, ["batch"]), "takes token ids"),
        (retype("tokens", INT32, ["batch", 12]), "the inputs of its net are tokens [12], lengths []"),
        (retype("tokens", INT32, ["batch", "length", 3]), "are tokens [0, 3], lengths []"),
        (retype("lengths", INT32, ["batch", 1]), "are tokens [0], lengths [1]"),
        (retype("lengths", INT32, []), "takes token ids"),
        (lambda model: model.graph.input.pop(), "are tokens [0]. Export it again"),
        (
            lambda model: model.graph.input.append(helper.make_tensor_value_info("types", INT32, ["batch", "n"])),
            "tokens [0], lengths [], types [0]",
        ),
        (lambda model: setattr(input_of(model, "tokens"), "name", "images"), "are images [0], lengths []"),
        (shorter, "gives features of 8 numbers, but the outputs of its net are features [7]"),
    ],
)
def test_a_net_of_texts_is_what_it_says(change: Change, says: str) -> None:
    model = tiny_text_model()
    facts = Facts.from_json(metadata_of(model)[METADATA_KEY])
    check_contract(model, facts, "net.onnx")
    change(model)
    pattern = "net.onnx is damaged: it says that it .*" + re.escape(says).replace(r"\.\*", ".*")
    with pytest.raises(InputError, match=pattern):
        check_contract(model, facts, "net.onnx")


def test_what_a_net_says_of_tokens_is_as_it_says() -> None:
    model = tiny_text_model()
    facts = replace(Facts.from_json(metadata_of(model)[METADATA_KEY]), span_labels=("O", "PER"))
    says = r"says that it gives spans of 2 numbers, but the outputs of its net are features"
    with pytest.raises(InputError, match=says):
        check_contract(model, facts, "net.onnx")
    shapes: list[list[str | int]] = [["batch", 2], ["batch", "length", 3], ["batch", "length"], ["batch", 2, 2]]
    for shape in shapes:
        model.graph.output.append(helper.make_tensor_value_info("spans", TensorProto.FLOAT, shape))
        with pytest.raises(InputError, match=says):
            check_contract(model, facts, "net.onnx")
        del model.graph.output[1:]
    model.graph.output.append(helper.make_tensor_value_info("spans", TensorProto.FLOAT, ["batch", "length", 2]))
    check_contract(model, facts, "net.onnx")


def test_a_net_of_pictures_is_none_of_texts() -> None:
    texts, pictures = tiny_text_model(), tiny_model()
    of_texts, of_pictures = (Facts.from_json(metadata_of(each)[METADATA_KEY]) for each in (texts, pictures))
    with pytest.raises(InputError, match=r"says that it takes token ids, but the inputs of its net are images \[\]"):
        check_contract(pictures, of_texts, "net.onnx")
    with pytest.raises(InputError, match=r"takes pictures of 32 x 32 pixels, but the inputs of its net are tokens"):
        check_contract(texts, of_pictures, "net.onnx")
