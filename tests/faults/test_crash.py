"""A decoder that takes its process down, a SIGTERM, a parent that is killed, and a second writer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from fxengine import FeatureStore, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.decode.limits import Limits
from fxengine.decode.picture import decode_into, read_header
from fxengine.decode.picture.apart import decode_apart
from fxengine.errors import DecodeError
from fxengine.features.crash_note import CrashNote
from fxengine.probing.predict import predict
from fxengine.ui.supervise import crash_notes
from tests.conftest import PATIENCE, TINY_RECIPE, make_photo, run_cli, take_signals, tiny_model, wait_until

# A decoder that dies on files that hold this mark; put in place by a sitecustomize of the test's own.
CRASHING = """
import sys
if any("fxengine" in argument for argument in sys.orig_argv):
    import ctypes, importlib.abc, importlib.machinery

    class Hook(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name != "fxengine.decode.picture.turbojpeg":
                return None
            sys.meta_path.remove(self)
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            load = spec.loader.exec_module
            def exec_module(module):
                load(module)
                decode = module.decode
                def crashing(data, header, shrink):
                    if b"CRASH-HERE" in data:
                        ctypes.string_at(0)
                    return decode(data, header, shrink)
                module.decode = crashing
            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Hook())
"""


@pytest.mark.slow
def test_a_crashing_decoder_costs_one_row(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [photos / "cats" / "05.jpg", photos / "dogs" / "08.jpg"]
    for path in bad:
        path.write_bytes(path.read_bytes() + b"CRASH-HERE")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CRASHING)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{Path(__file__).parents[2]}")
    done = run_cli("extract", photos, "-o", tmp_path / "s", "--backbone", tiny.path, "--json")
    assert done.returncode == 0, done.stderr
    assert "a decoder crashed; going on" in done.stderr
    store = FeatureStore.open(tmp_path / "s")
    assert {error["id"]: error["error_code"] for error in store.errors()} == {
        "cats/05.jpg": "decoder_crash", "dogs/08.jpg": "decoder_crash",
    }  # fmt: skip
    assert len(store.ids()) == 18
    monkeypatch.undo()
    extract(photos, tmp_path / "fresh", backbone=tiny.path)
    fresh = FeatureStore.open(tmp_path / "fresh").select(ids=store.ids())
    np.testing.assert_allclose(store.vectors(), fresh.vectors(), atol=2e-3)


@pytest.mark.slow
def test_a_crashing_decoder_costs_one_prediction(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {found.id: found for found in predict(photos, backbone=tiny.path)}
    bad = photos / "cats" / "05.jpg"
    bad.write_bytes(bad.read_bytes() + b"CRASH-HERE")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CRASHING)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{Path(__file__).parents[2]}")
    done = run_cli("predict", photos, "--backbone", tiny.path, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("a decoder crashed; going on") == 1
    found = {each["id"]: each for each in json.loads(done.stdout)}
    assert found.keys() == expected.keys()
    assert found.pop("cats/05.jpg")["error"].startswith("The decoder crashes on this file")
    for key, each in found.items():
        assert each["labels"] == list(expected[key].labels)
        np.testing.assert_allclose(each["probabilities"], expected[key].probabilities, atol=1e-5)


def test_decoding_apart_gives_the_same_pixels_and_errors(tmp_path: Path) -> None:
    data = make_photo(tmp_path / "a.jpg", 1, (70, 50)).read_bytes()
    here, apart = (np.empty((32, 32, 3), np.uint8) for _ in range(2))
    size = decode_into(data, read_header(data, Limits()), TINY_RECIPE, here)
    assert decode_apart(data, TINY_RECIPE, Limits(), apart) == size == (70, 50)
    np.testing.assert_array_equal(apart, here)
    with pytest.raises(DecodeError, match="The file is empty") as caught:
        decode_apart(b"", TINY_RECIPE, Limits(), apart)
    assert caught.value.code == "empty"


def test_the_note_survives_and_names_what_was_being_decoded(tmp_path: Path) -> None:
    note = CrashNote(tmp_path, 2)
    with note.decoding(0, "done.jpg"):
        pass
    entered = note.decoding(1, "guilty.jpg")
    entered.__enter__()  # and the process dies here
    later = CrashNote(tmp_path, 2)
    assert later.is_suspect("guilty.jpg")
    assert not later.is_suspect("done.jpg")
    later.close()
    assert not CrashNote(tmp_path, 2).is_suspect("guilty.jpg")


# Notes that the net began, and that rows were taken; after one of these marks the net stands still for as long as there
# is a file "held".
HELD = """
import sys
if any("fxengine" in argument for argument in sys.orig_argv):
    import pathlib, time
    from fxengine.execute.session import Session
    from fxengine.pipeline.sink import Sink
    folder, run, take = pathlib.Path(__file__).parent, Session.run, Sink.take
    def held(*arguments, **named):
        (folder / "began").touch()
        while (folder / "MARK").exists() and (folder / "held").exists():
            time.sleep(0.05)
        return run(*arguments, **named)
    def taken(self, batch):
        take(self, batch)
        (folder / "taken").touch()
    Session.run, Sink.take = held, taken
