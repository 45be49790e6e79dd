from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fxengine.errors import (
    InputError,
    StoreError,
    above_zero,
    at_least,
    check_seed,
    explained,
    is_foreign,
    one_of,
    path_of,
    reason,
)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "No space left on device: /a/b"),
        (OSError("odd"), "odd"),
        (MemoryError(), "there is not enough memory"),
        (ImportError("lib.so: failed to map segment", name="faiss"), "faiss cannot be loaded: lib.so: failed to map"),
        (RuntimeError("Error in faiss::read_index\nat line 3"), "Error in faiss::read_index"),
        (pa.ArrowInvalid("Parquet magic bytes not found"), "Parquet magic bytes not found"),
    ],
)
def test_what_others_raise_becomes_one_line(error: Exception, says: str) -> None:
    assert is_foreign(error)
    assert reason(error).startswith(says)
    assert "\n" not in reason(error)
    with (
        pytest.raises(StoreError, match=r"^Cannot read it: .*[^.]\. Do that\.$") as raised,
        explained("Cannot read it", "Do that."),
    ):
        raise error
    assert raised.value.__cause__ is error


def test_onnx_runtimes_own_errors_are_others() -> None:
    import onnxruntime as ort

    with pytest.raises(InputError, match=r"^Cannot load: .*\.$"), explained("Cannot load", kind=InputError):
        ort.InferenceSession(b"no model", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("fault", [KeyError("x"), RecursionError("deep"), ValueError("x"), TypeError("x")])
def test_a_fault_of_our_own_stays_one(fault: Exception) -> None:
    assert not is_foreign(fault)
    with pytest.raises(type(fault)), explained("Cannot"):
        raise fault


def test_a_sentence_stays_as_it_is() -> None:
    with pytest.raises(InputError, match=r"^There is none\.$"), explained("Cannot"):
        raise InputError("There is none.")


def test_only_the_standard_library_is_loaded() -> None:
    import subprocess

    code = "import sys, fxengine.errors; raise SystemExit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (lambda: at_least("k", "3", 1), "`k` must be a whole number. Got '3'."),
        (lambda: at_least("k", True, 1), "`k` must be a whole number. Got True."),
        (lambda: at_least("k", 0, 1), "`k` must be at least 1. Got 0."),
        (lambda: at_least("k", np.int64(9), 1, 5), "`k` must be between 1 and 5. Got 9."),
        (lambda: check_seed(-1), "`seed` must be between 0 and 4294967295. Got -1."),
        (lambda: check_seed(2**32), "`seed` must be between 0 and 4294967295. Got 4294967296."),
        (lambda: above_zero("near", float("nan")), "`near` must be a number above 0. Got nan."),
        (lambda: above_zero("memory", "1GB"), "`memory` must be a number above 0. Got '1GB'."),
        (lambda: above_zero("target", 95, 1), "`target` must be a number above 0 and at most 1. Got 95."),
        (lambda: one_of("dtype", "float64", ("float16", "float32")), "There is no `dtype` 'float64'. Did you mean "
         "float16? There is: float16, float32."),
        (lambda: one_of("dtype", 16, ("float16", "float32")), "`dtype` must be text, one of float16, float32. Got 16."),
        (lambda: path_of("store", None), "`store` must be a path (text or pathlib.Path). Got None."),
        (lambda: path_of("store", ["a"]), "`store` must be a path (text or pathlib.Path). Got an object of type list."),
    ],
)  # fmt: skip
def test_what_a_parameter_cannot_be_is_a_sentence(check: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError) as raised:
        check()
    assert str(raised.value) == says


def test_what_a_parameter_can_be() -> None:
    at_least("k", np.int64(1), 1)
    at_least("k", 5, 1, 5)
    check_seed(2**32 - 1)
    above_zero("near", np.float32(0.5), 1)
    above_zero("memory", 10**400)
    one_of("dtype", "float16", ("float16", "float32"))
    assert path_of("store", "a") == path_of("store", Path("a")) == Path("a")
