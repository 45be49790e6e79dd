from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones import load_backbone
from fxengine.backbones.graph.model import make_model
from fxengine.backbones.spec import BackboneFile
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.errors import DeviceError, InputError
from fxengine.execute import gpu, onnx_runtime, open_session, usable_cores
from fxengine.execute.session import Session

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


def two_inputs(path: Path, length: int | str) -> Path:
    """Write a net of a row of two numbers and one of tokens, which gives their sums."""
    nodes = [
        helper.make_node("ReduceSum", ["pairs"], ["a"], keepdims=1),
        helper.make_node("ReduceSum", ["tokens"], ["b"], keepdims=1),
    ]
    for node in nodes:
        node.input.append("axis")
    nodes.append(helper.make_node("Concat", ["a", "b"], ["features"], axis=1))
    inputs = {"pairs": 2, "tokens": length}
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in inputs.items()],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.array([1]), "axis")],
    )
    onnx.save(make_model(graph), path)
    return path


def singles(session: Session, pictures: np.ndarray) -> dict[str, np.ndarray]:
    rows = [session.run({"images": pictures[i : i + 1]}) for i in range(len(pictures))]
    return {name: np.concatenate([row[name] for row in rows]) for name in session.outputs}


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    assert a.shape == b.shape
    a, b = a.astype(np.float64), b.astype(np.float64)
    found: np.ndarray = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found


def loaded(session: Session) -> Any:
    """Return what the runtime loaded."""
    return session.runner


