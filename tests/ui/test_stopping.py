"""Ctrl-C, SIGTERM and a closed terminal, also where native code never comes back."""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from fxengine import FeatureStore, extract
from fxengine.backbones import cache
from fxengine.backbones.cache import write_backbone
from fxengine.ui.stopping import stopping
from tests.conftest import PATIENCE, make_photo, take_signals, tiny_model, wait_until

SOON = 120.0  # seconds that a busy machine may take; 2 are promised, and what is stopped would go on for longer
ENDING = [signal.SIGINT, signal.SIGTERM]


def loop(condition: str) -> onnx.NodeProto:
    """Return a node from "before" to "pooled" that never ends where a condition holds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["value"], ["same"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["", condition, "before"], ["pooled"], body=body)


def endless() -> onnx.ModelProto:
    """Return the tiny backbone, which never ends where a picture of the batch is white."""
    model = tiny_model()
    at = next(i for i, node in enumerate(model.graph.node) if node.output[0] == "pooled")
    model.graph.node[at].output[0] = "before"
    looped = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("ReduceMax", ["mean"], ["brightest"], keepdims=0),
        helper.make_node("Greater", ["brightest", "white"], ["is_white"]),
        loop("is_white"),
    ]
    for i, node in enumerate(looped):
        model.graph.node.insert(at + 1 + i, node)
    model.graph.initializer.append(numpy_helper.from_array(np.array(2.3, np.float32), "white"))
    onnx.checker.check_model(model)
    return model


def plain_net(path: Path) -> Path:
    """Write a net that is no backbone yet and never ends."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["before"]),
        loop("yes"),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 32, 32])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "net", [image], [embedding], [numpy_helper.from_array(np.array(True), "yes")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve dark photos, and a white one behind them."""
    folder = tmp_path / "photos"
    for i in range(12):
        make_photo(folder / f"{i:02d}.png", i)
    Image.new("RGB", (48, 48), "white").save(folder / "white.png")
    return folder


@pytest.fixture
def net(tmp_path: Path) -> Path:
    write_backbone(endless(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def start(*arguments: object, environ: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fxengine", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=take_signals,
        env={**os.environ, **(environ or {})},
    )  # fmt: skip


def stop_when(process: subprocess.Popen[str], ready: Callable[[], bool], number: signal.Signals) -> tuple[int, str]:
    """Send a signal once the process is so far; return its exit code and what it said."""
    wait_until(lambda: process.poll() is not None or ready())
    assert process.poll() is None, process.communicate()
    begin = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    took = time.monotonic() - begin
    assert took < SOON
    assert "Traceback" not in said
    return process.returncode, said


def burns(process: subprocess.Popen[str]) -> Callable[[], bool]:
    """Return whether the process, or one that it started, has computed for long: it is in the loop."""
    import psutil

    def ready() -> bool:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        return any(sum(each.cpu_times()[:2]) > 2.5 for each in family)

    return ready


@pytest.mark.slow
@pytest.mark.parametrize("number", [*ENDING, signal.SIGHUP])
def test_an_extraction_in_an_endless_net_ends_and_goes_on(
    number: signal.Signals, photos: Path, net: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    command = ["extract", photos, "-o", store, "--backbone", net, "--precision", "fp32", "--part-rows", 4]
    process = start(*command)
    code, _ = stop_when(process, lambda: len([*store.glob("part-*.parquet")]) >= 1 and burns(process)(), number)
    assert code == 128 + number
    committed = FeatureStore.open(store)
    assert 4 <= len(committed) <= 12
    assert not [path for path in store.iterdir() if ".tmp-" in path.name]
    (photos / "white.png").unlink()
    summary = extract(photos, store, backbone=net, part_rows=4, precision="fp32")
    assert (summary.unchanged, summary.extracted) == (len(committed), 12 - len(committed))
    assert [path.name for path in sorted(store.iterdir()) if path.name.startswith(".decoding")] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDING)
def test_a_prediction_in_an_endless_net_ends(number: signal.Signals, photos: Path, net: Path) -> None:
    process = start("predict", photos, "--backbone", net)
    assert stop_when(process, burns(process), number)[0] == 128 + number


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDING)
def test_a_search_in_an_endless_net_ends(number: signal.Signals, photos: Path, net: Path, tmp_path: Path) -> None:
    cache.keep(endless(), "endless")
    white = photos / "white.png"
    white.rename(tmp_path / "white.png")
    extract(photos, tmp_path / "store", backbone=net, precision="fp32")
    process = start("search", tmp_path / "store", tmp_path / "white.png", "--backbone", net)
    assert stop_when(process, burns(process), number)[0] == 128 + number


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDING)
def test_an_export_of_an_endless_net_ends(number: signal.Signals, photos: Path, tmp_path: Path) -> None:
    source = f"onnx:{plain_net(tmp_path / 'plain.onnx')}"
    out = tmp_path / "out.onnx"
    process = start("export", source, "-o", out, "--channels", "rgb", "--scale", 1, "--resize", "squash")
    assert stop_when(process, burns(process), number)[0] == 128 + number
    assert not out.exists()


# Native work of some seconds in the main thread, as a long write to a slow disk is.
NATIVE = """
import argparse, hashlib, sys, time
from contextlib import nullcontext
from fxengine.pipeline.run import undisturbed
from fxengine.ui.stopping import stopping
options = argparse.Namespace()
try:
    with stopping(options):
        with undisturbed() if sys.argv[1] == "commit" else nullcontext():
            print("ready", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", {rounds})
            print("committed", flush=True)
        time.sleep(600)  # where the signal comes late
except KeyboardInterrupt:
    sys.exit(options.stopped)
"""


def native(what: str, seconds: float, number: signal.Signals) -> tuple[int, str, float]:
    """Signal native work of about so many seconds; return its exit code, what it said, and when it ended."""
    begin = time.perf_counter()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 400_000)
    rounds = min(2**31 - 1, int(400_000 * seconds / (time.perf_counter() - begin)))
    command = [sys.executable, "-c", NATIVE.replace("{rounds}", str(rounds)), what]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=take_signals)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    begin = time.monotonic()
    process.send_signal(number)
    said, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, said, time.monotonic() - begin


@pytest.mark.slow
def test_native_work_is_ended_but_a_commit_is_not_cut_off() -> None:
    code, said, took = native("compute", 600, signal.SIGTERM)
    assert (code, said) == (143, "")
    assert took < SOON
    code, said, _ = native("commit", 4, signal.SIGINT)
    assert (code, said) == (130, "committed\n")


INTERRUPTED_IMPORT = """
import runpy, signal, sys
class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Hook())
sys.argv = ["fxengine", "info", "nowhere"]
runpy.run_module("fxengine", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("name", ["fxengine.ui.cli", "argparse", "fxengine.ui.commands.probe", "pyarrow"])
def test_ctrl_c_while_it_loads_is_no_traceback(name: str) -> None:
    code = INTERRUPTED_IMPORT.replace("{name!r}", repr(name))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=take_signals)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr in ("", "fxengine: interrupted\n")


# Has a Ctrl-C come where Python drops what is raised. In a process of its own: a busy machine may end it by force.
HELD = """
import argparse, signal, sys, time
from fxengine.ui.stopping import stopping
class Held:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
options, hook = argparse.Namespace(), sys.unraisablehook
try:
    with stopping(options):
        held = Held()
        del held
        time.sleep(600)
except KeyboardInterrupt:
    sys.exit(options.stopped if sys.unraisablehook is hook else "the hook stayed")
"""


def test_ctrl_c_that_python_drops_comes_again() -> None:
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, preexec_fn=take_signals)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert time.monotonic() - begin < SOON  # it loads, too; asleep it would take 600 seconds


LOADING = """
import argparse, sys
from fxengine.ui.stopping import stopping
sys.path.insert(0, sys.argv[1])
with stopping(argparse.Namespace()):
    import careless
"""
CARELESS = """
import signal
try:
    signal.raise_signal(signal.SIGTERM)
except BaseException:
    print("went on")
"""


def test_a_library_that_is_being_loaded_cannot_keep_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text(CARELESS)
    command = [sys.executable, "-c", LOADING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=take_signals)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "fxengine: interrupted\n")


SLOW_START = """
import os, pathlib, time
if "FXENGINE_PARENT" in os.environ:
    pathlib.Path(__file__).with_name("started").touch()
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [*ENDING, signal.SIGHUP])
def test_a_supervised_command_ends_before_it_is_loaded(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_START)
    package = str(Path(__file__).parents[2])
    environ = {"PYTHONPATH": os.pathsep.join([str(tmp_path), package])}
    process = start("extract", tmp_path, "-o", tmp_path / "store", environ=environ)
    code, said = stop_when(process, (tmp_path / "started").exists, number)
    assert (code, said) == (128 + number, "")


def test_what_is_ignored_stays_ignored() -> None:
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in what a shell starts in the background
    try:
        with stopping(argparse.Namespace()):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, kept)
