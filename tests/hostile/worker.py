"""Runs commands one after the other in one process, for `tests/hostile/served.py`: what they load is loaded once.

Reads a request a line from standard input, and answers each with a line on what was standard output. A crash ends it,
and a hang is ended by whoever asked: both are failures of the one request that was not answered.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
import traceback
from functools import cache
from importlib import import_module
from pathlib import Path

from fxengine.ui import cli

_MOST_MEMORY = 4 << 30  # bytes of address space beside what the libraries take
_MOST_WRITTEN = 1 << 30  # bytes of a file
_MOST_READ = 1 << 20  # bytes of what a command says

# What the commands load when they are asked for.
_LIBRARIES = (
    "faiss",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "onnx",
    "onnxruntime",
    "openvino",
    "pillow_heif",
    "rich.table",
    "simplejpeg",
    "sklearn.decomposition",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "tokenizers",
    "fxengine.neighbours.index_store",
    "fxengine.pipeline.extract",
    "fxengine.probing.bundle",
    "fxengine.probing.predict",
    "fxengine.probing.probe",
    "fxengine.repair.verify",
    "fxengine.retrieval.search",
    "fxengine.ui.cli",
)


def main() -> None:
    """Answer requests until there is none."""
    answers = os.fdopen(os.dup(1), "w")
    log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in _LIBRARIES:
        import_module(name)
    setattr(cli, "build_parser", cache(cli.build_parser))  # noqa: B010  25 ms a command
    limit_memory(_MOST_MEMORY)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_WRITTEN, _MOST_WRITTEN))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(_answer(request["arguments"], request["environ"])), file=answers, flush=True)


def limit_memory(more: int) -> None:
    """Let this process take so many bytes of address space more than it has now."""
    limit = _status("VmSize") + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def begin_peak() -> int:
    """Forget the most memory that this process had so far, and return what it has now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """Return the most memory that this process had since `begin_peak`, in bytes."""
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def _answer(arguments: list[str], environ: dict[str, str]) -> dict[str, object]:
    kept = dict(os.environ)
    os.environ.update(environ)
    before, began = begin_peak(), time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = _captured(arguments, out.fileno(), err.fileno())
        seconds, most = time.perf_counter() - began, peak() - before
        os.environ.clear()
        os.environ.update(kept)
        texts = [_text(file.fileno()) for file in (out, err)]
    return {"code": code, "out": texts[0], "err": texts[1], "seconds": seconds, "memory": max(0, most)}


def _text(file: int) -> str:
    return os.pread(file, _MOST_READ, 0).decode(errors="backslashreplace")


def _captured(arguments: list[str], out: int, err: int) -> int:
    """Run a command with its output in two files; return its exit code, -1 where an exception came through."""
    streams, log = (sys.stdout, sys.stderr), os.dup(1)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", errors="backslashreplace") for number in (1, 2))
    try:
        return cli.main(arguments)
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return -1
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.close()
        sys.stdout, sys.stderr = streams
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)


if __name__ == "__main__":
    main()
