from __future__ import annotations

import errno
import sys

import pyarrow as pa
import pytest

from fxengine.errors import InputError, StoreError, explained, is_foreign, reason


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
