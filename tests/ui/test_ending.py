"""How a command ends: with a sentence, whatever went wrong, and wherever its output goes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pyarrow as pa
import pytest

from fxengine import extract
from fxengine.backbones import cache
from fxengine.backbones.cache import write_backbone
from fxengine.errors import InputError
from fxengine.train import finetune as train
from fxengine.ui.cli import main
from fxengine.ui.commands import backbones
from tests.conftest import PATIENCE, make_photo, tiny_model

FULL = "fxengine: Standard output cannot be written: No space left on device.\n"


def failing(error: BaseException) -> Callable[..., int]:
    def run(_: object) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("The `precision` is\nno good."), "fxengine: The --precision of `fxengine extract` is\nno good.\n"),
        (OSError(28, "No space left on device", "a.bin"), "fxengine: No space left on device: a.bin. FXENGINE_TRACE"),
        (PermissionError(13, "Permission denied"), "fxengine: Permission denied. FXENGINE_TRACEBACK=1 shows where.\n"),
        (MemoryError(), "fxengine: there is not enough memory. FXENGINE_TRACEBACK=1 shows where.\n"),
        (
            ImportError("failed to map segment", name="numpy"),
            "fxengine: numpy cannot be loaded: failed to map segment.",
        ),
        (pa.ArrowInvalid("Not a Parquet file\nat all"), "fxengine: Not a Parquet file. FXENGINE_TRACEBACK=1 shows"),
        (onnx.checker.ValidationError("no graph"), "fxengine: no graph. FXENGINE_TRACEBACK=1 shows where.\n"),
        (RuntimeError("Error in faiss: no\x1b memory"), "fxengine: Error in faiss: no\\x1b memory. FXENGINE_TRACEBACK"),
        (RecursionError("maximum recursion depth"), "fxengine: what was given is nested too deep\n"),
        (BrokenPipeError(32, "Broken pipe"), "fxengine: Broken pipe. FXENGINE_TRACEBACK=1 shows where.\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_wrong_is_a_sentence(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backbones, "run", failing(error))
    assert main(["backbones"]) == 1
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(said)
    assert "Traceback" not in shown.err
    monkeypatch.setenv("FXENGINE_TRACEBACK", "1")
    assert main(["backbones"]) == 1
    shown = capfd.readouterr()
    assert shown.err.startswith("Traceback")
    assert said in shown.err


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), NotImplementedError("not yet"), TypeError("no")])
def test_a_fault_of_our_own_shows_where_and_asks_for_a_report(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backbones, "run", failing(error))
    assert main(["backbones"]) == 1
    shown = capfd.readouterr().err
    assert shown.startswith("Traceback")
    last = "fxengine: this is a fault of fxengine, not of what it was given: please report it, with the lines above."
    assert shown.splitlines()[-1] == last


def test_what_cannot_be_loaded_for_the_help_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backbones, "add_arguments", failing(MemoryError()))
    assert main(["backbones"]) == 1
    assert capfd.readouterr().err == "fxengine: there is not enough memory. FXENGINE_TRACEBACK=1 shows where.\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, a backbone and a store."""
    folder = tmp_path_factory.mktemp("ending")
    for i in range(8):
        make_photo(folder / "photos" / ("cats" if i % 2 else "dogs") / f"{i:02d}.jpg", i)
    write_backbone(tiny_model(), folder / "tiny.onnx")
    cache.keep(tiny_model(), "tiny-ending")
    extract(folder / "photos", folder / "store", backbone=folder / "tiny.onnx")
    return folder


# Text, a table by rich, JSON, what runs in a child, what argparse prints.
COMMANDS = [
    "info store",
    "backbones",
    "search store --id cats/01.jpg --json",
    "predict photos --backbone tiny.onnx --json",
    "extract photos -o store --backbone tiny.onnx",
    "--help",
]


def run(folder: Path, command: str, shell: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell line in which {} stands for it."""
    line = shell.replace("{}", f"{sys.executable} -m fxengine {command}")
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_wherever_its_output_goes_it_ends_well(command: str, made: Path) -> None:
    full = run(made, command, "{} >/dev/full")
    assert (full.returncode, full.stderr.splitlines(keepends=True)[-1]) == (1, FULL)
    assert "Traceback" not in full.stderr
    assert "Exception ignored" not in full.stderr
    unread = run(made, command, "{} 2>errors | true; exit ${PIPESTATUS[0]}")
    assert unread.returncode == 0
    said = (made / "errors").read_text()
    assert "Broken" not in said
    assert "Exception" not in said
    for shell in ("{} >&-", "{} >/dev/null 2>&-", "{} <&- >&- 2>/dev/full"):
        closed = run(made, command, shell)
        assert (shell, closed.returncode) == (shell, 0)
        assert "Traceback" not in closed.stderr


@pytest.mark.slow
def test_a_mistake_is_a_mistake_without_anybody_to_tell(made: Path) -> None:
    for shell in ("{} 2>&-", "{} 2>/dev/full", "{} 2> >(true)"):
        assert run(made, "info no/such", shell).returncode == 1


@pytest.mark.slow
def test_an_address_space_limit_is_no_traceback(made: Path) -> None:
    for kilobytes in (60_000, 120_000, 200_000, 400_000):
        done = run(made, "search store --id cats/01.jpg", f"ulimit -v {kilobytes}; {{}}")
        assert done.returncode != 0 or done.stdout
        assert "Traceback" not in done.stderr, kilobytes


def test_an_interrupted_training_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "finetune", lambda *_, **__: failing(KeyboardInterrupt())(None))
    arguments = ["finetune", "photos", "-o", str(tmp_path / "net.onnx")]
    main(arguments)
    assert capfd.readouterr().err == "fxengine: interrupted\n"  # nothing was finished
    (tmp_path / "net.run").mkdir()
    main(arguments)
    said = f"  what was finished is kept in {tmp_path / 'net.run'}: the same command goes on from there\n"
    assert capfd.readouterr().err == f"{said}fxengine: interrupted\n"
