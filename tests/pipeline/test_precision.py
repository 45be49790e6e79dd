"""Which way a run computes: asked for, as the store was begun, remembered, or compared."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxengine import FeatureStore, StoreError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import collect
from fxengine.errors import DeviceError, InputError
from fxengine.execute import Way, open_session, openvino, usable_cores, ways
from fxengine.execute.int8 import int8_file
from fxengine.execute.session import Session
from fxengine.pipeline import precision as precision
from fxengine.pipeline import rate as rate_of
from fxengine.pipeline.precision import Choice, Wish, calibrate, open_chosen, recall
from tests.conftest import make_photo

needs_openvino = pytest.mark.skipif(openvino.missing("fp32") is not None, reason="OpenVINO has no wheel here")


@pytest.fixture(autouse=True)
def _fresh_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for i in range(90):
        make_photo(tmp_path / "many" / f"{i:03d}.png", i)
    (tmp_path / "many" / "000.png").write_bytes(b"no picture")
    return tmp_path / "many"


def test_a_small_job_is_fp32_without_a_comparison(tiny: BackboneFile, photos: Path, tmp_path: Path) -> None:
    extract(photos, tmp_path / "s", backbone=tiny.path)
    provenance = FeatureStore.open(tmp_path / "s").provenance
    assert (provenance.precision, provenance.tried, provenance.int8) == ("fp32", [], "")
    assert provenance.engine.startswith("onnxruntime ")


class Clock:
    """What stands in for the time: it goes on where a net runs, and nowhere else, however busy the machine."""

    def __init__(self) -> None:
        self._now, self._lock = 0.0, threading.Lock()

    def perf_counter(self) -> float:
        return self._now

    def go_on(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds


class Fake:
    """Stands in for a session: `rate` pictures a second, features turned by `noise`."""

    def __init__(self, session: Session, rate: float, noise: float, clock: Clock) -> None:
        self.session, self.rate, self.noise, self.clock = session, rate, noise, clock

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        self.clock.go_on(len(feeds["images"]) / self.rate)
        assert self.session.runner is not None
        found = self.session.runner.run(names, feeds)
        rng = np.random.default_rng(int(feeds["images"].sum()) % 1000)
        return [values + self.noise * rng.normal(size=values.shape).astype(np.float32) for values in found]


def fake_ways(
    monkeypatch: pytest.MonkeyPatch, speeds: dict[tuple[str, str], tuple[float, float]], there: tuple[Way, ...]
) -> Clock:
    """Let each (runtime, precision) have a speed and a noise; what is not named is not on this machine."""
    real, clock = open_session, Clock()

    def fake(path: Path, device: str, batch_size: Any, streams: int, **how: Any) -> Session:
        way = (how["runtime"], how["precision"])
        if way not in speeds:
            raise DeviceError(f"This processor does not compute in {how['precision']}.")
        session = real(path, "cpu", 4)
        rate, noise = speeds[way]
        return Session("CPUExecutionProvider", how["precision"], f"{how['runtime']} 1", session.outputs, 4, 1,
                       Fake(session, rate, noise, clock))  # fmt: skip

    monkeypatch.setattr(precision, "open_session", fake)
    monkeypatch.setattr(precision, "ways", lambda *_: there)
    monkeypatch.setattr(precision, "_ROUND_SECONDS", 0.05)
    for module in (precision, rate_of):
        monkeypatch.setattr(module, "time", clock)
    return clock


THERE = (
    Way("onnxruntime", "fp32", 1),
    Way("openvino", "bf16", 1),
    Way("openvino", "fp16", 1),
    Way("openvino", "fp32", 1),
    Way("openvino", "int8", 1),
)


@pytest.mark.slow
def test_the_fastest_that_keeps_the_features_wins(
    tiny: BackboneFile, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ways(
        monkeypatch,
        {
            ("onnxruntime", "fp32"): (400, 0),
            ("openvino", "bf16"): (1600, 1e-4),
            ("openvino", "fp32"): (800, 0),
            ("openvino", "int8"): (4000, 0.5),
        },
        THERE,
    )
    choice = calibrate(tiny, collect(many), 90)
    verdicts = {(t.way.runtime, t.way.precision): t.verdict for t in choice.tried}
    assert verdicts == {
        ("onnxruntime", "fp32"): "slower",
        ("openvino", "bf16"): "chosen",
        ("openvino", "fp16"): "This processor does not compute in fp16.",
        ("openvino", "fp32"): "slower",
        ("openvino", "int8"): "changes the features",
    }
    assert choice.way == Way("openvino", "bf16", 1)
    rates = {t.way.precision: t.images_per_second for t in choice.tried if t.way.runtime == "openvino"}
    assert rates["int8"] is None
    assert choice.images == 72  # 89 decode; every fifth is for calibration
    assert recall(tiny, "auto") == Choice(choice.way, choice.int8)


@pytest.mark.slow
def test_what_is_hardly_faster_is_left(tiny: BackboneFile, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {("onnxruntime", "fp32"): (800.0, 0.0), ("openvino", "fp32"): (815.0, 0.0)}
    fake_ways(monkeypatch, speeds, THERE)
    # By the speeds alone: on a busy machine two measured ones can lie further apart.
    monkeypatch.setattr(precision, "rows_per_second", lambda session, *_: session.runner.rate)
    assert calibrate(tiny, collect(many), 90).way == THERE[0]


@pytest.mark.slow
def test_a_slow_machine_still_answers_in_time(tiny: BackboneFile, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "SECONDS", 2.0)
    clock = fake_ways(monkeypatch, {(way.runtime, way.precision): (40.0, 0.0) for way in THERE}, THERE)
    choice = calibrate(tiny, collect(many), 90)
    assert choice.way == THERE[0]
    assert any(tried.verdict == "no time left to look at it" for tried in choice.tried)
    assert clock.perf_counter() < 8


def test_too_few_pictures_to_compare_on(tiny: BackboneFile, photos: Path) -> None:
    with pytest.raises(InputError, match=r"Only 20 inputs of .* can be decoded; comparing needs 64\."):
        calibrate(tiny, collect(photos), 20)


@needs_openvino
def test_a_remembered_way_is_taken_and_the_store_goes_on_in_it(
    tiny: BackboneFile, photos: Path, tmp_path: Path
) -> None:
    store = tmp_path / "s"
    precision._remember(tiny, "auto", Choice(Way("openvino", "fp32", usable_cores())))
    extract(photos, store, backbone=tiny.path)
    assert FeatureStore.open(store).provenance.engine.startswith("openvino ")
    session, choice = open_chosen(
        tiny, collect(photos), 20, Wish(device="cpu"), stored=FeatureStore.open(store).provenance
    )
    assert (session.precision, choice.way.precision) == ("fp32", "fp32")


def test_another_release_of_a_runtime_is_another_machine(tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    precision._remember(tiny, "auto", Choice(Way("openvino", "fp32", 1)))
    assert recall(tiny, "auto") is not None
    monkeypatch.setattr(precision, "runtime_versions", lambda: ["onnxruntime 99"])
    assert recall(tiny, "auto") is None


@needs_openvino
def test_int8_is_recorded_and_resumed_with_the_very_same_copy(
    tiny: BackboneFile, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path, precision="int8", limit=12)
    first = FeatureStore.open(store).provenance
    assert (first.precision, first.provider) == ("int8", "OpenVINO CPU")
    copy = int8_file(first.int8)
    assert copy is not None
    monkeypatch.setattr(precision, "quantise", None)  # any new calibration would now fail
    extract(photos, store, backbone=tiny.path)
    assert FeatureStore.open(store).precisions == ("int8",)
    make_photo(photos / "cats" / "new.jpg", 77)
    copy.unlink()
    with pytest.raises(StoreError, match=r"computed in int8, this run computes in fp32. Use `precision` int8, or"):
        extract(photos, store, backbone=tiny.path)


def test_a_precision_that_the_machine_lacks(tiny: BackboneFile, photos: Path, tmp_path: Path) -> None:
    lacking = [name for name in ("bf16", "fp16") if openvino.missing(name)]
    if not lacking:
        pytest.skip("this processor has every precision")
    with pytest.raises(DeviceError, match=rf"Precision {lacking[0]} needs|does not compute in {lacking[0]}"):
        extract(photos, tmp_path / "s", backbone=tiny.path, precision=lacking[0])
    assert not list(tmp_path.glob("s/*.parquet"))


def test_the_reference_is_first() -> None:
    for on_gpu in (False, True):
        assert (ways(on_gpu)[0].runtime, ways(on_gpu)[0].precision) == ("onnxruntime", "fp32")
        assert len(ways(on_gpu)) <= 6


@pytest.mark.parametrize(("over_all", "streams"), [(102.0, 2), (110.0, 1)])
def test_a_run_a_core_is_taken_where_one_over_all_is_hardly_faster(over_all: float, streams: int) -> None:
    session: Any = None
    contenders = [
        precision._Contender(Way("onnxruntime", "fp32", 2), session, rates=[80.0]),
        precision._Contender(Way("openvino", "fp32", 1), session, rates=[over_all]),
        precision._Contender(Way("openvino", "fp32", 2), session, rates=[100.0]),
    ]
    assert precision._judge(contenders, [], 9, 0.0).way == Way("openvino", "fp32", streams)
