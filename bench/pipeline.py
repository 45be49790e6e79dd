"""How decode and model share the cores: sessions, batch size, decoding threads, buffers, spinning, each changed alone.

python -m bench.pipeline [--rounds 7] [--photos 300]

In fp32 by ONNX Runtime, and where the processor has bf16 in that by OpenVINO.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any
from unittest import mock

from bench.machine import interleave, photos, print_table, save
from fxengine.backbones import load_backbone
from fxengine.backbones.spec import FEATURE_OUTPUT
from fxengine.collect import collect
from fxengine.decode import preparer_for
from fxengine.decode.limits import Limits
from fxengine.execute import onnx_runtime, open_session, openvino, usable_cores
from fxengine.pipeline import threads
from fxengine.pipeline.threads import Pipeline, Steps
from fxengine.pipeline.units import Task

CORES = usable_cores()


@contextmanager
def spinning() -> Iterator[None]:
    """Let ONNX Runtime's threads spin while they wait, as they do by default."""
    quiet = onnx_runtime._options

    def noisy(threads: int) -> Any:
        options = quiet(threads)
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        return options

    with mock.patch.object(onnx_runtime, "_options", noisy):
        yield


def variants(count: int, precision: str) -> dict[str, Callable[[], float]]:
    """Return name -> one pass over the photos, images/s, with the model loaded."""
    backbone = load_backbone("efficientnet_lite0")
    inputs = collect(photos("imagenet_500"))

    def variant(
        streams: int = CORES, batch: int = 4, decoders: int = CORES, spare: int = 3, spin: bool = False
    ) -> Callable[[], float]:
        if spin:
            with spinning():
                session = open_session(backbone.path, "cpu", batch, streams, precision=precision)
        else:
            session = open_session(backbone.path, "cpu", batch, streams, precision=precision)

        preparer = preparer_for(backbone.recipe)
        steps = Steps(inputs.read, Limits().max_bytes, preparer, session, (FEATURE_OUTPUT,))

        def run() -> float:
            with mock.patch.object(threads, "_SPARE_BUFFERS", spare):
                pipeline = Pipeline(steps, decoders)
            begin = time.perf_counter()
            with closing(pipeline.results(map(Task, islice(inputs, count)))) as batches:
                done = sum(len(made.jobs) for made in batches)
            return done / (time.perf_counter() - begin)

        return run

    chosen = "as it is: a session a core, batch 4, a decoder a core, 3 spare buffers, no spinning"
    spinning_too = {"one run with all threads, spinning": variant(streams=1, spin=True)}
    return {
        chosen: variant(),
        "one run with all threads": variant(streams=1),
        **(spinning_too if precision == "fp32" else {}),  # a setting of ONNX Runtime
        "batch 1": variant(batch=1),
        "batch 2": variant(batch=2),
        "batch 8": variant(batch=8),
        "batch 32": variant(batch=32),
        "1 decoder": variant(decoders=1),
        f"{2 * CORES} decoders": variant(decoders=2 * CORES),
        "1 spare buffer": variant(spare=1),
        "8 spare buffers": variant(spare=8),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--photos", type=int, default=300)
    options = parser.parse_args()
    rates = {}
    for precision in ("fp32", "bf16") if openvino.missing("bf16") is None else ("fp32",):
        rates[precision] = interleave(variants(options.photos, precision), options.rounds)
        print_table(rates[precision], f"images/s end to end, {precision}, {CORES} cores")
    save("pipeline", {"photos": options.photos, "rates": rates})


if __name__ == "__main__":
    main()
