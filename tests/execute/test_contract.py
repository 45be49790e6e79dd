"""What every runtime must do, whoever writes the next: the numbers of ONNX Runtime in fp32, in order, for any batch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fxengine.backbones import load_backbone
from fxengine.backbones.spec import BackboneFile
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.errors import DeviceError, InputError
from fxengine.execute import RUNTIMES, Runtime, onnx_runtime, open_session, openvino
from tests.execute.test_onnx_runtime import images, two_inputs

# Checked by mypy: each module is what the table says it is.
MODULES: dict[str, Runtime] = {"onnxruntime": onnx_runtime, "openvino": openvino}
runtimes = pytest.mark.parametrize("runtime", sorted(RUNTIMES))


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params.get("runtime") if hasattr(request.node, "callspec") else None
    if name == "openvino" and openvino.missing("fp32") is not None:
        pytest.skip("OpenVINO has no wheel for this platform")


def test_every_runtime_is_checked_here() -> None:
    assert MODULES.keys() == RUNTIMES.keys()


@runtimes
def test_it_says_what_it_is(tiny: BackboneFile, runtime: str) -> None:
    session = open_session(tiny.path, "cpu", 5, 2, runtime=runtime)
    assert (session.precision, session.batch_size, session.streams) == ("fp32", 5, 2)
    assert set(session.outputs) == {"features", "logits"}
    assert session.engine.startswith(f"{runtime} ")
    assert session.engine.split()[1][0].isdigit()


@runtimes
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 9), st.integers(1, 5), st.integers(1, 2))
def test_any_batch_size_gives_the_reference(
    tiny: BackboneFile, runtime: str, count: int, batch_size: int, streams: int
) -> None:
    pictures = images(count, seed=count)
    expected = open_session(tiny.path, "cpu", 4, runtime="onnxruntime").run({"images": pictures})
    found = open_session(tiny.path, "cpu", batch_size, streams, runtime=runtime).run({"images": pictures})
    for name, rows in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], rows, rtol=1e-4, atol=1e-5)


@runtimes
def test_only_what_is_asked_for_comes_back(tiny: BackboneFile, runtime: str) -> None:
    session = open_session(tiny.path, "cpu", 4, runtime=runtime)
    both, one = session.run({"images": images(6)}), session.run({"images": images(6)}, ["logits"])
    assert list(one) == ["logits"]
    np.testing.assert_array_equal(one["logits"], both["logits"])


@runtimes
def test_inputs_are_named_and_an_open_axis_stays_open(tmp_path: Path, runtime: str) -> None:
    session = open_session(two_inputs(tmp_path / "two.onnx", "length"), "cpu", 4, runtime=runtime)
    pairs = np.arange(10, dtype=np.float32).reshape(5, 2)
    for length in (3, 8):
        tokens = np.ones((5, length), np.float32)
        found = session.run({"tokens": tokens, "pairs": pairs})["features"]
        np.testing.assert_allclose(found, np.stack([pairs.sum(axis=1), tokens.sum(axis=1)], axis=1))


@runtimes
def test_many_threads_get_their_own_answers(tiny: BackboneFile, runtime: str) -> None:
    session = open_session(tiny.path, "cpu", 4, 2, runtime=runtime)
    expected = {seed: session.run({"images": images(4, seed)})["features"] for seed in range(6)}
    wrong: list[int] = []

    def work(seed: int) -> None:
        for _ in range(20):
            if not np.allclose(session.run({"images": images(4, seed)})["features"], expected[seed], rtol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@runtimes
def test_results_outlive_the_next_run(tiny: BackboneFile, runtime: str) -> None:
    session = open_session(tiny.path, "cpu", 4, runtime=runtime)
    first = session.run({"images": images(4, 1)})["features"]
    copy = first.copy()
    session.run({"images": images(4, 2)})
    np.testing.assert_array_equal(first, copy)


@runtimes
def test_what_is_no_model_is_refused(tmp_path: Path, runtime: str) -> None:
    path = tmp_path / "words.onnx"
    path.write_text("words")
    with pytest.raises(InputError, match=r"cannot load .*words\.onnx: "):
        open_session(path, "cpu", 4, runtime=runtime)


@runtimes
@pytest.mark.slow
def test_real_photos_give_the_reference(shared_data: Callable[[str], Path], runtime: str) -> None:
    backbone = load_backbone("efficientnet_lite0")
    paths = sorted(shared_data("imagenet_500").iterdir())[::50]
    pictures = np.empty((len(paths), 224, 224, 3), np.uint8)
    for path, out in zip(paths, pictures, strict=True):
        data = path.read_bytes()
        picture.decode_into(data, picture.read_header(data, Limits()), backbone.picture_recipe, out)
    expected = open_session(backbone.path, "cpu", 4, runtime="onnxruntime").run({"images": pictures})
    found = open_session(backbone.path, "cpu", 4, 2, runtime=runtime).run({"images": pictures})
    for name, rows in expected.items():
        assert np.linalg.norm(found[name] - rows) / np.linalg.norm(rows) < 1e-4


def test_a_precision_that_is_not_there_says_why(tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"There is no `precision` 'fp8'\. There is: fp32, bf16, fp16, int8\."):
        open_session(tiny.path, "cpu", precision="fp8")
    with pytest.raises(DeviceError, match="ONNX Runtime computes in fp32 on a CPU, not in bf16"):
        open_session(tiny.path, "cpu", precision="bf16", runtime="onnxruntime")
    module = import_module(RUNTIMES["openvino"])
    monkeypatch.setattr(module, "missing", lambda precision: "This processor does not compute in bf16: it has no AMX.")
    with pytest.raises(DeviceError, match="does not compute in bf16"):
        open_session(tiny.path, "cpu", precision="bf16")
