"""Which rows are computed at once; and that a text's vector is the same bits whatever stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime import InferenceSession

from fxengine.backbones import load_backbone
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError
from fxengine.execute import open_session
from fxengine.execute.session import Session, in_order
from fxengine.execute.shapes import CPU_TOKENS, Dealer, Rows, cut, rows_of_a_run, takes_texts, texts_of_a_run
from tests.backbones.sources.hf_nets import tagger
from tests.texts import MAX_TOKENS, VOCABULARY

RUNTIMES = ("onnxruntime", "openvino")


def texts(lengths: Sequence[int], most: int = MAX_TOKENS, vocabulary: int = len(VOCABULARY)) -> dict[str, np.ndarray]:
    """Return texts of these lengths, with what is no text behind them."""
    rng = np.random.default_rng(len(lengths))
    return {
        "tokens": rng.integers(1, vocabulary, (len(lengths), most)).astype(np.int32),
        "lengths": np.array(lengths, np.int32),
    }


def runs_of(inputs: dict[str, np.ndarray], rows: Sequence[int], tokens: int) -> list[np.ndarray]:
    made = cut(inputs, rows, tokens)
    assert all(isinstance(run, np.ndarray) for run in made)
    return [run for run in made if isinstance(run, np.ndarray)]


def rows_in(run: Rows) -> list[int]:
    assert isinstance(run, np.ndarray)
    return [int(row) for row in run]


LENGTHS = st.lists(st.integers(1, MAX_TOKENS), min_size=1, max_size=60)


@given(LENGTHS, st.integers(1, 200), st.data())
def test_every_wanted_text_is_in_one_run_of_its_length(lengths: list[int], tokens: int, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, len(lengths) - 1), unique=True).map(sorted))
    runs = runs_of(texts(lengths), wanted, tokens)
    assert sorted(int(row) for run in runs for row in run) == wanted
    found = [{lengths[row] for row in run} for run in runs]
    assert all(len(each) == 1 for each in found)
    order = [each.pop() for each in found]
    assert order == sorted(order, reverse=True)
    for run, length in zip(runs, order, strict=True):
        assert 1 <= len(run) <= max(1, tokens // length) == rows_of_a_run(length, tokens)
        assert list(run) == sorted(run)
    full = [len(run) == rows_of_a_run(length, tokens) for run, length in zip(runs, order, strict=True)]
    assert all(full[i] or order[i] != order[i + 1] for i in range(len(runs) - 1))  # only the last of a length is short


@given(LENGTHS, st.integers(1, 200), st.data())
def test_texts_are_run_as_soon_as_a_run_is_whole(lengths: list[int], tokens: int, data: st.DataObject) -> None:
    inputs, order = texts(lengths), data.draw(st.permutations(range(len(lengths))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lengths)), max_size=4)))
    dealer = Dealer(inputs, tokens)
    whole = [
        run for begin, end in pairwise([0, *cuts, len(lengths)]) for run in dealer.ready(order[begin:end])
    ]  # fmt: skip
    rest = dealer.rest()
    assert sorted(row for run in [*whole, *rest] for row in rows_in(run)) == list(range(len(lengths)))
    alike = [{lengths[row] for row in rows_in(run)} for run in [*whole, *rest]]
    assert all(len(each) == 1 for each in alike)
    short = [len(rows_in(run)) < rows_of_a_run(lengths[rows_in(run)[0]], tokens) for run in [*whole, *rest]]
    assert short == [False] * len(whole) + [True] * len(rest)
    order = [lengths[rows_in(run)[0]] for run in rest]
    assert order == sorted(set(order), reverse=True)


@given(LENGTHS, st.integers(1, 200))
def test_a_run_has_the_shape_that_its_length_decides(lengths: list[int], tokens: int) -> None:
    inputs = texts(lengths)
    for run in runs_of(inputs, range(len(lengths)), tokens):
        length = lengths[run[0]]
        made = texts_of_a_run(inputs, run, tokens)
        assert made["tokens"].shape == (rows_of_a_run(length, tokens), length)
        assert made["lengths"].tolist() == [length] * len(made["tokens"])
        np.testing.assert_array_equal(made["tokens"][: len(run)], inputs["tokens"][run, :length])
        assert not made["tokens"][len(run) :].any()


@pytest.mark.parametrize(
    ("rows", "size", "runs"),
    [
        ([], 4, []),
        ([0, 1, 2, 3, 4], 4, [slice(0, 4), slice(4, 5)]),
        ([0, 1, 2, 3], 4, [slice(0, 4)]),
        ([2], 4, [slice(0, 3)]),
        ([0, 5], 2, [slice(0, 2), slice(2, 4), slice(4, 6)]),
    ],
)
def test_pictures_are_cut_into_batches(rows: list[int], size: int, runs: list[slice]) -> None:
    pictures = {"images": np.zeros((6, 2, 2, 3), np.uint8)}
    assert not takes_texts(pictures)
    assert cut(pictures, rows, size) == runs


def test_no_text_is_wanted() -> None:
    assert cut(texts([3, 4]), [], 128) == []


@pytest.fixture(scope="module", params=RUNTIMES)
def tiny_session(request: pytest.FixtureRequest, tiny_texts: BackboneFile) -> Session:
    return open_session(tiny_texts.path, "cpu", runtime=request.param)


def test_of_texts_a_session_says_the_tokens_of_a_run(tiny_session: Session, tiny_texts: BackboneFile) -> None:
    assert tiny_session.batch_size == CPU_TOKENS == 128
    assert open_session(tiny_texts.path, "cpu", 40).batch_size == 40


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_more_tokens_than_memory_holds_are_refused(runtime: str, tiny_texts: BackboneFile) -> None:
    with pytest.raises(InputError, match=r"^`batch_size` must be between 1 and 131072\. Got 131073\.$"):
        open_session(tiny_texts.path, "cpu", 131_073, runtime=runtime)


def rows_of(inputs: dict[str, np.ndarray], rows: Sequence[int]) -> dict[str, np.ndarray]:
    return {name: values[list(rows)] for name, values in inputs.items()}


@settings(max_examples=25, deadline=None)
@given(LENGTHS, st.randoms(use_true_random=False))
def test_a_text_alone_in_any_order_and_in_runs_has_the_same_bits(
    tiny_session: Session, lengths: list[int], random: object
) -> None:
    inputs = texts(lengths)
    together = tiny_session.run(inputs)["features"]
    assert together.shape == (len(lengths), 8)
    assert together.dtype == np.float32
    order = list(range(len(lengths)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert tiny_session.run(rows_of(inputs, order))["features"].tobytes() == together[order].tobytes()
    for row in order[:5]:
        assert tiny_session.run(rows_of(inputs, [row]))["features"].tobytes() == together[row].tobytes()
    runs = cut(inputs, range(len(lengths)), tiny_session.batch_size)
    parts = [tiny_session.run_rows(inputs, run, ["features"]) for run in runs]
    assert in_order(runs, parts, len(lengths))["features"].tobytes() == together.tobytes()


def test_what_lies_behind_a_text_changes_nothing(tiny_session: Session) -> None:
    inputs = texts([3, 16, 7, 3])
    found = tiny_session.run(inputs)["features"]
    for row, length in enumerate(inputs["lengths"]):
        inputs["tokens"][row, length:] = 0
    assert tiny_session.run(inputs)["features"].tobytes() == found.tobytes()
    assert np.ptp(found, axis=0).min() > 0.01


def test_runtimes_agree(tiny_texts: BackboneFile) -> None:
    inputs = texts([*range(1, 17)] * 3)
    ort, other = (open_session(tiny_texts.path, "cpu", runtime=name).run(inputs)["features"] for name in RUNTIMES)
    np.testing.assert_allclose(other, ort, rtol=0, atol=1e-5)


def test_no_text_gives_no_vector(tiny_session: Session) -> None:
    assert tiny_session.run(texts([]))["features"].shape == (0, 8)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_embedded_net_keeps_its_bits(runtime: str) -> None:
    session = open_session(load_backbone("minilm_l6").path, "cpu", 64, runtime=runtime)
    inputs = texts([9, 4, 9, 20, 4, 9, 9, 9, 9, 9], 20, 30_000)
    together = session.run(inputs)["features"]
    order = [7, 1, 0, 9, 3, 2, 8, 4, 6, 5]
    assert session.run(rows_of(inputs, order))["features"].tobytes() == together[order].tobytes()
    for row in (0, 3, 4, 9):
        assert session.run(rows_of(inputs, [row]))["features"].tobytes() == together[row].tobytes()
    if runtime == "openvino":
        reference = open_session(load_backbone("minilm_l6").path, "cpu", 64).run(inputs)["features"]
        np.testing.assert_allclose(together, reference, rtol=0, atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_said_of_tokens_has_the_length_of_its_text(runtime: str, tmp_path: Path) -> None:
    found = load_backbone(f"hf:{tagger(tmp_path, ('O', 'A', 'B'))}")
    session = open_session(found.path, "cpu", runtime=runtime)
    lengths = [3, 16, 7, 3, 1, 7]
    inputs = texts(lengths)
    together = session.run(inputs)
    assert together["features"].shape == (6, 8)
    assert [each.shape for each in together["spans"]] == [(length, 3) for length in lengths]
    for row, length in enumerate(lengths):
        alone = session.run(rows_of(inputs, [row]), ["spans"])["spans"]
        assert alone.shape == (1,)
        assert alone[0].tobytes() == together["spans"][row].tobytes()
        given = {"tokens": inputs["tokens"][row : row + 1, :length], "lengths": inputs["lengths"][row : row + 1]}
        (wanted,) = InferenceSession(found.path).run(["spans"], given)
        np.testing.assert_allclose(alone[0], np.asarray(wanted)[0], rtol=0, atol=1e-5)
    assert session.run(rows_of(inputs, []), ["spans"])["spans"].shape == (0,)
