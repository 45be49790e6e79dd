"""Many files through the threads of a run: the vectors of `Backbone.embed`, in the order given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine import Backbone, DecodeError
from fxengine.backbones.spec import BackboneFile
from fxengine.collect.local import stat_item
from fxengine.pipeline.embed import embed_files, embedding_rate, run_files
from fxengine.pipeline.units import Task


def test_files_give_what_embed_gives_in_the_order_given(photos: Path, tiny: BackboneFile) -> None:
    net = Backbone.load(tiny.path)
    paths = [*sorted(photos.rglob("*.jpg"), key=lambda path: path.name[::-1]), photos / "cats" / "01.jpg"]
    np.testing.assert_allclose(embed_files(net, paths), net.embed(paths), rtol=1e-5, atol=1e-6)
    for count in (0, 1, 2, 3):
        found = embed_files(net, paths[:count])
        assert found.shape == (count, 8)
        np.testing.assert_allclose(found, net.embed(paths[:count]), rtol=1e-5, atol=1e-6)


def test_the_first_that_fails_is_named(photos: Path, tiny: BackboneFile) -> None:
    paths = [photos / "dogs" / "00.jpg", photos / "gone.jpg", photos / "also.jpg"]
    for some in (paths, paths[:2]):
        with pytest.raises(DecodeError, match=r"gone\.jpg: The file is not there") as caught:
            embed_files(Backbone.load(tiny.path), some)
        assert caught.value.code == "vanished"


def test_a_job_says_why_it_has_no_vector(photos: Path, tiny: BackboneFile) -> None:
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    paths = [photos / "cats" / "bad.jpg", photos / "cats" / "01.jpg"]
    found = [*run_files(Backbone.load(tiny.path), [Task(stat_item(str(path), path)) for path in paths])]
    assert [job.error.code if job.error else None for job, _ in found] == ["empty", None]
    assert found[0][1] is None
    assert found[1][1] is not None
    assert found[1][1].shape == (8,)


def test_a_net_has_a_rate(tiny: BackboneFile) -> None:
    assert embedding_rate(Backbone.load(tiny.path, device="cpu")) > 1
