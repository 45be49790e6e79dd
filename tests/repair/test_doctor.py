from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Sequence

import pytest

from fxengine.execute import gpu, openvino, usable_cores
from fxengine.repair import doctor
from fxengine.repair.doctor import Finding


def by_name(findings: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.what.strip(): finding for finding in findings}


@pytest.mark.slow
def test_a_sound_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "has_driver", lambda: False)
    found = by_name(doctor.doctor().findings)
    assert found["cores"].found.startswith(f"{usable_cores()} of ")
    assert found["CPUExecutionProvider"].found == "starts"
    assert found["ONNX Runtime"].advice is None
    assert found["NVIDIA driver"].found == "not found: everything runs on the CPU"
    assert "images/s of the model alone" in found["one timed batch"].found
    assert "simplejpeg" in found["decoders"].found


def test_two_onnx_runtimes_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "1.31.1")
    finding = by_name(list(doctor._runtimes()))["ONNX Runtime"]
    assert finding.found == "onnxruntime 1.31.1, onnxruntime-gpu 1.31.1"
    assert finding.advice is not None
    assert finding.advice.startswith("both write into the same folder")


def test_fewer_cores_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "usable_cores", lambda: 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    finding = by_name(list(doctor._system()))["cores"]
    assert (finding.found, finding.advice is None) == ("1 of 8 usable", False)


def test_a_provider_that_does_not_start_is_said() -> None:
    if gpu.has_driver():
        pytest.skip("there is an NVIDIA driver here")
    assert doctor._start("CPUExecutionProvider") is None
    assert doctor._start("CUDAExecutionProvider") is not None


@pytest.mark.faked_gpu
def test_a_driver_without_cuda_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "has_driver", lambda: True)
    monkeypatch.setattr(gpu, "names", lambda: ["NVIDIA H100, 580.1"])
    monkeypatch.setattr(doctor, "_start", lambda provider: "libcublas is missing")
    monkeypatch.setattr(doctor, "_loads", lambda name: name.startswith("libcudart.so.13"))
    found = by_name(list(doctor._gpus()))
    assert found["NVIDIA GPUs"].found == "NVIDIA H100, 580.1"
    assert (found["CUDA runtime"].found, found["CUDA runtime"].advice) == ("libcudart.so.13", None)
    assert (found["cuDNN"].found, found["cuDNN"].advice) == (
        "not found",
        "pip install 'fxengine[cuda13]' (or cuda12 for an older driver).",
    )


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", "/proc/nowhere")
    finding = doctor._cache()
    assert finding.advice == "set FXENGINE_CACHE to a folder that can."


def test_without_openvino_it_says_what_it_would_give(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def gone(name: str) -> str:
        if name == "openvino":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(openvino, "missing", lambda precision: "not installed")
    monkeypatch.setattr(doctor, "version", gone)
    finding = by_name(list(doctor._runtimes()))["OpenVINO"]
    assert finding.advice == "pip install openvino: bf16 and int8 on CPUs."


def test_what_texts_need_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._texts().found == f"by minilm_l6, tokenizers {importlib.metadata.version('tokenizers')}"
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    finding = doctor._texts()
    assert finding.found.startswith("cannot be embedded by minilm_l6; pictures do not need it.")
    assert finding.found.endswith("pip install 'fxengine[text]'")
    assert finding.advice is None  # nothing is wrong
