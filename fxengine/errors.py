"""The exceptions that fxengine raises on purpose.

    FxError
    +-- InputError      a path, an option or a file that the user gave cannot be used (exit code 1)
    +-- StoreError      a feature store, head or index does not fit what is asked of it (exit code 1)
    |   +-- StoreLocked     another process is writing to the store
    +-- DeviceError     the asked-for device, runtime or precision is not to be had (exit code 1)
    +-- DecodeError     one input could not become a row of the net's inputs; it becomes an error row, never a stop

Each message names the input, what is wrong and what to do, in one or two lines.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from numbers import Integral, Number, Real
from pathlib import Path
from typing import Any

_MOST_SEED = 2**32 - 1  # what scikit-learn takes
_FOREIGN = frozenset({"google", "h5py", "onnx", "onnxruntime", "openvino", "pyarrow", "sklearn"})


def first_line(error: BaseException, most: int = 300) -> str:
    """Return the first line of another library's message, or the name of its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


def one_line(text: str, most: int) -> str:
    """Return a text in a line of at most so many characters, "…" at its end where it had more."""
    line = " ".join(text[: 4 * most].split())
    whole = len(line) <= most and len(text) <= 4 * most
    return line if whole else f"{line[: most - 1].rstrip()}…"


def is_foreign(error: BaseException) -> bool:
    """Tell whether the system or another library failed, and not fxengine itself.

    A plain RuntimeError is what FAISS, OpenVINO and UMAP raise; one of Python's own is a class of its own. A
    SyntaxError is what Python says of a library's file where memory ran out while it was compiled.
    """
    library = type(error).__module__.partition(".")[0]
    return (
        isinstance(error, OSError | MemoryError | ImportError | SyntaxError)
        or type(error) is RuntimeError
        or library in _FOREIGN
    )


def reason(error: BaseException, most: int = 300) -> str:
    """Return in one line, for people, why the system or another library failed."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, ImportError):
        return f"{error.name or 'a library'} cannot be loaded: {first_line(error, most)}"
    if isinstance(error, SyntaxError):
        return f"a library cannot be loaded: {error.filename}: {error.msg}"
    if isinstance(error, OSError) and error.strerror:
        named = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{named}"
    return first_line(error, most)


@contextmanager
def explained(failed: str, advice: str = "", kind: type[FxError] | None = None) -> Iterator[None]:
    """Turn what the system or another library raises inside the block into a sentence.

    Args:
        failed: what could not be done, such as "Cannot write photos.parquet"; the reason follows it.
        advice: what to do; follows the reason.
        kind: what to raise, `StoreError` unless given. Errors of fxengine pass, and so do its faults.
    """
    try:
        yield
    except FxError:
        raise
    except Exception as error:
        if not is_foreign(error):
            raise
        raise (kind or StoreError)(f"{failed}: {reason(error).rstrip('.')}. {advice}".rstrip()) from error


def path_of(name: str, value: object) -> Path:
    """Return the path that the parameter `name` was given; raises InputError where that is none."""
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"`{name}` must be a path (text or pathlib.Path). Got {given(value)}.")
    if value == "":  # a shell's variable that is not set; Path would take it for the folder that one is in
        raise InputError(f"`{name}` is empty: give a path, or . for the folder that you are in.")
    return Path(value)


def at_least(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise InputError where a parameter is no whole number from `least` on, to `most` where that is given."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InputError(f"`{name}` must be a whole number. Got {given(value)}.")
    if int(value) < least or (most is not None and int(value) > most):
        wanted = f"at least {least}" if most is None else f"between {least} and {most}"
        raise InputError(f"`{name}` must be {wanted}. Got {value}.")


def check_seed(seed: object) -> None:
    """Raise InputError where `seed` is none that every library takes."""
    at_least("seed", seed, 0, _MOST_SEED)


def above_zero(name: str, value: Any, most: float = math.inf) -> None:
    """Raise InputError where a parameter is no finite number above 0, and at most `most`."""
    if not isinstance(value, Real) or not 0 < value <= most or value == math.inf:  # type: ignore[operator]
        end = "" if math.isinf(most) else f" and at most {most}"
        raise InputError(f"`{name}` must be a number above 0{end}. Got {given(value)}.")


def one_of(name: str, value: object, choices: Collection[str]) -> None:
    """Raise InputError where a parameter is none of its choices; the message names the nearest and lists them."""
    if not isinstance(value, str):
        raise InputError(f"`{name}` must be text, one of {', '.join(choices)}. Got {given(value)}.")
    if value not in choices:
        near = difflib.get_close_matches(value, choices, n=1, cutoff=0.7)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(f"There is no `{name}` {value!r}.{hint} There is: {', '.join(choices)}.")


def given(value: object) -> str:
    """Return in a few words what somebody gave."""
    return repr(value)[:60] if isinstance(value, str | Number | None) else f"an object of type {type(value).__name__}"


class FxError(Exception):
    """Base of every error that fxengine raises on purpose."""


class InputError(FxError, ValueError):
    """What the user gave (a path, an option, a file) cannot be used."""


class StoreError(FxError):
    """A feature store, head or index does not fit what is asked of it."""


class StoreLocked(StoreError):
    """Another process is writing to the store; the message says which."""


class DeviceError(FxError):
    """The asked-for device, runtime or precision is not to be had on this machine."""


class DecodeError(FxError):
    """One input could not become pixels.

    Attributes:
        code: one of `fxengine.features.schema.ERROR_CODES`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
