"""What memory is left, read from files as Linux writes them; and what is refused for want of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fxengine import FeatureStore, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import memory
from fxengine.errors import DecodeError

GB = 1 << 30


@dataclass(frozen=True)
class System:
    """A made-up system: its folder of control groups, and what its files in /proc say."""

    groups: Path
    texts: dict[Path, str]

    def put_into(self, group: str) -> None:
        self.texts[Path("/proc/self/cgroup")] = group


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """A system with 8 GB free, in no control group."""
    texts = {
        Path("/proc/meminfo"): "MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\n",
        Path("/proc/self/cgroup"): "",
    }
    real = memory._text
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_text", lambda path: texts[path] if path in texts else real(path))
    return System(tmp_path, texts)


def write(folder: Path, **values: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_without_a_group_the_system_says(system: System) -> None:
    assert memory.available() == 8 * GB


def test_the_tightest_group_around_counts(system: System) -> None:
    system.put_into("0::/slice/job\n")
    write(
        system.groups / "slice",
        memory__max=4 * GB,
        memory__current=3 * GB,
        memory__stat=f"anon 5\ninactive_file {GB // 2}",
    )
    write(system.groups / "slice" / "job", memory__max="max", memory__current=GB, memory__stat="inactive_file 0")
    assert memory.available() == GB + GB // 2
    write(system.groups / "slice" / "job", memory__max=GB + 1000, memory__current=GB, memory__stat="inactive_file 0")
    assert memory.available() == 1000
    write(system.groups / "slice" / "job", memory__max=GB, memory__current=GB + 5, memory__stat="inactive_file 0")
    assert memory.available() == 0


def test_what_the_system_takes_back_is_free(system: System) -> None:
    system.put_into("0::/job\n")
    cached = f"anon 5\nactive_file {GB}\ninactive_file {GB // 2}\nslab_reclaimable {GB // 4}"
    write(system.groups / "job", memory__max=4 * GB, memory__current=3 * GB, memory__stat=cached)
    assert memory.available() == GB + GB + GB // 2 + GB // 4


def test_groups_of_the_first_version(system: System) -> None:
    system.put_into("12:pids:/x\n4:memory:/box\n0::/\n")
    write(
        system.groups / "memory" / "box",
        memory__limit_in_bytes=2 * GB,
        memory__usage_in_bytes=GB,
        memory__stat=f"total_active_file 7\ntotal_inactive_file {GB // 4}",
    )
    assert memory.available() == GB + GB // 4 + 7


def test_in_a_container_whose_group_is_named_as_outside(system: System) -> None:
    system.put_into("0::/system.slice/docker-1234.scope\n")
    write(system.groups, memory__max=GB, memory__current=100, memory__stat="inactive_file 0")
    assert memory.available() == GB - 100


def test_where_nothing_is_known_nothing_is_refused(system: System) -> None:
    system.texts[Path("/proc/meminfo")] = ""
    assert memory.available() is None
    memory.require(1 << 60, "Decoding it")


def test_the_sentence_says_how_much(system: System) -> None:
    memory.require(7 * GB, "Decoding it")
    memory.require(1000, "Decoding it")
    with pytest.raises(DecodeError, match=r"Decoding it takes about 8590 MB; 8590 MB are free\.") as raised:
        memory.require(8 * GB, "Decoding it")
    assert raised.value.code == "out_of_memory"


def test_a_picture_too_large_for_now_is_tried_again(
    photos: Path, tiny: BackboneFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.zeros((4000, 5000), np.uint8)).save(photos / "cats" / "large.png")
    with monkeypatch.context() as patch:
        patch.setattr(memory, "available", lambda: 100 << 20)
        summary = extract(photos, tmp_path / "s", backbone=tiny.path, precision="fp32")
    assert (summary.extracted, summary.failed) == (20, {"out_of_memory": 1})
    assert FeatureStore.open(tmp_path / "s").errors() == [
        {
            "id": "cats/large.png",
            "error_code": "out_of_memory",
            "error": "Decoding it takes about 180 MB; 105 MB are free.",
        }
    ]
    again = extract(photos, tmp_path / "s", backbone=tiny.path, precision="fp32")
    assert (again.extracted, again.unchanged, again.failed) == (1, 20, {})


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A real control group of 600 MB, where this user may make one."""
    group = Path("/sys/fs/cgroup/memory/fxengine-test")
    limit = group / "memory.limit_in_bytes"
    if not group.parent.is_dir():
        group, limit = (Path("/sys/fs/cgroup/fxengine-test"), Path("/sys/fs/cgroup/fxengine-test/memory.max"))
    try:
        group.mkdir()
        limit.write_text(str(600 << 20))
    except OSError:
        pytest.skip("no control group can be made here")
    yield group
    group.rmdir()


@pytest.mark.slow
def test_a_real_control_group_kills_nothing(
    small_group: Path, photos: Path, tiny: BackboneFile, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((9000, 10000, 3), np.uint8)).save(photos / "cats" / "large.png", compress_level=1)
    code = f"import os; open({str(small_group / 'cgroup.procs')!r}, 'w').write(str(os.getpid())); "
    code += "from fxengine.ui.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "extract", photos, "-o", tmp_path / "s", "--backbone", tiny.path]
    done = subprocess.run([*map(str, command), "--precision", "fp32", "--json"], capture_output=True, text=True,
                          check=False, env=os.environ.copy())  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    store = FeatureStore.open(tmp_path / "s")
    assert store.error_counts() == {"out_of_memory": 1}
    assert len(store.ids()) == 20
