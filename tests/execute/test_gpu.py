"""What of the GPU path can be shown without a GPU: options, fp16 files, pools, memory that runs out."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from fxengine.backbones import load_backbone
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import DeviceError
from fxengine.execute import gpu, open_session
from tests.conftest import PATIENCE
from tests.execute.test_onnx_runtime import CPU, CUDA, TENSORRT, FakeRuntime, cosines, images, two_inputs


def test_cuda_keeps_fp32_and_tunes_by_heuristic(tiny: BackboneFile) -> None:
    chain = gpu.providers("cuda", 1, tiny.path, 128, "fp32")
    assert chain == [
        (
            CUDA,
            {
                "device_id": "1",
                "cudnn_conv_algo_search": "HEURISTIC",
                "arena_extend_strategy": "kSameAsRequested",
                "use_tf32": "0",
                "prefer_nhwc": "0",
            },
        ),
        CPU,
    ]


def test_tensorrt_caches_its_engines_and_knows_both_shapes(tiny: BackboneFile) -> None:
    chain = gpu.providers("tensorrt", 0, tiny.path, 64, "fp16")
    assert [entry if isinstance(entry, str) else entry[0] for entry in chain] == [TENSORRT, CUDA, CPU]
    options = chain[0][1]
    assert isinstance(options, dict)
    folder = options["trt_engine_cache_path"]
    assert Path(folder).is_dir()
    assert options == {
        "device_id": "0",
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
        "trt_profile_min_shapes": "images:1x32x32x3",
        "trt_profile_opt_shapes": "images:64x32x32x3",
        "trt_profile_max_shapes": "images:64x32x32x3",
    }


def test_every_input_has_its_shape_in_the_profile(tmp_path: Path) -> None:
    path = two_inputs(tmp_path / "two.onnx", 7)
    assert gpu.input_shapes(path) == {"pairs": (2,), "tokens": (7,)}
    options = gpu.providers("tensorrt", 0, path, 64, "fp32")[0][1]
    assert isinstance(options, dict)
    assert options["trt_profile_min_shapes"] == "pairs:1x2,tokens:1x7"
    assert options["trt_profile_opt_shapes"] == options["trt_profile_max_shapes"] == "pairs:64x2,tokens:64x7"


def test_an_engine_is_kept_by_model_shape_precision_gpu_and_versions(
    tiny: BackboneFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"another model")
    folders = {
        gpu.engine_folder(0, tiny.path, 64, "fp16"),
        gpu.engine_folder(0, other, 64, "fp16"),
        gpu.engine_folder(0, tiny.path, 32, "fp16"),
        gpu.engine_folder(0, tiny.path, 64, "fp32"),
    }
    monkeypatch.setattr(gpu, "names", lambda: ["NVIDIA H100, 580.1"])
    folders.add(gpu.engine_folder(0, tiny.path, 64, "fp16"))
    monkeypatch.setattr(gpu, "_version", lambda name: "99")
    folders.add(gpu.engine_folder(0, tiny.path, 64, "fp16"))
    assert len(folders) == 6


def test_half_precision_keeps_prologue_and_features() -> None:
    backbone = load_backbone("efficientnet_lite0")
    path = gpu.half_precision_file(backbone.path)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [n.op_type for n in model.graph.node][:5] == ["Cast", "Transpose", "Sub", "Mul", "Cast"]
    types = {t.name: t.data_type for t in model.graph.initializer}
    kept = {name: kind for name, kind in types.items() if name.startswith("fx_pre/")}
    assert set(kept.values()) == {onnx.TensorProto.FLOAT}
    assert onnx.TensorProto.FLOAT not in {kind for name, kind in types.items() if name not in kept}
    assert path.stat().st_size < 0.55 * backbone.path.stat().st_size
    pictures = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8)
    run = ort.InferenceSession(str(path), providers=[CPU]).run(["features"], {"images": pictures})[0]
    assert run.dtype == np.float32
    assert cosines(run, open_session(backbone.path, "cpu").run({"images": pictures})["features"]).min() > 0.9999
    assert gpu.half_precision_file(backbone.path) == path


def test_a_bound_run_gives_what_a_plain_one_gives(tiny: BackboneFile) -> None:
    session = ort.InferenceSession(str(tiny.path), providers=[CPU])
    runner = gpu.Runner(session, 0)
    for seed in range(3):
        pictures = images(4, seed)
        found = runner.run(["features", "logits"], {"images": pictures})
        for bound, plain in zip(found, session.run(["features", "logits"], {"images": pictures}), strict=True):
            np.testing.assert_array_equal(bound, plain)


class Small:
    """A device that holds `rows` pictures at most."""

    def __init__(self, session: Any, rows: int) -> None:
        self.session, self.rows, self.seen = session, rows, list[int]()

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> Any:
        self.seen.append(len(feeds["images"]))
        if len(feeds["images"]) > self.rows:
            raise MemoryError
        return self.session.run(names, feeds)


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
def test_where_memory_runs_out_the_batch_is_halved_and_goes_on(tiny: BackboneFile, rows: int) -> None:
    session = open_session(tiny.path, "cpu", 8)
    pictures = images(11)
    expected = session.run({"images": pictures})["features"]
    session.runner = Small(session.runner, rows)
    np.testing.assert_allclose(session.run({"images": pictures})["features"], expected, rtol=1e-5, atol=1e-6)
    assert session.batch_size == {1: 1, 2: 2, 5: 4, 8: 8}[rows]
    session.runner.seen.clear()
    session.run({"images": pictures})
    assert max(session.runner.seen) <= rows


def test_a_device_without_memory_for_one_picture_says_so(tiny: BackboneFile) -> None:
    session = open_session(tiny.path, "cpu", 4)
    session.runner = Small(session.runner, 0)
    with pytest.raises(MemoryError):
        session.run({"images": images(3)})


@pytest.mark.faked_gpu
def test_what_onnx_runtime_says_of_memory_is_understood(tiny: BackboneFile) -> None:
    class Full:
        def io_binding(self) -> Any:
            raise RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9")

    class Broken:
        def io_binding(self) -> Any:
            raise RuntimeError("CUDA failure 700: illegal memory access")

    with pytest.raises(MemoryError):
        gpu.Runner(Full(), 0).run(["features"], {"images": images(1)})
    with pytest.raises(RuntimeError, match="700"):
        gpu.Runner(Broken(), 0).run(["features"], {"images": images(1)})


@pytest.mark.faked_gpu
def test_every_gpu_gets_a_runner(tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = FakeRuntime(monkeypatch, [CUDA, CPU])
    monkeypatch.setattr(gpu, "count", lambda: 3)
    session = open_session(tiny.path, "cuda")
    assert (session.streams, session.batch_size, session.provider) == (3, 128, CUDA)
    assert [options[CUDA]["device_id"] for options in runtime.options] == ["0", "1", "2"]


def test_a_pool_gives_each_caller_a_runner_of_its_own() -> None:
    busy, together, lock, pair = set[int](), list[int](), threading.Lock(), threading.Barrier(2)

    class Slow(gpu.Runner):
        def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            with lock:
                assert self._number not in busy
                busy.add(self._number)
                together.append(len(busy))
            pair.wait(PATIENCE)
            with lock:
                busy.remove(self._number)
            return [feeds["images"] + 1]

    pool = gpu.Pool([Slow(None, number) for number in range(2)])
    found: dict[int, int] = {}

    def call(i: int) -> None:
        found[i] = int(pool.run([], {"images": np.array([i])})[0][0])

    callers = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == {i: i + 1 for i in range(8)}
    assert max(together) == 2


@pytest.mark.faked_gpu
def test_fp16_runs_the_half_precision_file(tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = FakeRuntime(monkeypatch, [CUDA, CPU])
    session = open_session(tiny.path, "cuda", precision="fp16")
    assert session.precision == "fp16"
    assert runtime.paths == [str(gpu.half_precision_file(tiny.path))]
    assert runtime.options[0][CUDA]["prefer_nhwc"] == "1"
    with pytest.raises(DeviceError, match="On a GPU there are fp32 and fp16, not bf16"):
        open_session(tiny.path, "cuda", precision="bf16")


def test_half_precision_of_a_net_of_texts_keeps_what_is_around_it() -> None:
    backbone = load_backbone("minilm_l6")
    path = gpu.half_precision_file(backbone.path)
    model, whole = onnx.load(path), onnx.load(backbone.path)
    onnx.checker.check_model(model)
    assert list(model.graph.input) == list(whole.graph.input)
    assert list(model.graph.output) == list(whole.graph.output)
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    before = {t.name: t.data_type for t in whole.graph.initializer}
    around = [name for name in before if name.startswith(("fx_pre/", "fx_post/"))]
    assert around
    assert {name: kinds[name] for name in around} == {name: before[name] for name in around}
    halved = {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT16}
    assert halved == {name for name, kind in before.items() if kind == onnx.TensorProto.FLOAT} - {*around}
    tokens = np.random.default_rng(0).integers(1000, 30_000, (8, 24)).astype(np.int32)
    inputs = {"tokens": tokens, "lengths": np.array([24, 20, 16, 12, 8, 6, 4, 1], np.int32)}
    run = ort.InferenceSession(str(path), providers=[CPU]).run(["features"], inputs)[0]
    right = ort.InferenceSession(str(backbone.path), providers=[CPU]).run(["features"], inputs)[0]
    assert run.dtype == np.float32
    assert np.isfinite(run).all()
    assert cosines(run, right).min() > 0.999
    assert gpu.half_precision_file(backbone.path) == path


@pytest.mark.faked_gpu
def test_a_gpu_takes_many_tokens_at_once(tiny_texts: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeRuntime(monkeypatch, [CUDA, CPU])
    assert open_session(tiny_texts.path, "cuda").batch_size == 16_384
    assert open_session(tiny_texts.path, "cuda", 500).batch_size == 500


@pytest.mark.faked_gpu
def test_tensorrt_takes_no_texts(tiny_texts: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = FakeRuntime(monkeypatch, [TENSORRT, CUDA, CPU])
    with pytest.raises(DeviceError, match="TensorRT builds an engine for every length of a text: give `device` cuda"):
        open_session(tiny_texts.path, "tensorrt")
    assert runtime.paths == []


def test_texts_have_open_shapes(tiny_texts: BackboneFile) -> None:
    assert gpu.input_shapes(tiny_texts.path) == {"tokens": (0,), "lengths": ()}
