"""Hostile files of word vectors, and folders of model2vec."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones.words.fasttext import MAGIC
from tests.backbones.words.files import binary, fasttext, static, text
from tests.hostile.cases import DEEP, SCRIPT, Case, Kit, sparse, victim
from tests.hostile.cases.stores import ODD

_ROWS = np.arange(1, 25, dtype=np.float32).reshape(6, 4) / 7
_WORDS = [(word, row) for word, row in zip((b"good", b"bad", b"a", b"b", b"c", b"d"), _ROWS, strict=True)]
_SOUND = text(_WORDS)
_TOKENS = ("[UNK]", "good", "bad", "a")
# Whoever names a link, asks for the file.
_ODD = {name: what for name, what in ODD.items() if "private" not in name}


def file(name: str, data: bytes, refused: bool = True) -> Case:
    """Return a file of word vectors with these bytes."""

    def build(_: Kit, folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return Case(build, name.replace(".", r"\.") if refused else "", refused)


def packed(name: str, make: Callable[[], bytes]) -> Case:
    """Return a file with what `make` packs, which takes its time."""

    def build(_: Kit, folder: Path) -> Path:
        (folder / name).write_bytes(make())
        return folder / name

    return Case(build, name.replace(".", r"\."), True)


def lines(*more: bytes, refused: bool = True) -> Case:
    """Return vectors as text, with these lines behind sound ones."""
    return file("v.txt", _SOUND + b"\n".join(more) + b"\n", refused)


def instead(name: str, what: Callable[[Path, Path], object]) -> Case:
    """Return a file in whose place `what(path, victim)` stands."""

    def build(_: Kit, folder: Path) -> Path:
        what(folder / name, victim(folder))
        return folder / name

    return Case(build)


def zipped(members: Mapping[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a .zip of these members."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return made.getvalue()


def _patched(data: bytes, at: int, kind: str, *values: int) -> bytes:
    """Return bytes with others at a place, from the end where it is negative."""
    new, at = struct.pack(kind, *values), at % len(data)
    return data[:at] + new + data[at + len(new) :]


def _lzma(change: Callable[[bytes], bytes]) -> bytes:
    """Return a .zip whose one member, packed by LZMA, was changed."""
    data = zipped({"v.txt": _SOUND * 50}, zipfile.ZIP_LZMA)
    start = 30 + len("v.txt")
    return data[:start] + change(data[start:])


def _alike() -> bytes:
    """Return 40 MB of lines that are alike."""
    return (b"good" + b" 0.5" * 1000 + b"\n") * 10_000


def model(**changed: object) -> bytes:
    """Return a .bin of fastText with n-grams of these settings."""
    return fasttext([b"good", b"bad"], np.ones((12, 4), np.float32), **{"ngrams": (2, 3), "buckets": 10, **changed})  # type: ignore[arg-type]


_COUNTS = 8 + struct.calcsize("<12id")  # where a .bin of fastText says how many words it has
_SIZE, _PRUNED = _COUNTS, _COUNTS + 20


def _zeros(path: Path, _: Path) -> None:
    """Make a .bin of fastText that says 2 thousand million words and holds zeros."""
    sparse(path)
    with path.open("r+b") as opened:
        head = MAGIC + struct.pack("<i", 12) + struct.pack("<12id", 4, *[5] * 11, 1e-4)
        opened.write(head + struct.pack("<iiiqq", 2**31 - 1, 2**31 - 1, 0, 1, -1))


def folder(change: Callable[[Path], object], refused: bool = True) -> Case:
    """Return a folder of model2vec that `change` was at."""

    def build(_: Kit, place: Path) -> Path:
        made = static(place / "m2v", _TOKENS, {"embeddings": _ROWS[:4]})
        victim(place)
        change(made)
        return made

    return Case(build, "m2v" if refused else "", refused)


def odd(name: str, what: Callable[[Path, Path], object]) -> Case:
    """Return such a folder in which `what(path, victim)` stands in place of a file."""

    def change(made: Path) -> None:
        (made / name).unlink()
        what(made / name, made.parent / "private" / "secret.txt")

    return folder(change, False)


def tensors(header: object, body: bytes = b"\0" * 64, length: int | None = None) -> Case:
    """Return such a folder whose safetensors has this header."""
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    data = (len(said) if length is None else length).to_bytes(8, "little") + said + body
    return folder(lambda made: (made / "model.safetensors").write_bytes(data))


def entry(shape: object, offsets: object, kind: object = "F32") -> Case:
    """Return such a folder whose table is said to be so."""
    return tensors({"embeddings": {"dtype": kind, "shape": shape, "data_offsets": offsets}})


def tokens(change: object, refused: bool = True) -> Case:
    """Return such a folder with another tokenizer.json: bytes, or entries of its model."""

    def write(made: Path) -> None:
        path = made / "tokenizer.json"
        facts = json.loads(path.read_text())
        if isinstance(change, dict):
            facts["model"].update(change)
        path.write_bytes(change if isinstance(change, bytes) else json.dumps(facts).encode())

    return folder(write, refused)


def config(said: bytes | dict[str, Any], refused: bool = True) -> Case:
    """Return such a folder with another config.json."""
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    return folder(lambda made: (made / "config.json").write_bytes(data), refused)


FILES = {
    "text cut within a line": file("v.txt", _SOUND[:-30]),
    "text of another length": lines(b"e 1.5 2.5"),
    "text of NaN": lines(b"e 1 2 nan 4"),
    "text of 1e999": lines(b"e 1 2 1e999 4"),
    "text of a number of 100,000 digits": lines(b"e 1 2 3 " + b"9" * 100_000),
    "text of numbers of Python": lines(b"e 1_0 0x1 2 3"),
    "text of control characters": lines(b"\x1b[2J\x07 1 2 3 4", refused=False),
    "text of control characters in numbers": lines(b"e 1 2 \x1b[2J 4"),
    "text of script": lines(SCRIPT.encode().replace(b" ", b"") + b" 1 2 3 4", b"=1+1 1 2 3 4", refused=False),
    "text of words that climb": lines(b"../../etc/passwd 1 2 3 4", b"/etc/passwd 1 2 3 4", refused=False),
    "text of a word of 2 MB": lines(b"e" * 2_000_000 + b" 1 2 3 4", refused=False),
    "text in one line of 5 MB": file("v.txt", b"e" + b" 1" * 2_500_000),
    "text of zero bytes": file("v.txt", _SOUND + b"\0" * 5_000),
    "text of words alike": file("v.txt", b"good 1 2 3 4\n" * 20_000, refused=False),
    "text of empty lines": file("v.txt", b"\n" * 100_000),
    "text of zeros": file("v.txt", b"good 0 0 0\nbad 0 0 0\n", refused=False),
    "a header of 20 digits": file("v.bin", b"9" * 20 + b" " + b"9" * 20 + b"\n" + bytes(range(256))),
    "a header of no numbers": file("v.bin", b"6 0\n" + bytes(range(256))),
    "a header that lies": file("v.bin", binary(_WORDS).replace(b"6 4\n", b"999999999999 4\n"), refused=False),
    "binary cut": file("v.bin", binary(_WORDS)[:-3]),
    "binary of NaN": file("v.bin", binary([(b"a", [np.nan] * 4)])),
    "binary of a word without an end": file("v.bin", b"6 4\n" + b"\x01" * 5_000_000),
    "binary of words alike": file("v.bin", b"9 1\n" + b"a \x01\x02\x03\x04" * 50_000, refused=False),
    "fastText cut": file("v.bin", model()[:-5]),
    "fastText cut in its words": file("v.bin", model()[: _COUNTS + 30]),
    "fastText quantised": file("v.ftz", model(quantised=True)),
    "fastText of fewer words": file("v.bin", _patched(model(), _SIZE, "<ii", 2**31 - 1, 2**31 - 1)),
    "fastText of negative words": file("v.bin", _patched(model(), _SIZE, "<ii", -5, -5)),
    "fastText pruned beyond all": file("v.bin", _patched(model(), _PRUNED, "<q", 2**62)),
    "fastText of a negative dim": file("v.bin", _patched(model(), 8, "<i", -4)),
    "fastText of rows beyond all": file("v.bin", _patched(model(), -12 * 16 - 16, "<qq", 2**62, 4)),
    "fastText of zeros": instead("v.bin", _zeros),
    "fastText of long n-grams": file("v.bin", fasttext(
        [b"g" * 60_000], np.ones((2, 4096), np.float32), ngrams=(1, 2**31 - 1), buckets=1)),
    "fastText of long words": file("v.bin", fasttext(
        [b"g" * 60_000] * 20, np.ones((21, 4096), np.float32), ngrams=(1, 6), buckets=1)),
    "zip of names that climb": file("v.zip", zipped({"../../x.txt": _SOUND}), refused=False),
    "zip of an absolute name": file("v.zip", zipped({"/etc/passwd": _SOUND}), refused=False),
    "zip of control characters": file("v.zip", zipped({"\x1b[2J\n.txt": _SOUND, "b\x07.txt": _SOUND})),
    "zip of long names": file("v.zip", zipped({f"{i}{'x' * 60_000}": b"" for i in range(20)})),
    "zip in a zip": file("v.zip", zipped({"v.zip": zipped({"v.txt": _SOUND})})),
    "zip of a pointer": file("v.zip", zipped({"v.txt": b"version https://git-lfs.github.com/spec/v1\n"})),
    "zip of an unknown method": file("v.zip",
        zipped({"v.txt": _SOUND}).replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0")),
    "zip of LZMA": file("v.zip", _lzma(lambda data: data), refused=False),
    "zip of damaged LZMA": file("v.zip", _lzma(lambda data: data[:9] + b"\xff" * 60 + data[69:])),
    "zip of LZMA's largest dictionary": file("v.zip",
        _lzma(lambda data: _patched(data, 5, "<I", 2**32 - 1)), refused=False),
    "zip of damaged bzip2": file("v.zip", _patched(zipped({"v.txt": _SOUND * 50}, zipfile.ZIP_BZIP2), 60, "<QQ", 0, 0)),
    "gz cut": file("v.gz", gzip.compress(_SOUND * 2000)[:-9]),
    "gz of noise": file("v.gz", b"\x1f\x8b\x08" + bytes(range(256))),
    "gz in a gz": file("v.gz", gzip.compress(gzip.compress(_SOUND))),
    "gz of lines alike": packed("v.gz", lambda: gzip.compress(_alike(), 6) * 5),
    "zip of lines alike": packed("v.zip", lambda: zipped({"v.txt": _alike()})),
    "gz of a line without an end": packed("v.gz", lambda: gzip.compress(b"good 1 2\nbad " + b"1" * 10_000_000, 1)),
    **{f"itself {name}": instead("v.txt", what) for name, what in _ODD.items()},
}  # fmt: skip

FOLDERS = {
    "header longer than the file": tensors(b"{}", length=2**63),
    "header of no bytes": tensors(b"", length=0),
    "header cut": tensors(b'{"embeddings": {', length=500),
    "header deep": tensors(b"[" * DEEP),
    "header of NaN": tensors(b'{"embeddings": {"dtype": "F32", "shape": [NaN, 4], "data_offsets": [0, 64]}}'),
    "header of infinity": tensors(b'{"embeddings": {"dtype": "F32", "shape": [1e999, 4], "data_offsets": [0, 64]}}'),
    "table beyond the file": entry([4, 4], [0, 2**40]),
    "table before the file": entry([4, 4], [-64, 0]),
    "table backwards": entry([4, 4], [64, 0]),
    "table enormous": entry([2**40, 2**40], [0, 64]),
    "table that overflows": entry([2**62, 4, 1], [0, 0]),
    "table of negative edges": entry([-4, -4], [0, 64]),
    "table of no rows": entry([0, 4], [0, 0]),
    "table of many edges": entry([1] * 5000 + [4, 4], [0, 64]),
    "table of offsets in text": entry([4, 4], ["0", "64"]),
    "table of an unknown type": entry([4, 4], [0, 64], "\x1b[2J" + "x" * 100_000),
    "table of a type of its own": entry([4, 4], [0, 64], {"a": 1}),
    "tables over each other": tensors({
        "embeddings": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]},
        "mapping": {"dtype": "I64", "shape": [4], "data_offsets": [0, 32]},
        "weights": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
    }, body=struct.pack("<16f", *[np.nan] * 16)),
    "mapping beyond the table": tensors({
        "embeddings": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]},
        "mapping": {"dtype": "I64", "shape": [4], "data_offsets": [64, 96]},
    }, body=b"\0" * 64 + struct.pack("<4q", 0, 1, 2, 2**40)),
    "vectors a pointer": folder(
        lambda made: (made / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")),
    **{f"vectors {name}": odd("model.safetensors", what) for name, what in _ODD.items()},
    **{f"tokenizer {name}": odd("tokenizer.json", what) for name, what in _ODD.items()},
    "tokenizer deep": tokens(b'{"model": ' + b"[" * DEEP),
    "tokenizer of 300 MB": folder(lambda made: sparse(made / "tokenizer.json", 300_000_000)),
    "tokenizer of many lists": tokens(b'{"model": [' + b"[]," * 20_000_000 + b"[]]}"),
    "tokenizer of no model": tokens(b"{}"),
    "tokenizer of a model of text": tokens(b'{"model": "vocab"}'),
    "tokenizer of ids in text": tokens({"vocab": {"a": "x", "b": "y"}}),
    "tokenizer of ids NaN": tokens({"vocab": {"a": float("nan"), "b": 1, "c": 2, "d": 3}}),
    "tokenizer of ids infinite": tokens({"vocab": {"a": float("inf"), "b": 1, "c": 2, "d": 3}}),
    "tokenizer of ids beyond all": tokens({"vocab": {"a": 2**70, "b": 1, "c": 2, "d": 3}}),
    "tokenizer of negative ids": tokens({"vocab": {"a": -1, "b": 0, "c": 1, "d": 2}}),
    "tokenizer of half a surrogate": tokens({"vocab": {"\ud800": 0, "good": 1, "bad": 2, "a": 3}}),
    "tokenizer of a token twice": tokens({"vocab": [["[UNK]", 0], ["good", 0], ["good", 0], ["a", 0]]}),
    "tokenizer of no vocabulary": tokens({"vocab": {}}),
    "tokenizer of an unknown kind": tokens({"type": "\x1b[2J"}, refused=False),
    "unknown token a list": tokens({"unk_token": ["a"]}),
    "unknown token none": tokens({"unk_token": "nothing"}, refused=False),
    "config deep": config(b"[" * DEEP),
    "config of a length in text": config({"max_length": "many"}),
    "config of an infinite length": config(b'{"max_length": 1e999}'),
    "config of a negative length": config({"max_length": -1}),
    "config of a length beyond all": config({"max_length": 2**70}),
    "config of another kind": config({"normalize": {"a": 1}}, refused=False),
}  # fmt: skip
