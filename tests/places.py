"""Containers for tests, each made by its own tool from the same photos: a folder of `CLASS/NAME.jpg`."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq


def photos_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


def in_tar(folder: Path, to: Path, mode: Literal["w", "w:gz"] = "w") -> Path:
    with tarfile.open(to, mode) as tar:
        for path in reversed(photos_in(folder)):
            tar.add(path, str(path.relative_to(folder)))
    return to


def in_tar_gz(folder: Path, to: Path) -> Path:
    return in_tar(folder, to, "w:gz")


def in_zip(folder: Path, to: Path) -> Path:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as out:
        for path in reversed(photos_in(folder)):
            out.write(path, str(path.relative_to(folder)))
    return to


def in_parquet(folder: Path, to: Path, rows: int = 7) -> Path:
    """Write what `datasets` writes: a struct of bytes and path, numbers of classes, their names in the metadata."""
    paths = photos_in(folder)
    classes = sorted({path.parent.name for path in paths})
    table = pa.table(
        {
            "image": pa.array(
                [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "label": pa.array([classes.index(path.parent.name) for path in paths], pa.int64()),
        }
    )
    features = {"image": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}
    facts = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": facts}), to, row_group_size=rows)
    return to


MAKERS: dict[str, Callable[[Path, Path], Path]] = {
    "a.tar": in_tar,
    "a.tar.gz": in_tar_gz,
    "a.zip": in_zip,
    "a.parquet": in_parquet,
}


def tar_of(to: Path, members: list[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    """Write members as they are given, however odd."""
    with tarfile.open(to, "w") as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return to