class Spy:
    """Stands before the runtime's session and notes the shapes that reach it."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.shapes: list[tuple[int, ...]] = []
        self.names: list[list[str]] = []

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> Any:
        self.shapes.append(feeds["images"].shape)
        self.names.append(list(names))
        return self.session.run(names, feeds)


def test_a_session_says_what_it_is(tiny: BackboneFile) -> None:
    session = open_session(tiny.path, "cpu", 5)
    assert session.provider == loaded(session).get_providers()[0] == CPU
    assert (session.precision, session.batch_size, session.streams) == ("fp32", 5, 1)
    assert session.outputs == ("features", "logits")
    assert session.engine == f"onnxruntime {ort.__version__}"


def test_the_numbers_are_those_of_the_net(tiny: BackboneFile) -> None:
    """The tiny net, computed by hand: prologue, 3x3 convolution, ReLU, mean over the picture."""
    weights = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in onnx.load(tiny.path).graph.initializer}
    pictures = images(2)
    x = (pictures - np.array([100.0, 110, 120])) / np.array([50.0, 55, 60])
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    expected = np.maximum(np.einsum("nyxchw,ochw->nyxo", windows, weights["w"]), 0).mean(axis=(1, 2))
    found = open_session(tiny.path, "cpu", 2).run({"images": pictures})
    np.testing.assert_allclose(found["features"], expected, rtol=1e-4)
    np.testing.assert_allclose(found["logits"], expected @ weights["c"].T, rtol=1e-3, atol=1e-4)
    assert found["features"].dtype == np.float32


def test_a_batch_gives_what_single_pictures_give(tiny: BackboneFile) -> None:
    session = open_session(tiny.path, "cpu", 16)
    pictures = images(16)
    together, alone = session.run({"images": pictures}), singles(session, pictures)
    assert together["features"].shape == (16, 8)
    assert together["logits"].shape == (16, 3)
    assert cosines(together["features"], alone["features"]).min() >= 0.9999
    assert cosines(together["logits"], alone["logits"]).min() >= 0.9999
    # Rows stay in order: each is unlike every other.
    assert len(np.unique(together["features"].round(4), axis=0)) == 16


@pytest.mark.parametrize("count", range(1, 10))
def test_short_batches_are_padded_and_cut(tiny: BackboneFile, count: int) -> None:
    session = open_session(tiny.path, "cpu", 4)
    pictures = images(count, seed=count)
    alone = singles(session, pictures)
    spy = Spy(session.runner)
    session.runner = spy
    found = session.run({"images": pictures})
    assert list(found) == ["features", "logits"]
    for name, rows in found.items():
        assert rows.shape == alone[name].shape
        np.testing.assert_allclose(rows, alone[name], rtol=1e-5, atol=1e-5)
    rows_of = [4] * (count // 4) + {0: [], 1: [1], 2: [4], 3: [4]}[count % 4]
    assert spy.shapes == [(rows, 32, 32, 3) for rows in rows_of]


def test_only_the_outputs_that_are_asked_for_are_computed(tiny: BackboneFile) -> None:
    session = open_session(tiny.path, "cpu", 4)
    both = session.run({"images": images(6)})
    spy = Spy(session.runner)
    session.runner = spy
    found = session.run({"images": images(6)}, ["logits"])
    assert list(found) == ["logits"]
    np.testing.assert_array_equal(found["logits"], both["logits"])
    assert spy.names == [["logits"], ["logits"]]


def test_the_input_is_left_as_it_is(tiny: BackboneFile) -> None:
    pictures = images(3)
    before = pictures.copy()
    open_session(tiny.path, "cpu", 4).run({"images": pictures})
    np.testing.assert_array_equal(pictures, before)


def test_a_closed_session_holds_no_model(tiny: BackboneFile) -> None:
    session = open_session(tiny.path, "cpu", 4)
    session.close()
    assert session.runner is None


@pytest.mark.slow
def test_a_batch_of_real_photos_gives_what_single_photos_give(shared_data: Callable[[str], Path]) -> None:
    backbone = load_backbone("efficientnet_lite0")
    recipe, limits = backbone.picture_recipe, Limits()
    paths = sorted(shared_data("imagenet_500").iterdir())[::25]
    pictures = np.empty((len(paths), recipe.height, recipe.width, 3), np.uint8)
    for path, out in zip(paths, pictures, strict=True):
        data = path.read_bytes()
        picture.decode_into(data, picture.read_header(data, limits), recipe, out)
    session = open_session(backbone.path, "cpu", 8)
    together, alone = session.run({"images": pictures}), singles(session, pictures)
    assert together["features"].shape == (20, 1280)
    assert cosines(together["features"], alone["features"]).min() >= 0.9999
    np.testing.assert_array_equal(together["logits"].argmax(axis=1), alone["logits"].argmax(axis=1))
    # Different photos are told apart, so that the cosine above says something.
    assert np.abs(cosines(together["features"], np.roll(together["features"], 1, axis=0))).max() < 0.98


def test_an_unknown_device_lists_what_there_is(tiny: BackboneFile) -> None:
    with pytest.raises(InputError, match=r"There is no `device` 'gpu'\. There is: auto, cpu, cuda, tensorrt\."):
        open_session(tiny.path, "gpu", 4)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.onnx"
    path.write_text("words")
    for device in ("cpu", "auto"):
        with pytest.raises(InputError, match=r"ONNX Runtime cannot load .*words\.onnx: "):
            open_session(path, device, 4)


@pytest.mark.parametrize(("cores", "streams", "threads"), [(8, 1, 8), (8, 4, 2), (8, 3, 2), (2, 4, 1)])
def test_streams_share_the_cores(
    tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch, cores: int, streams: int, threads: int
) -> None:
    given: list[int] = []
    real = ort.InferenceSession

    def note(path: str, options: Any, **others: Any) -> Any:
        given.append(options.intra_op_num_threads)
        return real(path, options, **others)

    monkeypatch.setattr(ort, "InferenceSession", note)
    session = onnx_runtime.open_session(tiny.path, "cpu", 4, cores, streams)
    assert given == [threads]
    assert session.streams == streams


def test_by_default_one_run_takes_every_core(tiny: BackboneFile) -> None:
    session = open_session(tiny.path, "cpu")
    assert (session.streams, session.batch_size) == (1, 4)
    assert loaded(session).get_session_options().intra_op_num_threads == usable_cores()


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_runtime_without_the_device_is_refused(
    tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    with pytest.raises(DeviceError) as raised:
        open_session(tiny.path, device, 4)
    assert str(raised.value) == (
        f"ONNX Runtime {ort.__version__} here has no {onnx_runtime.NAMES[device]}. For an NVIDIA GPU: "
        "pip install 'fxengine[cuda13]' and an NVIDIA driver that has CUDA 13."
    )
    assert open_session(tiny.path, "auto", 4).provider == CPU


class FakeRuntime:
    """Says that CUDA and TensorRT are there; what starts is `starts`, whatever is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, starts: list[str]) -> None:
        self.asked: list[list[str]] = []
        self.options: list[dict[str, dict[str, str]]] = []
        self.paths: list[str] = []
        real = ort.InferenceSession
        outer = self

        class Started:
            def __init__(self, session: Any, providers: list[str]) -> None:
                self.session, self.providers = session, providers

            def get_providers(self) -> list[str]:
                return self.providers

            def __getattr__(self, name: str) -> Any:
                return getattr(self.session, name)

        def start(path: str, options: Any, providers: list[Any], **_: Any) -> Any:
            names = [entry if isinstance(entry, str) else entry[0] for entry in providers]
            outer.asked.append(names)
            outer.options.append({entry[0]: entry[1] for entry in providers if not isinstance(entry, str)})
            outer.paths.append(path)
            session = real(path, options, providers=[CPU])
            return Started(session, [name for name in names if name in starts])

        monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
        monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
        monkeypatch.setattr(ort, "InferenceSession", start)
        monkeypatch.setattr(gpu, "has_driver", lambda: True)