"""


def start_held(tmp_path: Path, mark: str, *command: str) -> subprocess.Popen[str]:
    """Start a command over 60 photos, with a net that is held, and return once it came to a mark."""
    for i in range(60):
        make_photo(tmp_path / "photos" / f"{i:02d}.jpg", i)
    (tmp_path / "tiny.onnx").write_bytes(tiny_model().SerializeToString())
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HELD.replace("MARK", mark))
    (site / "held").touch()
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{Path(__file__).parents[2]}",
                   "TMPDIR": str(tmp_path / "tmp")}  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "fxengine", *command], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path,
                               preexec_fn=take_signals)  # fmt: skip
    wait_until(lambda: process.poll() is not None or (site / mark).exists())
    assert process.poll() is None, process.communicate()
    return process


def slow_run(tmp_path: Path) -> subprocess.Popen[str]:
    """Start an extraction that is held once some of its rows were taken."""
    return start_held(tmp_path, "taken", "extract", "photos", "-o", "s", "--backbone", "tiny.onnx", "--batch-size", "1",
                      "--json")  # fmt: skip


def release(tmp_path: Path) -> None:
    (tmp_path / "site" / "held").unlink()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_stops_cleanly_and_keeps_what_was_finished(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = slow_run(tmp_path)
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, errors
    summary = json.loads(output)
    assert summary["interrupted"]
    assert 0 < summary["extracted"] < 60
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [".lock", ".next_row", "part-000000.parquet"]
    assert len(FeatureStore.open(tmp_path / "s")) == summary["extracted"]
    again = json.loads(run_cli("extract", tmp_path / "photos", "-o", tmp_path / "s",
                               "--backbone", tmp_path / "tiny.onnx", "--json").stdout)  # fmt: skip
    assert (again["extracted"], again["unchanged"]) == (60 - summary["extracted"], summary["extracted"])


@pytest.mark.slow
def test_a_second_writer_is_refused_and_a_killed_one_leaves_no_orphan(tmp_path: Path) -> None:
    process = slow_run(tmp_path)
    children = psutil.Process(process.pid).children()
    second = run_cli("extract", tmp_path / "photos", "-o", tmp_path / "s", "--backbone", tmp_path / "tiny.onnx")
    assert second.returncode == 1
    assert "is being written to by process " in second.stderr
    process.kill()
    process.wait()
    release(tmp_path)
    wait_until(lambda: not (tmp_path / "s" / ".decoding").exists())  # the child stopped, too, and committed
    psutil.wait_procs(children, timeout=PATIENCE)
    kept = len(FeatureStore.open(tmp_path / "s"))
    assert 0 < kept < 60
    third = json.loads(run_cli("extract", tmp_path / "photos", "-o", tmp_path / "s",
                               "--backbone", tmp_path / "tiny.onnx", "--json").stdout)  # fmt: skip
    assert third["extracted"] == 60 - kept


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_predictions_end_with_the_process_that_asked_for_them(tmp_path: Path, number: signal.Signals) -> None:
    process = start_held(tmp_path, "began", "predict", "photos", "--backbone", "tiny.onnx", "-o", "out.csv")
    children = psutil.Process(process.pid).children()
    assert children
    process.send_signal(number)
    process.wait(timeout=PATIENCE)
    release(tmp_path)
    psutil.wait_procs(children, timeout=PATIENCE)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert not (tmp_path / "out.csv").exists()
    assert not [*(tmp_path / "tmp").glob("fxengine-*")]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGTSTP"), reason="no such signal here")
def test_a_run_that_is_suspended_pauses_and_goes_on(tmp_path: Path) -> None:
    process = slow_run(tmp_path)
    (child,) = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGTSTP)
    both = (psutil.Process(process.pid), child)
    wait_until(lambda: {each.status() for each in both} == {psutil.STATUS_STOPPED})
    release(tmp_path)
    time.sleep(1)
    assert {each.status() for each in both} == {psutil.STATUS_STOPPED}
    process.send_signal(signal.SIGCONT)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert json.loads(output)["extracted"] == 60


def test_predictions_need_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", none)
    with crash_notes() as notes:
        assert notes is None
