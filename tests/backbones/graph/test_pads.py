"""A zero Pad before a MaxPool, which ONNX Runtime's optimiser gets wrong, through every way into a file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones import cache, find_space, load_backbone, load_for_space
from fxengine.backbones.graph.model import make_model
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.graph.run import open_plain, outputs_of
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.pca_facts import PcaFacts
from fxengine.backbones.sources import from_onnx
from fxengine.backbones.spec import BackboneFile
from fxengine.cache import cache_folder
from fxengine.execute import open_session
from fxengine.reduce.pca import Pca
from fxengine.trust import note_named
from tests.backbones.padded import classifier, keep_as_before, unmended
from tests.conftest import tiny_model

LEVELS = [
    ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
]
FLOAT, HALF, DOUBLE, INT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8
PICTURES = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), np.uint8)


def net(
    *,
    kind: int = FLOAT,
    opset: int = 17,
    value: str = "given",
    between: str = "",
    op: str = "MaxPool",
    mode: str = "constant",
    **pool: Any,
) -> onnx.ModelProto:
    """Return x [n, 2, 8, 8] -> Pad (-> between) -> pool."""
    numbers = helper.tensor_dtype_to_np_dtype(kind)
    weights = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "zero": np.zeros((), numbers)}
    nodes, inputs, out = [], ["x", "pads"], kind
    if value == "computed":
        weights["true"] = np.array(False)
        nodes.append(helper.make_node("Cast", ["true"], ["made"], to=kind))
    if value == "constant":
        zero = numpy_helper.from_array(weights["zero"], "")
        nodes.append(helper.make_node("Constant", [], ["held"], value=zero))
    inputs += {"given": ["zero"], "computed": ["made"], "constant": ["held"]}.get(value, [])
    nodes.append(helper.make_node("Pad", inputs[:1] if opset < 11 else inputs, ["pad"], mode=mode))
    if opset < 11:
        nodes[-1].attribute.append(helper.make_attribute("pads", weights["pads"].tolist()))
    if between:
        out = FLOAT if between == "Cast" else kind
        nodes.append(helper.make_node(between, ["pad"], ["between"]))
        nodes[-1].attribute.extend([helper.make_attribute("to", FLOAT)] if between == "Cast" else [])
    nodes.append(helper.make_node(op, [nodes[-1].output[0]], ["y"], kernel_shape=[3, 3], strides=[2, 2], **pool))
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, ["n", 2, 8, 8])],
        [helper.make_tensor_value_info("y", out, ["n", 2, "h", "w"])],
        [numpy_helper.from_array(v, n) for n, v in weights.items() if n in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def computed(model: onnx.ModelProto, level: object, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0]).astype(np.float64)


def negative(model: onnx.ModelProto) -> np.ndarray:
    kind = model.graph.input[0].type.tensor_type.elem_type
    return (-1 - 30 * np.random.default_rng(0).random((2, 2, 8, 8))).astype(helper.tensor_dtype_to_np_dtype(kind))


TAKEN = {
    **{f"opset {opset}": net(opset=opset) for opset in (7, 10, 11, 13, 18, 21)},
    "half": net(kind=HALF),
    "half, old": net(kind=HALF, opset=9),
    "double": net(kind=DOUBLE),
    "int8": net(kind=INT8),
    "int8 with pads of 0": net(kind=INT8, pads=[0, 0, 0, 0]),
    "no value": net(value="absent"),
    "no value, half": net(value="absent", kind=HALF),
    "a constant": net(value="constant"),
    "computed": net(value="computed"),
    "cast": net(kind=HALF, between="Cast"),
    "identity": net(between="Identity"),
    "own pads": net(pads=[1, 1, 1, 1]),
    "ceil": net(ceil_mode=1),
}


def test_the_optimiser_still_breaks_it() -> None:
    """Where this fails, ONNX Runtime was mended itself."""
    assert computed(net(), ort.GraphOptimizationLevel.ORT_ENABLE_ALL, negative(net())).max() < 0


@pytest.mark.parametrize("name", TAKEN)
def test_what_the_optimiser_breaks_is_mended(name: str) -> None:
    model = TAKEN[name]
    x, off = negative(model), ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    right = computed(model, off, x)
    assert right.max() == 0  # of the padding
    before = model.SerializeToString()
    mended = with_safe_pads(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(mended, full_check=True)
    for level in (off, *LEVELS):
        np.testing.assert_allclose(computed(mended, level, x), right, rtol=0, atol=1e-7)
    assert with_safe_pads(mended) is mended


@pytest.mark.parametrize(
    "model",
    [
        net(op="AveragePool"),
        net(op="AveragePool", count_include_pad=1),
        net(kind=TensorProto.UINT8),
        net(mode="edge", value="absent"),
        net(auto_pad="VALID"),
        tiny_model(),
    ],
    ids=["average", "average of all", "uint8", "edge", "valid", "none"],
)
def test_what_it_computes_right_stays_as_it_is(model: onnx.ModelProto) -> None:
    assert with_safe_pads(model).SerializeToString() == model.SerializeToString()


def test_two_pools_of_one_pad() -> None:
    model = net()
    model.graph.node.append(helper.make_node("MaxPool", ["pad"], ["z"], kernel_shape=[2, 2]))
    model.graph.output.append(helper.make_tensor_value_info("z", FLOAT, ["n", 2, 9, 9]))
    mended = with_safe_pads(model)
    onnx.checker.check_model(mended, full_check=True)
    assert [t.name for t in mended.graph.initializer].count("fx_pad/float32") == 1


def test_a_pad_in_a_branch() -> None:
    inner = net()
    branch = helper.make_graph(inner.graph.node, "branch", [], inner.graph.output, inner.graph.initializer)
    other = helper.make_graph([helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[5, 5])], "other", [],
                              inner.graph.output)  # fmt: skip
    choice = helper.make_node("If", ["sure"], ["y"], then_branch=branch, else_branch=other)
    sure = helper.make_tensor_value_info("sure", TensorProto.BOOL, [])
    graph = helper.make_graph([choice], "net", [*inner.graph.input, sure], inner.graph.output)
    model, x = make_model(graph), negative(inner)

    def run(model: onnx.ModelProto) -> np.ndarray:
        return np.asarray(open_plain(model).run(None, {"x": x, "sure": np.array(True)})[0])

    assert run(model).max() < -1
    assert run(with_safe_pads(model)).max() == pytest.approx(0, abs=1e-20)


# --- through every way into a file ---


@pytest.fixture
def padded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    return classifier(tmp_path / "padded.onnx", padded=True)


def reduction(padded: Path, space: str) -> Path:
    """Write a transform that was fitted on features of `padded` by an earlier version."""
    rng = np.random.default_rng(1)
    facts = PcaFacts(
        space=space,
        source=f"onnx:{padded}",
        layer=None,
        rows=20,
        whiten=False,
        explained_variance=(2.0, 1.0, 0.5),
        total_variance=4.0,
    )
    path = padded.with_name("pca.onnx")
    Pca(rng.normal(0, 1, 6), rng.normal(0, 1, (3, 6)), facts).save(path)
    return path


@pytest.fixture
def kept_before(padded: Path) -> str:
    """The fingerprint of what an earlier version kept of `padded`."""
    return keep_as_before(f"onnx:{padded}")


@pytest.mark.parametrize("layers", [(), ("net/map", "features"), ("net/pool",)])
def test_an_export_and_its_copies_are_right_in_a_plain_session(padded: Path, layers: tuple[str, ...]) -> None:
    source = load_backbone(f"onnx:{padded}").path if layers else f"onnx:{padded}"
    model = onnx.load(load_backbone(source, ExportOptions(layers=layers)).path)
    right = outputs_of(open_plain(unmended(model), optimised=False), PICTURES)
    plain = ort.InferenceSession(model.SerializeToString())
    for name, values in outputs_of(plain, PICTURES).items():
        np.testing.assert_allclose(values, right[name], rtol=1e-5, atol=1e-4)
    wrong = outputs_of(open_plain(unmended(model)), PICTURES)
    assert np.abs(wrong["features"] - right["features"]).max() > 1


@pytest.mark.parametrize("layers", [("net/map", "features"), ("net/pool",)])
def test_a_copy_of_a_file_from_before_is_right(kept_before: str, layers: tuple[str, ...]) -> None:
    former = cache.find_by_fingerprint(kept_before)
    assert former is not None
    model = onnx.load(load_backbone(former.path, ExportOptions(layers=layers)).path)
    assert with_safe_pads(model) is model
    assert load_backbone(former.path).fingerprint == kept_before


def test_a_source_kept_before_is_mended_and_its_store_goes_on(padded: Path, kept_before: str) -> None:
    source = f"onnx:{padded}"
    found = load_backbone(source)
    assert found.fingerprint != kept_before
    assert load_backbone(source) == found
    for space in (kept_before, found.fingerprint):
        assert load_for_space(source, space).fingerprint == space
        assert find_space(space, source).fingerprint == space
    assert load_for_space(source, "0" * 64) == found
    layered = ExportOptions(layers=("map",))
    assert load_for_space(source, kept_before, layered) == load_backbone(source, layered)
    (cache_folder() / "backbones" / f"{kept_before}.onnx").unlink()
    assert load_for_space(source, kept_before).fingerprint == kept_before
    assert load_backbone(source) == found


WAYS: list[Callable[[str, str], BackboneFile]] = [load_for_space, lambda source, space: find_space(space, source)]


@pytest.mark.parametrize("way", WAYS, ids=["load_for_space", "find_space"])
@pytest.mark.parametrize("pca", [False, True], ids=["the net", "a reduction of it"])
def test_without_a_cache_a_store_from_before_finds_its_backbone(
    padded: Path, kept_before: str, pca: bool, way: Callable[[str, str], BackboneFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, space = f"onnx:{padded}", kept_before
    if pca:
        source = f"pca:{reduction(padded, kept_before)}"
        space = keep_as_before(source)
    former = cache.find_by_fingerprint(space)
    assert former is not None
    right = outputs_of(open_plain(former.path, optimised=False), PICTURES)["features"]
    monkeypatch.setenv("FXENGINE_CACHE", str(padded.with_name("empty")))
    for named in (source, f"onnx:{padded}"):
        note_named("backbone", named)
    found = way(source, space)
    assert found.fingerprint == space
    ours = open_session(found.path, "cpu").run({"images": PICTURES})["features"]
    np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-4)
    assert load_backbone(source).fingerprint != space


@pytest.mark.parametrize("layers", [("map", "pool"), ("pool",)])
def test_without_a_cache_layers_from_before_are_found(
    padded: Path, layers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ExportOptions(layers=layers)
    space = keep_as_before(f"onnx:{padded}", options)
    monkeypatch.setenv("FXENGINE_CACHE", str(padded.with_name("empty")))
    assert load_for_space(f"onnx:{padded}", space, options).fingerprint == space
    assert load_backbone(f"onnx:{padded}", options).fingerprint != space


def test_without_a_cache_layers_of_a_file_from_before_are_found(
    padded: Path, kept_before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = cache.find_by_fingerprint(kept_before)
    assert former is not None
    file, options = padded.with_name("before.onnx"), ExportOptions(layers=("net/map", "features"))
    file.write_bytes(former.path.read_bytes())
    space = keep_as_before(str(file), options)
    monkeypatch.setenv("FXENGINE_CACHE", str(padded.with_name("empty")))
    assert load_for_space(file, space, options).fingerprint == space


def test_another_space_makes_no_second_export(padded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports, export = [], from_onnx.export

    def noted(what: str, options: ExportOptions) -> onnx.ModelProto:
        exports.append(what)
        return export(what, options)

    monkeypatch.setattr(from_onnx, "export", noted)
    found = load_for_space(f"onnx:{padded}", "0" * 64)
    assert load_for_space(f"onnx:{padded}", found.fingerprint) == found
    assert exports == [str(padded)]


def refuse(target: Path) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(target))


def test_a_cache_from_before_that_cannot_be_written_is_used(
    padded: Path, kept_before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxengine.cache.replacing", refuse)
    former = cache.find_by_fingerprint(kept_before)
    assert load_backbone(f"onnx:{padded}") == former
    assert load_for_space(f"onnx:{padded}", kept_before) == former


def test_a_net_without_such_a_pad_is_not_written_again(padded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"onnx:{classifier(padded.with_name('plain.onnx'), padded=False)}"
    space = keep_as_before(source)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "replacing", refuse)
        assert load_backbone(source).fingerprint == space
    monkeypatch.setattr(cache, "write_backbone", None)
    assert load_backbone(source).fingerprint == space


def test_other_exports_keep_their_fingerprint(padded: Path, kept_before: str) -> None:
    """Those that the last version without mending gave."""
    plain = classifier(padded.with_name("plain.onnx"), padded=False)
    assert {name: load_backbone(name).fingerprint for name in ("efficientnet_lite0", f"onnx:{plain}")} == {
        "efficientnet_lite0": "3ef491c650455eb1d4f323b9227442e7d073bb3efc36bed4df2e07f9d5ce0f73",
        f"onnx:{plain}": "fdddcc68426af4c30ce9de74aaab5af1c6c802d5db1d962c55d7fd7ddaf4126e",
    }
    assert kept_before == "ea5a6491ad5c9a77f7946e73bc5b079223dc98fd052fd22f8365c797dd2abb1c"


@pytest.mark.parametrize("file", ["weights/squeezenet1.1_fp16.onnx", "reports/mobilenetv1_headless.onnx"])
def test_real_nets_have_no_such_pad(file: str, shared_data: Callable[[str], Path]) -> None:
    model = onnx.load(shared_data(file.partition("/")[0]) / file.partition("/")[2])
    assert with_safe_pads(model) is model