@pytest.mark.faked_gpu
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_does_not_start_is_an_error(
    tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    FakeRuntime(monkeypatch, [CPU])
    with pytest.raises(DeviceError) as raised:
        open_session(tiny.path, device, 4)
    assert str(raised.value) == (
        f"`device` {device} was asked for, but ONNX Runtime could only start {CPU}. It needs pip install "
        "'fxengine[cuda13]' and an NVIDIA driver that has CUDA 13. `device` auto goes on without."
    )


@pytest.mark.faked_gpu
def test_tensorrt_that_falls_back_to_cuda_is_an_error(tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = FakeRuntime(monkeypatch, [CUDA, CPU])
    with pytest.raises(DeviceError, match=f"could only start {CUDA}"):
        open_session(tiny.path, "tensorrt", 4)
    assert runtime.asked == [[TENSORRT, CUDA, CPU]]


@pytest.mark.faked_gpu
def test_auto_goes_on_without_a_device_that_does_not_start(tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = images(3)
    expected = open_session(tiny.path, "cpu", 4).run({"images": pictures})
    runtime = FakeRuntime(monkeypatch, [CPU])
    session = onnx_runtime.open_session(tiny.path, "auto", 4, 8, streams=2)
    assert runtime.asked == [[CUDA, CPU], [CPU]]
    assert (session.provider, session.streams) == (CPU, 2)
    np.testing.assert_array_equal(session.run({"images": pictures})["features"], expected["features"])


@pytest.mark.faked_gpu
def test_auto_goes_on_where_starting_the_device_fails_aloud(
    tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeRuntime(monkeypatch, [CPU])
    start: Any = ort.InferenceSession

    def fail(path: str, options: Any, providers: list[Any], **_: Any) -> Any:
        if CUDA in [entry[0] for entry in providers]:
            raise RuntimeError("CUDA failure 35: driver version is insufficient")
        return start(path, options, providers=providers)

    monkeypatch.setattr(ort, "InferenceSession", fail)
    assert open_session(tiny.path, "auto", 4).provider == CPU
    # Asked for by name it is the device that is missing, not the file that is bad.
    with pytest.raises(DeviceError, match="cuda"):
        open_session(tiny.path, "cuda", 4)


@pytest.mark.faked_gpu
def test_auto_does_not_try_without_a_driver(tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = FakeRuntime(monkeypatch, [CUDA, CPU])
    monkeypatch.setattr(gpu, "has_driver", lambda: False)
    assert open_session(tiny.path, "auto", 4).provider == CPU
    assert runtime.asked == [[CPU]]


@pytest.mark.faked_gpu
@pytest.mark.parametrize(
    ("device", "starts", "provider"),
    [("auto", [CUDA, CPU], CUDA), ("cuda", [CUDA, CPU], CUDA), ("tensorrt", [TENSORRT, CUDA, CPU], TENSORRT)],
)
def test_a_device_has_one_stream(
    tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch, device: str, starts: list[str], provider: str
) -> None:
    FakeRuntime(monkeypatch, starts)
    session = onnx_runtime.open_session(tiny.path, device, 4, 8, streams=8)
    assert (session.provider, session.streams) == (provider, 1)


def test_the_engine_names_the_installed_distribution(tiny: BackboneFile) -> None:
    versions = set()
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            versions.add(version(name))
        except PackageNotFoundError:
            continue
    assert open_session(tiny.path, "cpu").engine.removeprefix("onnxruntime ") in versions
