from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from fxengine.errors import InputError
from fxengine.features.table_file import check_suffix, write_table

TABLE = pa.table({"id": ["a", "ü"], "score": [0.5, None]})


def test_a_table_is_written_by_its_suffix(tmp_path: Path) -> None:
    for name in ("t.parquet", "t.CSV", "t.json"):
        (tmp_path / name).write_text("old")
        write_table(TABLE, str(tmp_path / name))
    assert pq.read_table(tmp_path / "t.parquet").equals(TABLE)
    assert pa.csv.read_csv(tmp_path / "t.CSV").equals(TABLE)
    assert json.loads((tmp_path / "t.json").read_text()) == TABLE.to_pylist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.CSV", "t.json", "t.parquet"]


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.txt must end in \.parquet, \.csv, \.json\."):
        write_table(TABLE, tmp_path / "t.txt")
    with pytest.raises(InputError, match=r"t\.csv must end in \.json\."):
        check_suffix(str(tmp_path / "t.csv"), [".json"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.json"])
def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"`output` .*none/{name} cannot be written: there is no folder .*none\."):
        write_table(TABLE, tmp_path / "none" / name)
