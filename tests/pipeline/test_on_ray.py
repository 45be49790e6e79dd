"""Workers on a Ray cluster, one of whose nodes is lost while they work; and clusters that are not there."""

from __future__ import annotations

import importlib.metadata
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from fxengine import FeatureStore, InputError, Progress, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.pipeline import driver
from fxengine.pipeline.places import load_place, on_ray
from tests.buckets import NAME, Served
from tests.conftest import make_photo
from tests.workers import leftovers, same_rows


@pytest.mark.slow
def test_a_lost_node_loses_and_doubles_nothing(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch, bucket: Served
) -> None:
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    for i in range(20, 140):
        make_photo(photos / "more" / f"{i:03d}.jpg", i)
    extract(photos, tmp_path / "one", backbone=tiny.path, part_rows=4)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        lost = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)][0]
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        nodes = [lost]

        hand_out = driver._Driver._hand_out

        def to_both(self: driver._Driver) -> None:
            if not nodes or (len(self._workers) == 2 and all(each.is_ready for each in self._workers.values())):
                hand_out(self)

        monkeypatch.setattr(driver._Driver, "_hand_out", to_both)  # one that begins early would do it all alone

        def lose(at: Progress) -> None:
            if nodes and at.workers == 2 and at.done:
                cluster.remove_node(nodes.pop(), allow_graceful=False)
                cluster.add_node(num_cpus=1)

        summary = extract(photos, tmp_path / "two", backbone=tiny.path, part_rows=4, workers="ray", progress=lose)
        place = f"s3://{NAME}/features"
        there = extract(photos, place, backbone=tiny.path, part_rows=20, workers="ray")
    finally:
        cluster.shutdown()
    assert not nodes
    assert (summary.units, summary.units_open, summary.extracted, summary.workers) == (35, [], 140, 2)
    same_rows(tmp_path / "two", tmp_path / "one")
    assert leftovers(tmp_path / "two") == []
    assert (there.units, there.units_open, there.extracted) == (7, [], 140)
    in_bucket, in_folder = FeatureStore.open(place), FeatureStore.open(tmp_path / "one")
    columns = ["row", "id", "label", "content_hash"]
    assert in_bucket.rows(columns).equals(in_folder.rows(columns))
    np.testing.assert_array_equal(in_bucket.vectors(), in_folder.vectors())


def test_without_ray_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(on_ray, "version", missing)
    with pytest.raises(InputError, match=r"pip install 'fxengine\[ray\]'"):
        load_place("ray").ensure_there("")
    monkeypatch.setattr(on_ray, "version", lambda _: "2.9.3")
    with pytest.raises(InputError, match=r"needs Ray 2\.55 or newer, 2\.9\.3 is installed"):
        load_place("ray").ensure_there("")


def test_an_address_that_does_not_answer_is_said_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # free once it is closed
    begin = time.monotonic()
    with pytest.raises(InputError, match=f"No Ray cluster answers at ray://127.0.0.1:{port}: Connection refused"):
        load_place("ray").ensure_there(f"ray://127.0.0.1:{port}")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(InputError, match=f"No Ray cluster answers at 127.0.0.1:{port}"):
        load_place("ray").ensure_there("")
    assert time.monotonic() - begin < 120


@pytest.mark.parametrize(
    ("on_gpu", "rooms"), [(False, [(4, 0)] * 4 + [(1, 0)]), (True, [(8, 1), (8, 1), (1, 1), (1, 1)])]
)
def test_there_is_a_worker_for_each_gpu_or_for_a_few_cores(on_gpu: bool, rooms: list[tuple[int, int]]) -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 2.0}},
        {"Alive": False, "Resources": {"CPU": 16.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 1.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {}},
    ]
    assert [(room.cpus, room.gpus) for room in on_ray.rooms_of(nodes, on_gpu=on_gpu)] == rooms
